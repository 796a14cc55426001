"""What a server starts with: options, then the environment, then cavvy.toml, then defaults."""

from __future__ import annotations

from pathlib import Path

import pytest

from cavvy import defaults
from cavvy.cli import _config
from cavvy.cli._config import DispatchFlags, ListenFlags, ModelFlags, coordinator_plan, worker_plan
from cavvy.client.config import config_file
from cavvy.client.configfile import ClocksTable, ConfigFile, LimitsTable
from cavvy.core.settings import Settings
from cavvy.errors import ConfigInvalid, ModelMissing, StartError
from cavvy.providers import build
from cavvy.providers.build import DEMO_MODEL, discover
from cavvy.providers.settings import ProviderTable
from tests.unit.cli.conftest import Cli
from tests.unit.client.fake_coordinator import FakeCoordinator, json

NOTHING = ModelFlags()


def file_with(directory: Path, text: str) -> ConfigFile:
    """A file that was named."""
    path = directory / "named.toml"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return config_file(path)


def test_without_anything_it_is_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CAVVY_DATA_DIR")
    plan = coordinator_plan(ConfigFile())
    assert plan.port == (defaults.PORT, "default")
    assert plan.data_dir.origin == "default"
    assert plan.limits == {}
    assert worker_plan(ConfigFile(), NOTHING).slots == (None, "default")


def test_options_come_before_the_environment_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = file_with(tmp_path, "[coordinator]\nport = 4011\ndata_dir = 'filed'\n[worker]\nslots = 3\nname = 'n'")
    assert coordinator_plan(file, port=0, data_dir=Path("given")).port == (0, "--port")
    assert coordinator_plan(file, data_dir=Path("given")).data_dir == (Path("given"), "--data-dir")
    assert coordinator_plan(file).data_dir == (tmp_path / "data", "CAVVY_DATA_DIR")
    monkeypatch.delenv("CAVVY_DATA_DIR")
    assert coordinator_plan(file).data_dir == (tmp_path / "filed", f"{file.path}, line 3")
    assert coordinator_plan(file).port == (4011, f"{file.path}, line 2")
    assert worker_plan(file, NOTHING, slots=1).slots == (1, "--slots")
    assert worker_plan(file, NOTHING).slots == (3, f"{file.path}, line 5")
    assert worker_plan(file, NOTHING).name.value == "n"


def test_limits_reach_the_coordinators_settings(tmp_path: Path) -> None:
    plan = coordinator_plan(file_with(tmp_path, "[limits]\nmax_pending = 10\nmax_pending_per_tenant = 5"))
    settings = Settings(coordinator_key="", **plan.limits)
    assert (settings.max_pending, settings.max_pending_per_tenant) == (10, 5)


def test_clocks_reach_the_coordinators_settings(tmp_path: Path) -> None:
    plan = coordinator_plan(file_with(tmp_path, "[clocks]\nrequeue_after_s = 0"))
    assert Settings(coordinator_key="", **plan.clocks).requeue_after_s == 0


def test_the_times_of_jobs_that_do_not_say_are_the_owners_choice(tmp_path: Path) -> None:
    plan = coordinator_plan(file_with(tmp_path, "[clocks]\ntimeout_s = 60\nstall_timeout_s = 0.5"))
    assert plan.clocks == {"timeout_s": 60, "stall_timeout_s": 0.5}


@pytest.mark.parametrize("name", ["timeout_s", "first_token_timeout_s", "stall_timeout_s"])
@pytest.mark.parametrize("value", ["0", "604801", "true"])
def test_a_time_of_jobs_that_makes_no_sense_is_refused(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(ConfigInvalid, match=name):
        coordinator_plan(file_with(tmp_path, f"[clocks]\n{name} = {value}"))


@pytest.mark.parametrize("value", ["-1", "11", '"5"'])
def test_a_clock_that_makes_no_sense_is_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(ConfigInvalid, match="requeue_after_s"):
        coordinator_plan(file_with(tmp_path, f"[clocks]\nrequeue_after_s = {value}"))


def test_what_dispatchs_clients_and_workers_may_reaches_the_coordinators_settings(tmp_path: Path) -> None:
    plan = coordinator_plan(file_with(tmp_path, "[dispatch]\nenabled = true\ncommands = true"))
    assert plan.listen.dispatch
    assert plan.dialect == {"legacy_private": False, "dispatch_commands": True}
    assert Settings(coordinator_key="", **plan.dialect).dispatch_commands


def test_the_dispatch_options_do_without_a_file() -> None:
    plan = coordinator_plan(ConfigFile(), dispatch=DispatchFlags(dispatch=True, legacy_private=True))
    assert (plan.listen.dispatch, plan.dialect["legacy_private"]) == (True, True)


def test_nobody_is_served_without_a_key_unless_the_owner_says_so() -> None:
    plan = coordinator_plan(ConfigFile())
    assert (plan.listen.dispatch, any(plan.dialect.values())) == (False, False)


@pytest.mark.parametrize(
    ("text", "flags", "named"),
    [
        ("", DispatchFlags(legacy_private=True), "--legacy-private"),
        ("[dispatch]\ncommands = true", DispatchFlags(), "line 2"),
        ("[dispatch]\nlegacy_private = true", DispatchFlags(), "line 2"),
    ],
)
def test_what_is_about_dispatch_is_refused_without_it(
    tmp_path: Path, text: str, flags: DispatchFlags, named: str
) -> None:
    with pytest.raises(StartError, match=f"{named} .*add --dispatch"):
        coordinator_plan(file_with(tmp_path, text), dispatch=flags)


def test_behind_a_proxy_nobody_is_let_in_without_a_key(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="everybody behind the proxy"):
        coordinator_plan(ConfigFile(), ListenFlags(behind_proxy=["127.0.0.1"]), DispatchFlags(dispatch=True))


@pytest.mark.parametrize("table", [LimitsTable, ClocksTable])
def test_every_limit_and_clock_has_a_default(table: type) -> None:
    assert {name.upper() for name in table.__struct_fields__} <= vars(defaults).keys()


@pytest.mark.parametrize(
    "text", ["max_pending_per_tenant = 11\nmax_pending = 10", "max_pending_per_tenant = 1_000_001"]
)
def test_limits_that_contradict_each_other_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigInvalid, match=r"line 2: .*a tenant's queue is a part of the queue"):
        coordinator_plan(file_with(tmp_path, f"[limits]\n{text}"))


def test_the_whole_queue_may_be_smaller_than_a_tenants_default(tmp_path: Path) -> None:
    assert _config.limits(file_with(tmp_path, "[limits]\nmax_pending = 10"))["max_pending"] == 10


def test_a_providers_table_is_checked_with_its_line(tmp_path: Path) -> None:
    file = file_with(tmp_path, "[providers.ollama]\nurl = 'http://127.0.0.1:1'\nslot = 2")
    with pytest.raises(ConfigInvalid, match=r"line 3: providers\.ollama\.slot is not known; did you mean slots\?"):
        worker_plan(file, NOTHING)


def test_a_model_on_the_command_line_comes_before_every_other_provider(tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    model.touch()
    file = file_with(tmp_path, "[providers.ollama]\n[providers.llamacpp]\nenabled = false\ncontext_tokens = 512")
    tables = worker_plan(file, ModelFlags(model, threads=3), slots=4).providers
    assert list(tables) == ["llamacpp", "ollama"]
    table = tables["llamacpp"]
    assert (table.model, table.enabled, table.threads, table.slots) == (str(model), True, 3, 4)
    assert table.context_tokens == 512


async def test_threads_and_slots_reach_the_demo_model_and_do_not_displace_what_is_better(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(build, "find_weights", lambda: Path("demo.gguf"))
    plan = worker_plan(ConfigFile(), ModelFlags(threads=3), slots=4)
    assert plan.providers == {"llamacpp": ProviderTable(threads=3, slots=4)}
    nowhere = {"OLLAMA_HOST": "http://127.0.0.1:9"}
    (demo,) = (await discover(plan.providers, cloud=False, environ=nowhere)).providers
    assert (demo.models, demo.slots) == ((DEMO_MODEL,), 4)
    better = {**plan.providers, "mine": ProviderTable(command=("cat",))}
    (found,) = (await discover(better, cloud=False, environ=nowhere)).providers
    assert found.name != demo.name


def test_a_models_path_in_the_file_is_relative_to_the_file(tmp_path: Path) -> None:
    tables = worker_plan(file_with(tmp_path, "[providers.llamacpp]\nmodel = 'm.gguf'"), NOTHING).providers
    assert tables["llamacpp"].model == str(tmp_path / "m.gguf")


def test_a_model_that_is_not_there_is_refused_at_once() -> None:
    with pytest.raises(ModelMissing, match=r"there is no model file /nonexistent\.gguf"):
        worker_plan(ConfigFile(), ModelFlags(Path("/nonexistent.gguf")))


@pytest.mark.parametrize("command", [["up"], ["coordinator"], ["worker"], ["jobs", "list"], ["--json", "run", "hi"]])
def test_a_file_that_cannot_be_followed_is_a_usage_error_of_every_command(
    cli: Cli, tmp_path: Path, command: list[str]
) -> None:
    file = tmp_path / "named.toml"
    file.write_text("prot = 1", encoding="utf-8")
    file.chmod(0o600)
    ended = cli(*command, "--config", str(file))
    assert (ended.code, ended.out) == (2, "")
    assert f"{file}, line 1: prot is not known" in ended.err


def test_a_file_nobody_named_cannot_make_up_run_a_program(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cavvy.toml").write_text("[providers.evil]\ncommand = ['sh']", encoding="utf-8")
    (tmp_path / "cavvy.toml").chmod(0o600)
    ended = cli("up", "--port", "0")
    assert ended.code == 2
    assert "sets providers.evil.command, and you did not name this file" in ended.err
    assert not (tmp_path / "data").exists()


def test_a_client_command_asks_where_the_named_file_says_and_with_its_key(
    cli: Cli, tmp_path: Path, coordinator: FakeCoordinator
) -> None:
    coordinator.on("GET", "/v1/jobs", json({"jobs": [], "cursor": None}))
    file = tmp_path / "named.toml"
    file.write_text(f"url = '{coordinator.url}'\nkey = 'cav_adm_filed'", encoding="utf-8")
    file.chmod(0o600)
    assert cli("jobs", "list", "--config", str(file)).code == 0
    assert coordinator.requests[0].headers["authorization"] == "Bearer cav_adm_filed"


def test_a_worker_runs_tasks_unless_the_file_says_no(tmp_path: Path) -> None:
    assert worker_plan(ConfigFile(), NOTHING).tasks == (True, "default")
    file = file_with(tmp_path, "[worker]\ntasks = false\n")
    assert worker_plan(file, NOTHING).tasks == (False, f"{file.path}, line 2")


def test_a_worker_runs_on_models_unless_somebody_says_no(tmp_path: Path) -> None:
    file = file_with(tmp_path, "[worker]\nmodels = false\n")
    assert worker_plan(ConfigFile(), NOTHING).models == (True, "default")
    assert worker_plan(file, NOTHING).models == (False, f"{file.path}, line 2")
    assert worker_plan(ConfigFile(), ModelFlags(none=True)).models == (False, "--no-model")


def test_a_model_on_the_command_line_is_used_whatever_the_file_says(tmp_path: Path) -> None:
    weights = tmp_path / "m.gguf"
    weights.touch()
    file = file_with(tmp_path, "[worker]\nmodels = false\n")
    assert worker_plan(file, ModelFlags(weights)).models == (True, "--model")


@pytest.mark.parametrize(
    ("flags", "cloud", "says"),
    [
        (ModelFlags(Path("m.gguf"), none=True), False, "--no-model and --model contradict"),
        (ModelFlags(none=True), True, "--no-model and --cloud contradict"),
    ],
)
def test_no_model_and_a_model_contradict_each_other(flags: ModelFlags, cloud: bool, says: str) -> None:
    with pytest.raises(StartError, match=says):
        worker_plan(ConfigFile(), flags, cloud=cloud)


def test_a_worker_that_may_run_nothing_is_refused(tmp_path: Path) -> None:
    file = file_with(tmp_path, "[worker]\ntasks = false\n")
    with pytest.raises(StartError, match=r"^--no-model and .*, line 2 leave this worker nothing to run"):
        worker_plan(file, ModelFlags(none=True))
