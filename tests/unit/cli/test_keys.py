"""`cavvy keys` and `cavvy tenants` against a live coordinator."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cavvy.client import config
from cavvy.client.config import Credentials
from tests.unit.cli.conftest import Cli
from tests.unit.cli.every_command import Live, live


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with live(tmp_path_factory.mktemp("keys")) as here:
        yield here


@pytest.fixture(autouse=True)
def credentials(here: Live) -> Credentials:
    """What `cavvy up` wrote down for this account."""
    server = here.stack.server
    stored = Credentials(url=server.url, key=here.stack.key, operator_key=server.operator_key)
    config.write_credentials(stored)
    return stored


def test_a_keys_secret_is_all_there_is_on_stdout(cli: Cli) -> None:
    code, out, err = cli("keys", "create", "--role", "read")
    secret = out.strip()
    assert (code, out.count("\n"), secret[:7]) == (0, 1, "cav_ro_")
    assert secret not in err
    assert cli("--key", secret, "jobs", "list").code == 0
    assert cli("--key", secret, "run", "hi").code == 4


def test_the_line_for_another_machine_logs_in_there(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    words = cli("keys", "create", "--login").out.split()
    monkeypatch.setenv("CAVVY_CONFIG_DIR", str(tmp_path / "there"))
    told = cli(*words[1:])
    assert (told.code, told.out.endswith("as owner: submit of the tenant default\n")) == (0, True)


def test_a_metrics_key_is_made_with_the_operators(cli: Cli) -> None:
    made = json.loads(cli("keys", "create", "--role", "metrics", "--json").out)
    assert (made["role"], made["tenant"]) == ("metrics", None)
    code, _, err = cli("keys", "create", "--role", "metrics", "--tenant", "acme")
    assert (code, "belong to no tenant" in err) == (2, True)


def test_a_length_of_time_is_from_now(cli: Cli) -> None:
    made = json.loads(cli("keys", "create", "--expires", "90d", "--json").out)
    left = datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=89, hours=23) < left < timedelta(days=90, minutes=1)


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(("rotate", "x", "--grace", "soon"), id="no length of time"),
        pytest.param(("create", "--expires", "999999999d"), id="beyond all time"),
        pytest.param(("list", "--tenant", "acme", "--operator"), id="both"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(cli: Cli, words: tuple[str, ...]) -> None:
    assert cli("keys", *words).code == 2


def test_the_operators_key_is_taken_where_it_is_needed(cli: Cli) -> None:
    assert cli("tenants", "create", "acme").code == 0
    made = json.loads(cli("keys", "create", "--tenant", "acme", "--role", "submit", "--json").out)
    assert (made["tenant"], made["role"]) == ("acme", "submit")
    listed = json.loads(cli("keys", "list", "--tenant", "acme", "--json").out)["keys"]
    assert [one["role"] for one in listed] == ["admin", "submit"]
    assert cli("keys", "revoke", made["id"], "--tenant", "acme").out == f"{made['id']}: revoked\n"
    own = json.loads(cli("keys", "list", "--operator", "--json").out)["keys"]
    assert (own[0]["role"], {one["tenant"] for one in own}) == ("operator", {None})


def test_a_tenant_is_made_with_a_weight(cli: Cli) -> None:
    assert cli("tenants", "create", "heavy", "--weight", "2.5").code == 0
    tenants = {one["id"]: one["weight"] for one in json.loads(cli("tenants", "list", "--json").out)["tenants"]}
    assert (tenants["default"], tenants["heavy"]) == (1.0, 2.5)
    assert cli("tenants", "create", "nobody", "--weight", "0").code == 2


def test_a_tenants_key_in_the_environment_is_passed_over_for_the_operators(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, credentials: Credentials
) -> None:
    monkeypatch.setenv("CAVVY_API_KEY", credentials.key or "")
    assert cli("tenants", "list").code == 0
    monkeypatch.setenv("CAVVY_API_KEY", "cav_opr_wrong")
    assert cli("tenants", "list").code == 4


def test_rotating_the_own_key_locks_nobody_out(cli: Cli, credentials: Credentials) -> None:
    assert credentials.key is not None
    code, out, err = cli("keys", "rotate", credentials.key.split("_")[2], "--grace", "1h")
    assert (code, str(config.credentials_path()) in err) == (0, True)
    assert config.read_credentials().key == out.strip()
    assert cli("jobs", "list").code == 0


def test_the_last_admin_key_stays_and_the_command_says_what_to_do(cli: Cli, tmp_path: Path) -> None:
    with live(tmp_path) as fresh:
        key_id = fresh.stack.key.split("_")[2]
        code, _, err = cli("--url", fresh.stack.server.url, "--key", fresh.stack.key, "keys", "revoke", key_id)
    assert (code, "rotate it with grace_s 0" in err) == (4, True)


def test_an_expiry_that_is_neither_length_nor_moment_is_a_usage_error(cli: Cli) -> None:
    told = cli("keys", "create", "--expires", "3x")
    assert told.code == 2
    assert "such as 30m, 12h or 90d" in told.err


def test_a_login_line_that_works_on_this_machine_only_says_so(cli: Cli) -> None:
    assert "started with --lan" in cli("keys", "create", "--login").err
