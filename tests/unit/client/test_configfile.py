"""cavvy.toml: which one counts, what is refused in it, and where each value came from."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cavvy.client import config
from cavvy.client.config import Connection, Credentials, config_file, connection_settings
from cavvy.errors import ConfigInvalid

EVERYTHING = """
url = "https://here.example:4010"
pin = "ab"

[coordinator]
port = 4011
data_dir = "data"
lan = true
behind_proxy = ["10.0.0.1"]

[worker]
name = "bench"
slots = 3

[limits]
max_pending = 10

[providers.ollama]
url = "http://127.0.0.1:11434"
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory."""
    directory = tmp_path / "here"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


def written(directory: Path, text: str, *, mode: int = 0o600) -> Path:
    directory.mkdir(exist_ok=True)
    path = directory / "cavvy.toml"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


# Which file


def test_without_a_file_nothing_is_said(here: Path) -> None:
    assert config_file().path is None
    assert config_file().tables.coordinator.port is None


def test_the_file_of_the_account_counts_where_there_is_no_other(here: Path, config_directory: Path) -> None:
    path = written(config_directory, EVERYTHING)
    assert config_file().path == path
    assert config_file().tables.worker.slots == 3


def test_the_file_in_the_current_directory_replaces_it_whole(here: Path, config_directory: Path) -> None:
    written(config_directory, EVERYTHING)
    path = written(here, "[limits]\nmax_pending = 7\n")
    assert (config_file().path, config_file().tables.worker.slots) == (path, None)


def test_a_named_file_comes_before_both_and_the_option_before_the_variable(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(here, "[worker]\nslots = 1\n")
    variable, option = (written(tmp_path / name, "[worker]\nslots = 2\n") for name in ("variable", "option"))
    monkeypatch.setenv("CAVVY_CONFIG", str(variable))
    assert config_file().path == variable
    assert config_file(option).path == option


def test_a_named_file_that_is_not_there_is_an_error_and_no_silence(here: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"absent\.toml cannot be read: No such file"):
        config_file("absent.toml")


# Which text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("urll = 'x'", "line 1: urll is not known; did you mean url?"),
        ("[worker]\n\nslot = 1", "line 3: worker.slot is not known; did you mean slots?"),
        ("[limits]\nmax_pendign = 1", "line 2: limits.max_pendign is not known; did you mean max_pending?"),
        ("[cordinator]\nport = 1", "line 1: cordinator is not known; did you mean coordinator?"),
        ("zzzz = 1", "line 1: zzzz is not known; known are url, key, pin, coordinator"),
        ("coordinator = {prot = 1}", "coordinator.prot is not known; did you mean port?"),
        ("[coordinator]\nport = 70000", "line 2: coordinator.port: Expected `int` <= 65535"),
        ("[worker]\nslots = 'two'", "line 2: worker.slots: Expected `int | null`, got `str`"),
        ("[coordinator]\nbehind_proxy = [1]", "line 2: coordinator.behind_proxy: Expected `str`, got `int`"),
        ("worker = 1", "line 1: worker: Expected `object`, got `int`"),
        ("url = ", "is not TOML: Invalid value (at end of document)"),
    ],
)
def test_what_cannot_be_followed_is_named_with_its_line(here: Path, text: str, told: str) -> None:
    path = written(here, text)
    with pytest.raises(ConfigInvalid) as refused:
        config_file()
    assert str(refused.value).startswith(str(path))
    assert told in str(refused.value)


def test_a_table_of_a_provider_is_checked_against_what_it_is_said_to_be(here: Path) -> None:
    class Table(msgspec.Struct, forbid_unknown_fields=True):
        url: str | None = None

    path = written(here, "[providers.a]\nurl = 'x'\n\n[providers.b]\nulr = 'x'\n")
    file = config_file()
    assert file.check_table(file.tables.providers["a"], Table, "providers.a").url == "x"
    with pytest.raises(ConfigInvalid) as refused:
        file.check_table(file.tables.providers["b"], Table, "providers.b")
    assert str(refused.value) == f"{path}, line 5: providers.b.ulr is not known; did you mean url?"


def test_paths_are_relative_to_the_file_and_may_begin_at_home(here: Path, tmp_path: Path) -> None:
    file = config_file(written(tmp_path / "other", EVERYTHING))
    assert file.directory("data") == tmp_path / "other" / "data"
    assert file.directory("/data") == Path("/data")
    assert file.directory("~/data") == Path.home() / "data"


@given(st.text())
def test_no_text_breaks_it(text: str) -> None:
    path = Path(os.environ["CAVVY_DATA_DIR"])  # a name of its own in this test's directory
    path.write_text(text, encoding="utf-8", errors="replace")
    path.chmod(0o600)
    try:
        assert config_file(path).path == path
    except ConfigInvalid as refused:
        assert str(path) in str(refused)  # noqa: PT017 - both are right, for some text


# Whom to trust


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_can_change_is_refused_with_the_chmod(here: Path, mode: int) -> None:
    path = written(here, "", mode=mode)
    with pytest.raises(ConfigInvalid, match=f"can be changed by others .*chmod go-w {path}"):
        config_file()


@pytest.mark.parametrize("named", [False, True])
def test_a_file_of_another_account_is_refused(here: Path, named: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(here, "")
    os.chown(path, 12345, -1) if os.geteuid() == 0 else monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(ConfigInvalid, match="belongs to another account"):
        config_file(path if named else None)


def test_a_pipe_nobody_named_is_refused_instead_of_waited_for(here: Path) -> None:
    os.mkfifo(here / "cavvy.toml")
    with pytest.raises(ConfigInvalid, match="is not a regular file"):
        config_file()


def test_nor_is_a_link_to_a_device_without_an_end_read(here: Path) -> None:
    (here / "cavvy.toml").symlink_to("/dev/zero")
    with pytest.raises(ConfigInvalid, match="is not a regular file"):
        config_file()


def test_a_file_with_a_key_that_others_can_read_is_refused(here: Path) -> None:
    path = written(here, "key = 'cav_secret'", mode=0o644)
    with pytest.raises(ConfigInvalid, match=f"chmod 600 {path}") as refused:
        config_file()
    assert "cav_secret" not in str(refused.value)


@pytest.mark.parametrize("line", ["url = 'http://evil.example'", "key = 'cav_evil'", "pin = 'ab'"])
def test_a_file_nobody_named_cannot_redirect_a_client(here: Path, line: str) -> None:
    path = written(here, line)
    with pytest.raises(ConfigInvalid, match=f"line 1 sets {line[:3]}, and you did not name this file"):
        connection_settings("http://127.0.0.1:4010", "cav_key")
    connection_settings(config=path)


@pytest.mark.parametrize(
    "text",
    [
        "[providers.x]\ncommand = ['sh', '-c', 'evil']",
        "[providers.ollama]\nurl = 'http://evil.example'",
        "[providers.openai]\nenabled = true",
        "[providers.openai]\napi_key_env = 'SECRET'",
        "[providers.llamacpp]\nmodel = 'evil.gguf'",
        "[providers.x]\nenv = ['SECRET']",
        "[providers.x]\nprovider = 'openai'",
        "[coordinator]\ndata_dir = 'evil'",
        "[coordinator]\nlan = true",
        "[coordinator]\nhostnames = ['evil.example']",
        "[coordinator]\ntls_key = 'x'",
        "[coordinator]\nbehind_proxy = ['10.0.0.1']",
        "[worker]\ndata_dir = 'evil'",
    ],
)
def test_a_file_nobody_named_cannot_run_programs_or_move_data(here: Path, text: str) -> None:
    path = written(here, text)
    with pytest.raises(ConfigInvalid, match=f"line 2 sets .*give --config {path}"):
        config_file().refuse_unnamed("coordinator", "worker", "providers")
    config_file(path).refuse_unnamed("coordinator", "worker", "providers")
    connection_settings()  # harmless to a client, which runs nothing


def test_a_file_nobody_named_is_followed_in_what_harms_nobody(here: Path) -> None:
    written(here, "[coordinator]\nport = 1\n[worker]\nslots = 1\nname = 'x'\n[limits]\nmax_pending = 1\n"
            "[providers.ollama]\nenabled = false\nmodels = ['m']\n[providers.llamacpp]\nthreads = 2\n")  # fmt: skip
    config_file().refuse_unnamed("client", "coordinator", "worker", "providers")


def test_the_accounts_own_file_needs_no_naming_also_from_its_directory(
    config_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(config_directory, EVERYTHING)
    monkeypatch.chdir(config_directory)
    assert config.connection().url == "https://here.example:4010"


# What a client connects to


def test_the_file_comes_before_the_credentials_and_after_the_environment(
    here: Path, config_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_credentials(Credentials(url="http://127.0.0.1:9000", key="cav_stored", pin="cd"))
    path = written(config_directory, "url = 'http://127.0.0.1:9001'\nkey = 'cav_file'\npin = 'ab'")
    found = connection_settings()
    assert found.url == ("http://127.0.0.1:9001", f"{path}, line 1")
    assert found.key == ("cav_file", f"{path}, line 2")
    assert found.pin == ("ab", f"{path}, line 3")
    monkeypatch.setenv("CAVVY_PIN", "ef")
    assert connection_settings().pin == ("ef", "CAVVY_PIN")
    assert connection_settings(pin="01").pin == ("01", "argument")
    path.unlink()
    monkeypatch.delenv("CAVVY_PIN")
    assert config.connection() == Connection("http://127.0.0.1:9000", "cav_stored", "cd")


def test_the_files_key_and_pin_go_to_the_files_url_only(config_directory: Path) -> None:
    path = written(config_directory, "url = 'https://one.example'\nkey = 'cav_file'\npin = 'ab'")
    assert config.connection("https://one.example/") == Connection("https://one.example", "cav_file", "ab")
    assert config.connection("https://other.example") == Connection("https://other.example", None, None)
    path.write_text("key = 'cav_file'")
    config.write_credentials(Credentials(url="http://127.0.0.1:9000", key="cav_stored"))
    assert config.connection().key == "cav_file"
    assert config.connection("https://other.example").key is None


def test_the_stored_key_does_not_follow_the_files_url(config_directory: Path) -> None:
    config.write_credentials(Credentials(url="http://127.0.0.1:9000", key="cav_stored", pin="cd"))
    written(config_directory, "url = 'http://evil.example'")
    assert config.connection() == Connection("http://evil.example", None, None)
