"""A key's file is its owner's alone from its first byte on, and a damaged one is never taken for a key."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from cavvy.errors import StartError
from cavvy.private_files import make_private_directory, write_private
from cavvy.protocol.keyfile import load_or_create_seed

SEED = bytes(range(32))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o277], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "coordinator.key"


@pytest.mark.usefixtures("umask")
def test_a_new_key_is_for_its_owner_only_whatever_the_umask(path: Path) -> None:
    load_or_create_seed(path)
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)


def test_a_new_key_is_kept(path: Path) -> None:
    assert load_or_create_seed(path) == load_or_create_seed(path)


def test_two_new_keys_differ(tmp_path: Path) -> None:
    assert load_or_create_seed(tmp_path / "a.key") != load_or_create_seed(tmp_path / "b.key")


def test_a_key_file_is_64_hex_digits(path: Path) -> None:
    seed = load_or_create_seed(path)
    assert path.read_bytes() == seed.hex().encode() + b"\n"


def test_a_new_key_leaves_no_other_file_behind(path: Path) -> None:
    load_or_create_seed(path)
    assert [one.name for one in path.parent.iterdir()] == ["coordinator.key"]


@pytest.mark.parametrize("loose", [0o640, 0o604, 0o660, 0o644, 0o777, 0o610, 0o601])
def test_a_key_others_could_read_or_change_is_refused(path: Path, loose: int) -> None:
    load_or_create_seed(path)
    path.chmod(loose)
    with pytest.raises(StartError, match=f"mode 0{loose:o}.*chmod 600"):
        load_or_create_seed(path)


def test_a_key_its_owner_alone_can_read_is_taken(path: Path) -> None:
    seed = load_or_create_seed(path)
    path.chmod(0o400)
    assert load_or_create_seed(path) == seed


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"\n",
        SEED.hex().encode()[:-2],
        SEED.hex().encode()[:-1],
        SEED.hex().encode() + b"00",
        b"zz" * 32,
        SEED,
        b"\xff\xfe" + SEED.hex().encode(),
        "\u0663".encode() * 64,
    ],
)
def test_a_damaged_key_is_refused_and_not_replaced(path: Path, damaged: bytes) -> None:
    make_private_directory(path.parent)
    write_private(path, damaged)
    with pytest.raises(StartError, match=r"does not hold a key .64 hex digits.*Restore it from a backup"):
        load_or_create_seed(path)
    assert path.read_bytes() == damaged


def test_a_key_that_cannot_be_kept_says_where_and_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("in the way")
    with pytest.raises(StartError, match=r"Cannot keep a key in .*coordinator\.key: .*--data-dir"):
        load_or_create_seed(tmp_path / "data" / "coordinator.key")


def test_of_two_processes_that_start_at_once_both_take_the_same_key(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second has looked and found no key, and the first writes it before the second does."""
    first = load_or_create_seed(path)
    monkeypatch.setattr(Path, "exists", lambda _: False)
    assert load_or_create_seed(path) == first
