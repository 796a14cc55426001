"""Files and directories that only their owner can read, whole or not there at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from cavvy.errors import StartError
from cavvy.private_files import make_private_directory, read_private, write_private


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o277], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_what_is_made_is_for_its_owner_only_whatever_the_umask(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "b"
    make_private_directory(directory)
    write_private(directory / "file", b"secret")
    assert [mode(one) for one in (directory.parent, directory, directory / "file")] == [0o700, 0o700, 0o600]


def test_an_existing_directory_is_left_as_it_is(tmp_path: Path) -> None:
    """It may be shared on purpose: `--data-dir /tmp` must not take /tmp from everybody else."""
    loose = tmp_path / "data"
    loose.mkdir()
    loose.chmod(0o755)
    make_private_directory(loose)
    assert mode(loose) == 0o755


def test_a_file_is_private_from_its_first_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is written, so that nobody opens it in between."""
    modes: list[int] = []
    opened = os.open

    def recorded(where: Path, flags: int, permissions: int) -> int:
        descriptor = opened(where, flags, permissions)
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return descriptor

    monkeypatch.setattr(os, "open", recorded)
    before = os.umask(0)
    try:
        write_private(tmp_path / "file", b"secret")
    finally:
        os.umask(before)
    assert modes == [0o600]


def test_a_file_that_cannot_be_written_whole_leaves_the_old_one_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "file"
    write_private(target, b"old")

    def full(_: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_private(target, b"new")
    assert target.read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_a_file_is_replaced_in_one_step_and_is_private_then(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    target.chmod(0o644)
    write_private(target, b"new")
    assert (target.read_bytes(), mode(target)) == (b"new", 0o600)


def test_a_file_that_is_there_is_not_touched_unless_it_may_be(tmp_path: Path) -> None:
    target = tmp_path / "file"
    write_private(target, b"old")
    with pytest.raises(FileExistsError):
        write_private(target, b"new", replace=False)
    assert target.read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("loose", [0o640, 0o604, 0o660, 0o644, 0o777, 0o610, 0o601])
def test_a_file_others_could_read_or_change_is_not_read(tmp_path: Path, loose: int) -> None:
    target = tmp_path / "file"
    write_private(target, b"secret")
    target.chmod(loose)
    with pytest.raises(StartError, match=f"mode 0{loose:o}.*chmod 600"):
        read_private(target)


@pytest.mark.parametrize("private", [0o600, 0o400, 0o700])
def test_a_file_its_owner_alone_can_read_is_read(tmp_path: Path, private: int) -> None:
    target = tmp_path / "file"
    write_private(target, b"secret")
    target.chmod(private)
    assert read_private(target) == b"secret"
