"""`cavvy backup` and `cavvy restore` on files: what is copied, who may read it, what is refused and left as it was."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from cavvy.client import config
from cavvy.client.config import Credentials
from cavvy.core.writes import AddApiKey, EraseJobs
from cavvy.store.sqlite import SqliteStore
from tests.conformance.samples import KEY, OpenStore, completed, granted, inserted, started
from tests.unit.cli.conftest import Cli

CANARY = b"canary-erased"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A coordinator's data: a job that has ended, one that runs, one that was erased."""
    directory = tmp_path / "data"

    async def fill() -> None:
        store = SqliteStore(directory)
        opened = OpenStore(store, (await store.open()).term)
        await opened.commit(AddApiKey(key=replace(KEY, revoked_at_ms=None)))
        await opened.commit(inserted(1), granted(1), started(1), completed(1), inserted(2), granted(2), started(2))
        await opened.commit(inserted(3, input=CANARY * 9), granted(3), started(3), completed(3))
        await opened.commit(EraseJobs(seqs=(3,), at_ms=9))
        await store.close()

    asyncio.run(fill())
    (directory / "worker").mkdir()
    for name in ("coordinator.key", "tls.key", "tls.crt", "worker/worker.key", "worker/worker.toml"):
        (directory / name).write_text(f"this is {name}")
    (directory / "stray").write_text("nobody needs it")
    return directory


def tree(directory: Path) -> dict[str, int]:
    """Every file and directory, with its mode."""
    found = [directory, *directory.rglob("*")]
    return {path.relative_to(directory).as_posix(): stat.S_IMODE(path.lstat().st_mode) for path in found}


def rows(directory: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(directory / "cavvy.db")) as connection:
        return connection.execute(query).fetchall()


ALL = {
    "cavvy.db", "coordinator.key", "tls.key", "tls.crt", "worker/worker.key", "worker/worker.toml", "backup.json",
}  # fmt: skip


def test_a_backup_has_all_a_coordinator_needs_and_only_its_owner_may_read_it(
    cli: Cli, data: Path, tmp_path: Path
) -> None:
    before = os.umask(0)
    told = cli("backup", str(tmp_path / "copy"), "--data-dir", str(data))
    os.umask(before)
    assert (told.code, told.out) == (0, f"{tmp_path / 'copy'}\n")
    made = tree(tmp_path / "copy")
    assert {name for name in made if name not in (".", "worker")} == ALL
    assert {mode for name, mode in made.items() if name not in (".", "worker")} == {0o600}
    assert {made["."], made["worker"]} == {0o700}
    assert rows(tmp_path / "copy", "SELECT count(*) FROM job") == [(3,)]


def test_what_was_erased_is_in_no_backup(cli: Cli, data: Path, tmp_path: Path) -> None:
    cli("backup", str(tmp_path / "copy"), "--data-dir", str(data))
    assert CANARY not in (tmp_path / "copy" / "cavvy.db").read_bytes()


def test_the_credentials_that_open_it_and_the_settings_go_with_it(cli: Cli, data: Path, tmp_path: Path) -> None:
    config.write_credentials(Credentials(url="http://127.0.0.1:4010", key=f"cav_adm_{KEY.key_id}_secret"))
    (tmp_path / "mine.toml").write_text("[coordinator]\nport = 4011\n")
    told = cli("backup", str(tmp_path / "copy"), "--data-dir", str(data), "--config", str(tmp_path / "mine.toml"))
    assert told.code == 0
    kept = {path.name for path in (tmp_path / "copy" / "config").iterdir()}
    assert kept == {"credentials.toml", "cavvy.toml"}


def test_the_credentials_of_another_coordinator_stay_out_of_it(cli: Cli, data: Path, tmp_path: Path) -> None:
    config.write_credentials(Credentials(url="http://127.0.0.1:4010", key="cav_adm_other_secret"))
    cli("backup", str(tmp_path / "copy"), "--data-dir", str(data))
    assert not (tmp_path / "copy" / "config").exists()


@pytest.mark.parametrize("kind", ["file", "directory", "dangling link"])
def test_a_backup_overwrites_nothing(cli: Cli, data: Path, tmp_path: Path, kind: str) -> None:
    there = tmp_path / "copy"
    if kind == "file":
        there.write_text("mine")
    elif kind == "directory":
        there.mkdir()
    else:
        there.symlink_to(tmp_path / "nowhere")
    before = tree(tmp_path)
    told = cli("backup", str(there), "--data-dir", str(data))
    assert (told.code, "overwrites nothing" in told.err) == (1, True)
    assert tree(tmp_path) == before


@contextmanager
def small_disk(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_told_and_nothing_half_done_is_left(cli: Cli, data: Path, tmp_path: Path) -> None:
    before = tree(tmp_path)
    with small_disk(20_000):
        told = cli("backup", str(tmp_path / "copy"), "--data-dir", str(data))
    assert told.code == 1
    assert "cannot be" in told.err
    assert {name for name in tree(tmp_path) if not name.startswith("data/cavvy.db-")} == set(before)
    assert cli("backup", str(tmp_path / "copy"), "--data-dir", str(data)).code == 0


def test_where_no_coordinator_has_data_there_is_nothing_to_copy(cli: Cli, tmp_path: Path) -> None:
    told = cli("backup", str(tmp_path / "copy"), "--data-dir", str(tmp_path / "empty"))
    assert (told.code, "no coordinator's data" in told.err) == (1, True)


def test_a_backup_while_the_store_is_written_is_one_state_of_it(cli: Cli, tmp_path: Path) -> None:
    """Jobs are inserted in pairs: each copy holds an even number, and its writer never waits for it to end."""
    data, over = tmp_path / "data", threading.Event()
    ready = threading.Event()

    async def write() -> None:
        store = SqliteStore(data)
        opened = OpenStore(store, (await store.open()).term)
        for number in range(1, 100_000, 2):
            await opened.commit(inserted(number, input=b"x" * 2_000), inserted(number + 1))
            ready.set()
            if over.is_set():
                break
        await store.close()

    writer = threading.Thread(target=lambda: asyncio.run(write()))
    writer.start()
    made = []
    for name in ("copy-1", "copy-2"):
        for _ in range(2):  # the first may have been on its way before
            ready.clear()
            assert ready.wait(60), "nothing is written"
        made.append(json.loads(cli("backup", str(tmp_path / name), "--data-dir", str(data), "--json").out))
    over.set()
    writer.join(60)
    assert [one["backup"]["jobs"] % 2 for one in made] == [0, 0]
    assert 0 < made[0]["backup"]["jobs"] < made[1]["backup"]["jobs"]


@pytest.fixture
def copy(cli: Cli, data: Path, tmp_path: Path) -> Path:
    config.write_credentials(Credentials(url="http://127.0.0.1:4010", key=f"cav_adm_{KEY.key_id}_secret"))
    assert cli("backup", str(tmp_path / "copy"), "--data-dir", str(data)).code == 0
    return tmp_path / "copy"


def test_a_restored_store_is_the_same_under_another_id(cli: Cli, copy: Path, data: Path, tmp_path: Path) -> None:
    told = cli("restore", str(copy), "--data-dir", str(tmp_path / "new"))
    assert (told.code, told.out) == (0, f"{tmp_path / 'new'}\n")
    assert "1 jobs had not ended" in told.err
    assert set(tree(tmp_path / "new")) == {
        ".", "cavvy.db", "coordinator.key", "coordinator.lock", "tls.key", "tls.crt",
        "worker", "worker/worker.key", "worker/worker.toml",
    }  # fmt: skip
    assert {mode & 0o077 for mode in tree(tmp_path / "new").values()} == {0}
    everything = "SELECT * FROM job JOIN job_input ON job_seq = seq ORDER BY seq"
    assert rows(tmp_path / "new", everything) == rows(data, everything)
    assert rows(tmp_path / "new", "SELECT store_id FROM store") != rows(data, "SELECT store_id FROM store")


async def test_a_restored_store_opens(copy: Path, tmp_path: Path, cli: Cli) -> None:
    cli("restore", str(copy), "--data-dir", str(tmp_path / "new"))
    store = SqliteStore(tmp_path / "new")
    assert (await store.open()).last_seq == 3
    assert [key.key_id for key in await store.api_keys()] == [KEY.key_id]
    await store.close()


def test_the_credentials_come_back_where_there_are_none(cli: Cli, copy: Path, tmp_path: Path) -> None:
    config.credentials_path().unlink()
    told = cli("restore", str(copy), "--data-dir", str(tmp_path / "new"))
    assert str(config.credentials_path()) in told.err
    assert config.read_credentials().key == f"cav_adm_{KEY.key_id}_secret"


def test_credentials_that_are_there_are_left_alone(cli: Cli, copy: Path, tmp_path: Path) -> None:
    config.write_credentials(Credentials(url="http://127.0.0.1:4010", key="cav_adm_other_secret"))
    cli("restore", str(copy), "--data-dir", str(tmp_path / "new"))
    assert config.read_credentials().key == "cav_adm_other_secret"


def test_a_directory_that_is_not_empty_is_refused_and_left_as_it_was(cli: Cli, copy: Path, data: Path) -> None:
    before = tree(data)
    told = cli("restore", str(copy), "--data-dir", str(data))
    assert (told.code, "is not empty" in told.err) == (1, True)
    assert tree(data) == before


async def test_a_directory_that_a_process_has_is_refused(cli: Cli, copy: Path, tmp_path: Path) -> None:
    held = tmp_path / "held"
    store = SqliteStore(held)
    await store.open()
    for path in held.glob("cavvy.db*"):
        path.unlink()
    told = await asyncio.to_thread(cli, "restore", str(copy), "--data-dir", str(held))
    assert (told.code, "is in use" in told.err) == (6, True)
    await store.close()


@pytest.mark.parametrize("name", ["cavvy.db", "coordinator.key", "backup.json"])
def test_a_damaged_backup_is_refused_and_nothing_is_made(cli: Cli, copy: Path, tmp_path: Path, name: str) -> None:
    (copy / name).write_bytes((copy / name).read_bytes()[:-9])
    told = cli("restore", str(copy), "--data-dir", str(tmp_path / "new"))
    assert told.code == 1
    assert not (tmp_path / "new").exists()


def test_a_backup_that_names_files_outside_of_it_is_refused(cli: Cli, copy: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("x")
    manifest = json.loads((copy / "backup.json").read_text())
    manifest["files"]["../outside"] = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    (copy / "backup.json").write_text(json.dumps(manifest))
    told = cli("restore", str(copy), "--data-dir", str(tmp_path / "new"))
    assert (told.code, (tmp_path / "new").exists()) == (1, False)


def test_a_full_disk_leaves_the_directory_empty(cli: Cli, copy: Path, tmp_path: Path) -> None:
    with small_disk(20_000):
        told = cli("restore", str(copy), "--data-dir", str(tmp_path / "new"))
    assert told.code == 1
    assert set(tree(tmp_path / "new")) == {".", "coordinator.lock"}
    assert cli("restore", str(copy), "--data-dir", str(tmp_path / "new")).code == 0
