from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from cavvy.core import ed25519
from cavvy.errors import InvalidInput, StartError
from cavvy.protocol.handshake import key_fingerprint
from cavvy.worker.identity import Membership, WorkerHome, parse_join

COORDINATOR_KEY = ed25519.public_key(bytes(32))
PIN = "ab" * 32
TOKEN = f"cav_wrk_c2VjcmV0_x_{key_fingerprint(COORDINATOR_KEY)}"


@pytest.fixture
def home(tmp_path: Path) -> WorkerHome:
    return WorkerHome(tmp_path / "data" / "worker")


@pytest.fixture
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def membership(name: str = "box") -> Membership:
    return Membership(url="ws://127.0.0.1:4010", coordinator_key=COORDINATOR_KEY.hex(), name=name)


@pytest.mark.usefixtures("no_umask")
def test_what_is_made_is_private_even_without_a_umask(home: WorkerHome) -> None:
    home.identity()
    home.remember(membership())
    assert [mode(path) for path in (home.directory.parent, home.directory)] == [0o700, 0o700]
    assert {path.name: mode(path) for path in home.directory.iterdir()} == {
        "worker.key": 0o600,
        "worker.toml": 0o600,
    }


def test_the_key_is_made_once(home: WorkerHome) -> None:
    first = home.identity()
    assert first == WorkerHome(home.directory).identity()
    assert first.key == ed25519.public_key(first.seed).hex()


def test_two_homes_have_two_keys(tmp_path: Path) -> None:
    assert WorkerHome(tmp_path / "a").identity() != WorkerHome(tmp_path / "b").identity()


@pytest.mark.parametrize("loose", [0o640, 0o604, 0o620, 0o644, 0o666])
def test_a_key_that_others_could_reach_is_refused_with_the_command_that_helps(home: WorkerHome, loose: int) -> None:
    home.identity()
    home.key_path.chmod(loose)
    with pytest.raises(StartError, match=f"chmod 600 {home.key_path}"):
        home.identity()


def test_a_membership_that_others_could_reach_is_refused(home: WorkerHome) -> None:
    home.identity()
    home.remember(membership())
    (home.directory / "worker.toml").chmod(0o644)
    with pytest.raises(StartError, match="chmod 600"):
        home.membership()


@pytest.mark.parametrize("content", ["", "zz", "00" * 31, "00" * 33, "\udc80".encode("utf-8", "surrogatepass")])
def test_a_damaged_key_is_refused_and_kept(home: WorkerHome, content: str | bytes) -> None:
    home.identity()
    home.key_path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(StartError, match="does not hold a key"):
        home.identity()


def test_the_seed_is_in_no_message(home: WorkerHome) -> None:
    identity = home.identity()
    assert identity.seed.hex() not in repr(identity)
    assert repr(identity.seed) not in repr(identity)


@pytest.mark.parametrize("name", ["box", 'quo"te \\ back', "Jürgens 🐎 Pferd", "tab\tnew\nline", "del\x7fete"])
def test_a_membership_is_remembered_whatever_the_name(home: WorkerHome, name: str) -> None:
    home.identity()
    assert home.membership() is None
    home.remember(membership("old"))
    home.remember(membership(name))
    assert home.membership() == membership(name)


def test_a_damaged_membership_is_refused(home: WorkerHome) -> None:
    home.identity()
    home.remember(membership())
    (home.directory / "worker.toml").write_text("url = ")
    with pytest.raises(StartError, match="cannot be read"):
        home.membership()


@pytest.mark.parametrize(
    ("line", "url"),
    [
        (f"cavvy://127.0.0.1:4999/{TOKEN}", "ws://127.0.0.1:4999"),
        (f"  cavvy://localhost/{TOKEN}\n", "ws://localhost:4010"),
        (f"cavvy://[::1]:4010/{TOKEN}", "ws://[::1]:4010"),
        (f"cavvy://127.0.0.1:4010/{TOKEN}#{PIN}", "wss://127.0.0.1:4010"),
        (f"cavvy://192.168.1.7/{TOKEN}#{PIN.upper()}", "wss://192.168.1.7:4010"),
        (f"cavvy://Cavvy.Example.org:443/{TOKEN}", "wss://cavvy.example.org"),
    ],
)
def test_a_join_line_names_the_coordinator(line: str, url: str) -> None:
    join = parse_join(line)
    assert (join.url, join.token, join.pin) == (url, TOKEN, PIN if "#" in line else None)
    assert join.names(COORDINATOR_KEY.hex())
    assert not join.names(ed25519.public_key(bytes([1] * 32)).hex())


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        (f"ws://192.168.1.7:4010/{TOKEN}", "invalid_join", "everyone on the way could read"),
        (f"https://127.0.0.1:4010/{TOKEN}", "invalid_join", "cavvy://HOST:PORT/"),
        (f"cavvy:///{TOKEN}", "invalid_join", "cavvy://HOST:PORT/"),
        (f"cavvy://127.0.0.1:4010/{TOKEN}#{PIN[:-1]}", "invalid_join", "64 hex digits"),
        (f"cavvy://127.0.0.1:port/{TOKEN}", "invalid_join", "port"),
        ("cavvy://127.0.0.1:4010/", "invalid_join", "cut off"),
        (f"cavvy://127.0.0.1:4010/{TOKEN[:-1]}", "invalid_join", "cut off"),
        (f"cavvy://127.0.0.1:4010/cav_sub_x_{'0' * 32}", "invalid_join", "cut off"),
        ("cavvy://[::1:4010/x", "invalid_join", "cavvy://HOST:PORT/"),
    ],
)
def test_a_join_line_that_cannot_be_used_says_why(line: str, code: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as refused:
        parse_join(line)
    assert refused.value.code == code
