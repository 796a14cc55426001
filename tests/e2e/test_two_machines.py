"""Two machines, as two accounts that share nothing: one has the coordinator, the other gets a line to type."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from cavvy.client.config import Credentials, read_credentials
from tests.processes import Ended, Installation, Process, installed, until
from tests.scripted_worker import ANSWER

pytestmark = pytest.mark.e2e

LAN = ("--lan", "--hostname", "127.0.0.2")
WRONG_PIN = "ab" * 32


class Machines(NamedTuple):
    """`first` has the coordinator, which `second` calls 127.0.0.2."""

    first: Installation
    second: Installation
    coordinator: Process
    port: int

    @property
    def credentials(self) -> Credentials:
        """What the first start left on the first machine."""
        return read_credentials(self.first.config / "credentials.toml")

    def printed(self) -> list[str]:
        """The command that `cavvy workers token` prints on the first machine, its words."""
        told = self.first.cavvy("workers", "token")
        assert told.code == 0, told
        return told.out.split()

    def typed(self, words: list[str]) -> Ended:
        """That command on the second machine, to its end."""
        return self.second.run("-m", "tests.scripted_worker", *words[1:])


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    with (
        installed(tmp_path_factory.mktemp("first")) as first,
        installed(tmp_path_factory.mktemp("second")) as second,
    ):
        coordinator, port = started(first, "0", *LAN)
        yield Machines(first, second, coordinator, port)


def started(here: Installation, port: str, *options: str) -> tuple[Process, int]:
    process = here.start("-m", "cavvy", "coordinator", "--port", port, *options, "--json")
    return process, int(json.loads(process.first_line())["url"].rpartition(":")[2])


def sentence(ended: Ended) -> str:
    """What a worker that was refused says at last."""
    assert (ended.code, ended.out) == (4, ""), ended
    return ended.err.splitlines()[-1]


def workers(machines: Machines) -> list[str]:
    told = json.loads(machines.first.cavvy("workers", "list", "--json").out)
    return [worker["name"] for worker in told["workers"]]


def test_on_the_first_machine_nothing_has_to_be_copied(machines: Machines) -> None:
    assert machines.credentials.url == f"https://127.0.0.1:{machines.port}"
    assert re.fullmatch("[0-9a-f]{64}", machines.credentials.pin or "")
    assert machines.first.cavvy("workers", "list").code == 0


def test_the_printed_command_lets_the_second_machine_work(machines: Machines) -> None:
    words = machines.printed()
    assert words[:3] == ["cavvy", "worker", "--join"]
    assert words[3].startswith(f"cavvy://127.0.0.2:{machines.port}/cav_wrk_")
    machines.second.start("-m", "tests.scripted_worker", *words[1:], "--name", "second")
    until("the second machine's worker is there", lambda: "second" in workers(machines))
    ran = machines.first.cavvy("run", "hi", "--json")
    assert ran.code == 0, ran
    job = json.loads(ran.out)
    assert job["output"] == ANSWER
    verified = machines.first.cavvy("receipt", "verify", job["id"])
    assert verified.code == 0, verified


def test_the_second_machine_is_a_client_after_one_login(machines: Machines) -> None:
    there = f"127.0.0.2:{machines.port}"
    told = machines.second.cavvy("login", f"cavvy://{there}/{machines.credentials.key}#{machines.credentials.pin}")
    assert told.out == f"logged in at https://{there} as owner: admin of the tenant default\n"
    assert machines.second.cavvy("jobs", "list").code == 0


def test_a_wrong_pin_ends_the_worker_with_a_sentence_and_changes_nothing(machines: Machines) -> None:
    words, before = machines.printed(), workers(machines)
    line, _, pin = words[3].partition("#")
    assert pin == machines.credentials.pin
    told = sentence(machines.typed([*words[:3], f"{line}#{WRONG_PIN}", "--data-dir", str(machines.second.directory)]))
    assert f"What answers at wss://127.0.0.2:{machines.port} is not the coordinator" in told
    assert workers(machines) == before


def test_a_used_token_ends_the_worker_with_a_sentence(machines: Machines, tmp_path: Path) -> None:
    words = machines.printed()
    first = machines.second.start(
        "-m", "tests.scripted_worker", *words[1:], "--name", "used", "--data-dir", str(tmp_path)
    )
    until("the token is used", lambda: "used" in workers(machines))
    told = sentence(machines.typed([*words, "--data-dir", str(tmp_path / "other")]))
    assert "its token is unknown, used up or expired" in told
    first.terminate()


def test_the_key_of_the_certificate_is_private(machines: Machines) -> None:
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in machines.first.data.iterdir() if path.is_file()}
    assert set(modes.values()) == {0o600}
    assert {"tls.key", "tls.crt"} <= set(modes)


def test_credentials_follow_when_tls_comes_and_goes_and_the_pin_stays(installation: Installation) -> None:
    """A coordinator that is started without, with and again without --lan."""
    path, port, seen = installation.config / "credentials.toml", str(installation.port), []
    for options in ((), LAN, (), LAN):
        process, _ = started(installation, port, *options)
        assert installation.cavvy("jobs", "list").code == 0
        seen.append(read_credentials(path))
        process.terminate()
    assert [each.url for each in seen] == [f"{scheme}://127.0.0.1:{port}" for scheme in ("http", "https") * 2]
    assert [each.pin for each in seen] == [None, seen[1].pin] * 2
    assert seen[1].pin


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--tls-cert", "x.crt"], "--tls-cert and --tls-key belong together"),
        (["--lan", "--tls-cert", "/nowhere.crt", "--tls-key", "/nowhere.key"], "/nowhere.crt cannot be read"),
        (["--behind-proxy", "0.0.0.0/0"], "would believe everybody"),
        (["--hostname", "box.example.org"], "Add --lan, or --behind-proxy ADDR"),
    ],
)
def test_a_way_to_listen_that_makes_no_sense_is_refused(
    installation: Installation, options: list[str], words: str
) -> None:
    ended = installation.cavvy("coordinator", "--port", "0", *options)
    assert (ended.code, ended.out) == (6, "")
    assert words in ended.err
