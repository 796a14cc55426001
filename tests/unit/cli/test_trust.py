"""`cavvy trust create` and `confirm` at a terminal: who has claimed is shown, and nothing happens without a yes."""

from __future__ import annotations

import io
import json
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cavvy.api.listening import Listen
from cavvy.cli import trust
from cavvy.client import Cavvy
from cavvy.errors import NoCoordinator, WorkerRefused
from cavvy.protocol.fingerprint import worker_fingerprint
from cavvy.worker.claiming import claim_trust
from cavvy.worker.identity import WorkerHome
from tests.unit.cli.conftest import Cli
from tests.unit.cli.every_command import Live, live

Terminal = Callable[[str], None]


class _Keyboard(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    with live(tmp_path) as here:
        monkeypatch.setenv("CAVVY_URL", here.stack.server.url)
        monkeypatch.setenv("CAVVY_API_KEY", here.stack.key)
        yield here


@pytest.fixture
def types(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """There is somebody at the terminal, who types this."""
    return lambda text: monkeypatch.setattr("sys.stdin", _Keyboard(text))


@pytest.fixture
def home(here: Live) -> WorkerHome:
    """The worker that is called desk."""
    return WorkerHome(here.stack.directory / "worker-desk")


def claimed_meanwhile(monkeypatch: pytest.MonkeyPatch, here: Live, home: WorkerHome, codes: list[str]) -> None:
    """While `create` waits, the worker claims the code."""
    monkeypatch.setattr(trust.time, "sleep", lambda _: here.portal.call(claim_trust, home, codes[0]))


@pytest.fixture
def codes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The codes that are printed, as soon as they are."""
    printed: list[str] = []
    show = trust._output.print_text

    def print_text(text: str, **how: Any) -> None:
        if text.startswith("  cavvy trust claim "):
            printed.append(text.split()[-1])
        show(text, **how)

    monkeypatch.setattr(trust._output, "print_text", print_text)
    return printed


def paired(here: Live) -> list[str]:
    return [one["name"] for one in here.get("/v1/trust/list")["providers"]]


def claim(here: Live, home: WorkerHome) -> str:
    """The id of a claim by this worker."""
    made = here.post("/v1/trust/create")
    here.portal.call(claim_trust, home, made["pairing_code"])
    return str(made["id"])


def test_create_waits_shows_who_has_claimed_and_pairs_after_a_yes(
    cli: Cli, here: Live, home: WorkerHome, types: Terminal, codes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    types("y\n")
    claimed_meanwhile(monkeypatch, here, home, codes)
    code, out, _ = cli("trust", "create")
    assert code == 0
    assert "desk (wrk_" in out
    assert "at 127.0.0.1 asks for your trust" in out
    assert worker_fingerprint(home.identity().key) in out
    assert paired(here) == ["desk"]


@pytest.mark.parametrize("answer", ["n\n", "\n"])
def test_create_pairs_nobody_without_a_yes_and_the_code_is_worth_nothing_then(
    cli: Cli,
    here: Live,
    home: WorkerHome,
    types: Terminal,
    codes: list[str],
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
) -> None:
    types(answer)
    claimed_meanwhile(monkeypatch, here, home, codes)
    code, _, err = cli("trust", "create")
    assert (code, "it is refused" in err) == (1, True)
    assert here.get("/v1/trust/list") == {"providers": [], "waiting": []}


def test_create_that_is_left_at_the_question_leaves_the_claim(
    cli: Cli, here: Live, home: WorkerHome, types: Terminal, codes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    types("")
    claimed_meanwhile(monkeypatch, here, home, codes)
    code, _, _ = cli("trust", "create")
    assert code == 130
    assert [one["status"] for one in here.get("/v1/trust/list")["waiting"]] == ["awaiting_confirmation"]


def test_ctrl_c_while_create_waits_withdraws_the_code(
    cli: Cli, here: Live, types: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    types("")
    monkeypatch.setattr(trust.time, "sleep", press_ctrl_c)
    code, _, err = cli("trust", "create")
    assert (code, "the code is withdrawn" in err) == (130, True)
    assert here.get("/v1/trust/list") == {"providers": [], "waiting": []}


def press_ctrl_c(_: float) -> None:
    raise KeyboardInterrupt


def test_ctrl_c_says_how_to_withdraw_a_code_that_it_could_not(
    cli: Cli, here: Live, types: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(client: Cavvy, trust_id: str, **_: Any) -> None:
        raise NoCoordinator("nothing answers")

    types("")
    monkeypatch.setattr(trust.time, "sleep", press_ctrl_c)
    monkeypatch.setattr(Cavvy, "end_trust", lost)
    code, _, err = cli("trust", "create")
    (waiting,) = here.get("/v1/trust/list")["waiting"]
    assert (code, f"cavvy trust revoke {waiting['id']}" in err) == (130, True)


def test_create_that_loses_the_coordinator_says_how_to_confirm(
    cli: Cli, here: Live, types: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(client: Cavvy, **_: Any) -> None:
        raise NoCoordinator("nothing answers")

    types("")
    monkeypatch.setattr(Cavvy, "trust", lost)
    code, _, err = cli("trust", "create")
    assert (code, "cavvy trust confirm tru_" in err) == (3, True)


def test_create_ends_when_its_code_does(cli: Cli, here: Live, types: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    types("")

    def withdraw(_: float) -> None:
        (waiting,) = here.get("/v1/trust/list")["waiting"]
        assert here._answer("DELETE", f"/v1/trust/{waiting['id']}").status_code == 200

    monkeypatch.setattr(trust.time, "sleep", withdraw)
    code, _, err = cli("trust", "create")
    assert (code, "no worker has claimed this code" in err) == (1, True)


def test_confirm_asks_with_the_fingerprint(cli: Cli, here: Live, home: WorkerHome, types: Terminal) -> None:
    types("y\n")
    code, out, _ = cli("trust", "confirm", claim(here, home))
    assert (code, worker_fingerprint(home.identity().key) in out) == (0, True)
    assert paired(here) == ["desk"]


def test_confirm_without_a_terminal_says_what_to_type_and_pairs_nobody(cli: Cli, here: Live, home: WorkerHome) -> None:
    code, _, err = cli("trust", "confirm", claim(here, home))
    assert (code, "--fingerprint" in err) == (1, True)
    assert paired(here) == []


def test_confirm_without_a_fingerprint_prints_the_claim_as_one_json_value(
    cli: Cli, here: Live, home: WorkerHome, types: Terminal
) -> None:
    types("y\n")
    made = cli("trust", "confirm", claim(here, home), "--json")
    assert json.loads(made.out.splitlines()[-1])["fingerprint"] == worker_fingerprint(home.identity().key)
    assert (made.code, "--fingerprint" in json.loads(made.err)["detail"]) == (1, True)
    assert paired(here) == []


def test_confirm_of_a_code_that_nobody_has_claimed_says_so(cli: Cli, here: Live) -> None:
    made = cli("trust", "confirm", str(here.post("/v1/trust/create")["id"]))
    assert (made.code, "no worker has claimed this code" in made.err) == (1, True)


def test_confirm_of_what_is_not_there_is_refused(cli: Cli, here: Live) -> None:
    made = cli("trust", "confirm", "tru_nothing")
    assert (made.code, "nothing of this id" in made.err) == (4, True)


def test_what_create_says_to_type_next_is_about_the_same_user(cli: Cli, here: Live, home: WorkerHome) -> None:
    made = cli("trust", "create", "--detach", "--user", "bob b")
    next_line = made.err.splitlines()[-1].partition("cavvy ")[2]
    here.portal.call(claim_trust, home, made.out.split()[-1])
    asked = cli(*shlex.split(next_line))
    assert "desk (wrk_" in asked.out
    confirmed = cli(*shlex.split(asked.err.rpartition("cavvy ")[2]))
    assert (confirmed.code, "is paired" in confirmed.out) == (0, True)


def test_ctrl_c_names_the_user_whose_code_it_could_not_withdraw(
    cli: Cli, here: Live, types: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(client: Cavvy, trust_id: str, **_: Any) -> None:
        raise NoCoordinator("nothing answers")

    types("")
    monkeypatch.setattr(trust.time, "sleep", press_ctrl_c)
    monkeypatch.setattr(Cavvy, "end_trust", lost)
    assert cli("trust", "create", "--user", "bob").err.rstrip().endswith(" --user bob")


@pytest.mark.parametrize("command", ["confirm", "revoke", "pair"])
def test_an_empty_id_is_no_id(cli: Cli, here: Live, command: str) -> None:
    made = cli("trust", command, "")
    assert (made.code, "it is empty" in made.err) == (2, True)


@pytest.mark.parametrize(
    "command", [("create",), ("list",), ("pair", "desk"), ("confirm", "tru_1"), ("revoke", "tru_1")]
)
def test_the_operator_says_whose_trust_it_is_about(cli: Cli, here: Live, command: tuple[str, ...]) -> None:
    made = cli("trust", *command, "--operator")
    assert (made.code, "--user" in made.err) == (2, True)


def test_claim_prints_the_fingerprint_while_the_worker_works(cli: Cli, here: Live, home: WorkerHome) -> None:
    made = here.post("/v1/trust/create")
    here.post("/v1/jobs", {"prompt": "hi"}, Prefer="wait=60")
    result = here.portal.call(claim_trust, home, made["pairing_code"])
    assert (result.status, result.fingerprint) == ("awaiting_confirmation", worker_fingerprint(home.identity().key))
    (worker,) = here.get("/v1/workers")["workers"]
    assert worker["online"]


@pytest.mark.parametrize("code", ["", "3FA9C1" * 50])
def test_what_cannot_be_a_code_is_refused_at_once(here: Live, home: WorkerHome, code: str) -> None:
    with pytest.raises(WorkerRefused, match="no such code"):
        here.portal.call(claim_trust, home, code)


def test_the_operators_key_pairs_by_name_a_worker_that_it_does_not_see(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with live(tmp_path, Listen(port=0, dispatch=True)) as here:
        server, keys = here.stack.server, tmp_path / "credentials.toml"
        keys.write_text(f'url = "{server.url}"\nkey = "{here.stack.key}"\noperator_key = "{server.operator_key}"\n')
        keys.chmod(0o600)
        monkeypatch.setenv("CAVVY_CONFIG_DIR", str(tmp_path))
        made = cli("trust", "pair", "desk", "--user", "alice", "--operator")
    assert made.code == 0
    assert "is paired" in made.out
