"""`cavvy login`: what it keeps, and what it refuses before anything is changed."""

from __future__ import annotations

import io
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from cavvy.api.listening import Listen
from cavvy.client import config
from cavvy.client.config import Credentials
from cavvy.store.sqlite import SqliteStore
from cavvy.testing import LiveStack, live_stack
from tests.unit.cli.conftest import Cli

WRONG_PIN = "ab" * 32
EARLIER = Credentials(url="http://127.0.0.1:9", key="cav_adm_earlier")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    """With TLS, called 127.0.0.2 by others, on a thread of its own."""
    from anyio.from_thread import start_blocking_portal

    data = tmp_path_factory.mktemp("login") / "data"
    listen = Listen(port=0, lan=True, hostnames=("127.0.0.2",))
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(live_stack(data, SqliteStore(data), listen=listen)) as stack,
    ):
        yield stack


@pytest.fixture
def line(stack: LiveStack) -> str:
    """What logs another machine in."""
    return stack.server.reach.line(stack.key)


def test_the_line_alone_logs_in_and_later_commands_use_it(cli: Cli, stack: LiveStack, line: str) -> None:
    told = cli("login", line)
    port = stack.server.reach.here.rpartition(":")[2]
    assert told.out == f"logged in at https://127.0.0.2:{port} as owner: admin of the tenant default\n"
    kept = config.read_credentials()
    assert kept == Credentials(url=f"https://127.0.0.2:{port}", key=stack.key, pin=stack.server.pin)
    assert stat.S_IMODE(config.credentials_path().stat().st_mode) == 0o600
    assert cli("workers", "list").code == 0


def test_what_was_kept_before_is_put_aside(cli: Cli, line: str, config_directory: Path) -> None:
    config.write_credentials(EARLIER)
    told = cli("login", line)
    aside = config_directory / "credentials.1.toml"
    assert f"what was kept before is now in {aside}" in told.err
    assert config.read_credentials(aside) == EARLIER


def test_logging_in_again_with_the_same_line_changes_nothing(cli: Cli, line: str, config_directory: Path) -> None:
    cli("login", line)
    assert cli("login", line).code == 0
    assert [path.name for path in config_directory.iterdir()] == ["credentials.toml"]


def test_the_operators_key_is_kept_beside_the_other(cli: Cli, stack: LiveStack, line: str) -> None:
    assert stack.server.operator_key is not None
    cli("login", line)
    told = cli("login", line.replace(stack.key, stack.server.operator_key))
    assert told.out.endswith("as owner: operator\n")
    kept = config.read_credentials()
    assert (kept.key, kept.operator_key) == (stack.key, stack.server.operator_key)


def test_with_the_url_alone_the_key_is_read_from_stdin(
    cli: Cli, stack: LiveStack, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = line.replace(f"/{stack.key}", "").replace("cavvy:", "https:")
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{stack.key}\n"))
    assert cli("login", url).code == 0
    assert config.read_credentials().key == stack.key


@pytest.mark.parametrize("what", ["pin", "key", "no pin"])
def test_what_is_wrong_is_refused_and_nothing_is_changed(
    cli: Cli, stack: LiveStack, line: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(stack.key))
    config.write_credentials(EARLIER)
    assert stack.server.pin is not None
    wrong, words = {
        "pin": (line.replace(stack.server.pin, WRONG_PIN), "its certificate has another key"),
        "key": (line.replace(stack.key, "cav_adm_none"), "(401 unauthorized)"),
        "no pin": (f"https://{stack.server.reach.there}", "no authority"),
    }[what]
    told = cli("login", wrong)
    assert (told.code, told.out) == (4, "")
    assert words in told.err
    assert config.read_credentials() == EARLIER


def test_stdin_without_a_key_logs_in_nobody(
    cli: Cli, stack: LiveStack, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("login", line)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    told = cli("login", f"https://{stack.server.reach.there}")
    assert (told.code, told.out) == (2, "")
    assert "there is no key on stdin" in told.err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("box", "not a URL of a coordinator"),
        ("ftp://box:4010", "not a URL of a coordinator"),
        ("cavvy://box:4010/cav_wrk_x_y", "no API key"),
        ("cavvy://box:4010/", "no API key"),
        ("cavvy://box:4010/cav_adm_x#abc", "64 hex digits"),
        ("cavvy://box:port/cav_adm_x", "its port is not a number"),
    ],
)
def test_a_line_that_cannot_be_right_is_a_usage_error(
    cli: Cli, line: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("cav_adm_x"))
    told = cli("login", line)
    assert told.code == 2
    assert words in told.err


def test_it_is_said_when_something_else_still_decides(cli: Cli, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAVVY_URL", "http://127.0.0.1:9")
    assert "but CAVVY_URL comes before it" in cli("login", line).err
