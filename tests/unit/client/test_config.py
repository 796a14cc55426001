from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cavvy.client import config
from cavvy.client.config import Connection, Credentials
from cavvy.errors import ClientError, InvalidInput

STORED = Credentials(url="http://127.0.0.1:9000", key="cav_stored", operator_key="cav_operator")


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_without_anything_it_is_this_machine_and_no_key() -> None:
    assert config.connection() == Connection("http://127.0.0.1:4010", None)


def test_the_credentials_file_comes_before_the_defaults() -> None:
    config.write_credentials(STORED)
    assert config.connection() == Connection("http://127.0.0.1:9000", "cav_stored")
    assert config.read_credentials() == STORED


def test_the_environment_comes_before_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_credentials(STORED)
    monkeypatch.setenv("CAVVY_URL", "http://env.example:1/")
    monkeypatch.setenv("CAVVY_API_KEY", "cav_env")
    assert config.connection() == Connection("http://env.example:1", "cav_env")


def test_arguments_come_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAVVY_URL", "http://env.example:1")
    monkeypatch.setenv("CAVVY_API_KEY", "cav_env")
    assert config.connection("http://flag.example", "cav_flag") == Connection("http://flag.example", "cav_flag")


def test_the_operators_key_is_its_own_and_stays_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_credentials(STORED)
    assert config.connection(operator=True).key == "cav_operator"
    assert config.connection("http://elsewhere.example", operator=True).key is None
    assert config.connection(key="cav_flag", operator=True).key == "cav_flag"
    monkeypatch.setenv("CAVVY_API_KEY", "cav_adm_tenants")
    assert config.connection(operator=True).key == "cav_operator"
    monkeypatch.setenv("CAVVY_API_KEY", "cav_opr_env")
    assert config.connection(operator=True).key == "cav_opr_env"


@pytest.mark.parametrize(
    "url", ["http://elsewhere.example:9000", "http://127.0.0.1:9001", "http://127.evil.example:9000"]
)
def test_the_stored_key_is_never_sent_to_another_place(url: str) -> None:
    config.write_credentials(STORED)
    assert config.connection(url).key is None


@pytest.mark.parametrize("url", ["http://127.0.0.1:9000", "http://localhost:9000", "http://[::1]:9000/"])
def test_this_machine_is_the_same_place_by_all_its_names(url: str) -> None:
    config.write_credentials(STORED)
    assert config.connection(url).key == "cav_stored"


@pytest.mark.parametrize("url", ["localhost:4010", "ftp://x", "http://", "http://x:99999", "http://[::1"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="not a URL"):
        config.connection(url)


def test_a_key_that_cannot_be_one_is_refused() -> None:
    with pytest.raises(InvalidInput, match="copy it again"):
        config.connection(key="cav_key\n")


@pytest.mark.usefixtures("open_umask")
def test_the_files_are_private_also_under_umask_000(config_directory: Path) -> None:
    path = config.write_credentials(STORED)
    config.remember_worker("ab", "name")
    assert [mode(path), mode(config_directory / "known_workers.toml"), mode(config_directory)] == [0o600, 0o600, 0o700]
    assert sorted(each.name for each in config_directory.iterdir()) == ["credentials.toml", "known_workers.toml"]


@pytest.mark.usefixtures("open_umask")
def test_a_file_others_could_read_is_replaced_by_a_private_one() -> None:
    config.write_credentials(STORED).chmod(0o644)
    assert mode(config.write_credentials(STORED)) == 0o600


def test_a_damaged_file_is_named() -> None:
    config.write_credentials(STORED).write_text("url = ", encoding="utf-8")
    with pytest.raises(ClientError, match=r"credentials\.toml cannot be read"):
        config.connection()


def test_earlier_credentials_are_put_aside_and_not_lost() -> None:
    assert config.put_credentials_aside() is None
    for number in (1, 2):
        config.write_credentials(Credentials(key=f"cav_{number}"))
        aside = config.put_credentials_aside()
        assert aside is not None
        assert config.read_credentials(aside).key == f"cav_{number}"
    assert config.read_credentials() == Credentials()


def test_a_worker_met_again_keeps_the_time_it_was_first_seen() -> None:
    first = config.remember_worker("aa", "one")
    config.remember_worker("bb", "two")
    assert config.remember_worker("aa", "renamed") == first
    assert sorted(config.known_workers()) == ["aa", "bb"]


def test_the_directories_follow_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (config.data_dir(), config.config_dir()) == (tmp_path / "data", tmp_path / "config")
    monkeypatch.delenv("CAVVY_DATA_DIR")
    assert config.data_dir().name == "cavvy"


NOTE = """
import sys
from cavvy.client import config
print("ready", flush=True)
sys.stdin.readline()
for n in range(20):
    config.remember_worker(f"{sys.argv[1]}{n}", "w")
"""


def test_processes_that_note_workers_at_the_same_time_lose_nothing(config_directory: Path) -> None:
    pipe = subprocess.PIPE
    processes = [subprocess.Popen([sys.executable, "-c", NOTE, name], stdin=pipe, stdout=pipe) for name in "abc"]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len(config.known_workers()) == 60
