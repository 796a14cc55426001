"""Every command of the command line, and the coordinators it is tried with.

A command that is added to the program gets a line in `ENTRIES`. What it says is then written down once, to be read and
committed:

    CAVVY_WRITE_MESSAGES=1 pytest tests/unit/cli/test_every_command.py
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import sqlite3
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import typer.main
from anyio.from_thread import BlockingPortal, start_blocking_portal

from cavvy import __version__
from cavvy.api.listening import Listen
from cavvy.cli._app import app
from cavvy.core.ed25519 import public_key
from cavvy.private_files import make_private_directory, write_private
from cavvy.protocol.fingerprint import worker_fingerprint
from cavvy.store.sqlite import SqliteStore
from cavvy.store.sqlite.writer import Writer
from cavvy.testing import LiveStack, ScriptedProvider, live_stack
from cavvy.worker.agent import Worker
from cavvy.worker.claiming import claim_trust
from cavvy.worker.identity import WorkerHome, parse_join

__all__ = [
    "ENTRIES", "FILES", "MAKERS", "MESSAGES", "NOBODYS",
    "Condition", "Entry", "Live", "commands", "files", "live", "placeholders", "steady",
]  # fmt: skip

_NUMBERS = itertools.count(1)
MESSAGES = Path(__file__).parent / "messages"


class Condition(StrEnum):
    """What each command is tried with."""

    LIVE = "a live coordinator"
    NOBODY = "no coordinator"
    WRONG_KEY = "a wrong key"
    FULL_DISK = "a coordinator whose disk is full"


class Entry(NamedTuple):
    """A command as it is typed, with `{placeholders}` for what has to be made first.

    `instead` has another line for a condition, or, behind `#`, why the command is not tried with it.
    `client` is a command that talks to a coordinator: it takes --json anywhere and imports no server.
    """

    line: str
    instead: Mapping[Condition, str] = {}
    client: bool = True

    def for_condition(self, condition: Condition) -> str:
        return self.instead.get(condition, self.line)


_OWN = "# it brings a coordinator of its own, and takes no key"
_STARTS = "# it is what starts one: tests/e2e"
_NOT_OPERATOR = "tenants create acme --key {admin}"

#: By the command's full name.
ENTRIES: dict[str, Entry] = {
    "backup": Entry("# it works on files, not on a coordinator: tests/unit/cli/test_backup.py", client=False),
    "coordinator": Entry(
        "coordinator --port 0 --data-dir {data}",
        {Condition.NOBODY: _STARTS, Condition.WRONG_KEY: _OWN, Condition.FULL_DISK: _STARTS},
        client=False,
    ),
    "demo": Entry("# it brings all it needs: tests/e2e", client=False),
    "doctor": Entry("# what it says depends on the machine: tests/unit/cli/test_doctor.py", client=False),
    "jobs batch": Entry("jobs batch {batch}"),
    "jobs cancel": Entry("jobs cancel {waiting} --reason enough"),
    "jobs erase": Entry("jobs erase {job}"),
    "jobs list": Entry("jobs list --limit 2"),
    "jobs retry": Entry("jobs retry {failed}"),
    "jobs show": Entry("jobs show {job}"),
    "jobs watch": Entry("jobs watch {job}"),
    "keys create": Entry("keys create --role read --name site --user ana --expires 90d --act-for-users"),
    "keys list": Entry("keys list"),
    "keys revoke": Entry("keys revoke {spare_key}"),
    "keys rotate": Entry("keys rotate {spare_key} --grace 2h"),
    "login": Entry("login {login}", {Condition.WRONG_KEY: "login {wrong_login}"}),
    "receipt verify": Entry("receipt verify {job}"),
    "restore": Entry("# it works on files, not on a coordinator: tests/unit/cli/test_backup.py", client=False),
    "run": Entry("run hello --max-tokens 5"),
    "stop": Entry("stop {waiting} --reason enough"),
    "tenants create": Entry("tenants create {fresh_name} --key {operator}", {Condition.WRONG_KEY: _NOT_OPERATOR}),
    "tenants list": Entry("tenants list --key {operator}", {Condition.WRONG_KEY: "tenants list --key {admin}"}),
    "trust claim": Entry(
        "trust claim 3FA9C1 --data-dir {member}",
        {
            Condition.NOBODY: "trust claim 3FA9C1 --data-dir {directory}/new",
            Condition.WRONG_KEY: "# it takes no key: the worker's own is what counts",
        },
        client=False,
    ),
    "trust confirm": Entry("trust confirm {claim} --fingerprint {fingerprint}"),
    "trust create": Entry("trust create --detach"),
    "trust list": Entry("trust list"),
    "trust pair": Entry("trust pair {worker}"),
    "trust revoke": Entry("trust revoke {pairing}"),
    "up": Entry(
        "up --port 0 --data-dir {data} --model {gguf}",
        {Condition.NOBODY: _STARTS, Condition.WRONG_KEY: _OWN, Condition.FULL_DISK: _STARTS},
        client=False,
    ),
    "worker": Entry(
        "worker --data-dir {directory}/other --join {used_token}",
        {
            Condition.NOBODY: "worker --data-dir {directory}/new",
            Condition.WRONG_KEY: "worker --data-dir {directory}/wrong --join {others_token}",
            Condition.FULL_DISK: "# it waits until the coordinator can let it in: tests/e2e",
        },
        client=False,
    ),
    "workers approve": Entry("workers approve {newcomer}"),
    "workers drain": Entry("workers drain {idler}"),
    "workers list": Entry("workers list"),
    "workers pause": Entry("workers pause {idler}"),
    "workers resume": Entry("workers resume {idler}"),
    "workers revoke": Entry("workers revoke {newcomer}"),
    "workers show": Entry("workers show {worker}"),
    "workers token": Entry("workers token --needs-approval"),
}  # fmt: skip


class _Disk:
    """What a store is on; while it is full, no commit goes through."""

    def __init__(self) -> None:
        self.full = False

    def store(self, directory: Path) -> SqliteStore:
        disk = self

        class FillableWriter(Writer):
            def _commit_transaction(self) -> None:
                if disk.full:
                    error = sqlite3.OperationalError("database or disk is full")
                    error.sqlite_errorcode = sqlite3.SQLITE_FULL
                    raise error
                super()._commit_transaction()

        store = SqliteStore(directory)
        store.writer_class = FillableWriter
        return store


class Live(NamedTuple):
    """A coordinator on a thread of its own, with a worker that answers "hello"."""

    portal: BlockingPortal
    stack: LiveStack
    directory: Path
    disk: _Disk

    def get(self, path: str) -> Any:
        return self._answer("GET", path).json()

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        answer = self._answer("POST", path, json=body, headers=headers)
        assert answer.status_code < 300, answer.text
        return answer.json()

    def fill(self) -> None:
        """From now on nothing can be written, and the coordinator knows it."""
        self.disk.full = True
        assert self._answer("POST", "/v1/jobs", json={"prompt": "hi"}).status_code == 503

    def _answer(self, method: str, path: str, **more: Any) -> httpx.Response:
        return self.portal.call(lambda: self.stack.http.request(method, path, **more))


@contextlib.contextmanager
def live(directory: Path, listen: Listen | None = None) -> Iterator[Live]:
    """One that starts here and stops at the end; it listens as `listen` says."""
    data, disk = directory / "data", _Disk()
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(live_stack(data, disk.store(data), listen=listen)) as stack,
    ):
        portal.call(lambda: stack.add_worker(ScriptedProvider(["hel", "lo"]), name="desk"))
        yield Live(portal, stack, directory, disk)
        disk.full = False


def _completed(here: Live) -> str:
    return str(here.post("/v1/jobs", {"prompt": "hi"}, Prefer="wait=60")["id"])


def _waiting(here: Live) -> str:
    return str(here.post("/v1/jobs", {"prompt": "hi", "model": "huge"})["id"])


def _failed(here: Live) -> str:
    job_id = _waiting(here)
    here.post(f"/v1/jobs/{job_id}/cancel")
    return job_id


def _worker(here: Live) -> str:
    return str(here.get("/v1/workers")["workers"][0]["id"])


def _enrolled(name: str, *, needs_approval: bool) -> Callable[[Live], str]:
    """Makes a worker that has joined and gone again; its id."""

    async def join_and_leave(here: Live) -> str:
        line = (await here.stack.http.post("/v1/worker-tokens", json={"needs_approval": needs_approval})).json()["join"]
        home = WorkerHome(here.directory / f"{name}-{next(_NUMBERS)}")
        worker = Worker(home=home, providers=[ScriptedProvider()], slots=1, name=name, join=parse_join(line))
        running = asyncio.create_task(worker.run())
        await worker.wait_connected()
        await worker.stop()
        await running
        return str((await here.stack.http.get(f"/v1/workers/{worker.key}")).json()["id"])

    return lambda here: here.portal.call(join_and_leave, here)


async def _join_and_leave(here: Live, home: WorkerHome) -> None:
    line = (await here.stack.http.post("/v1/worker-tokens")).json()["join"]
    worker = Worker(home=home, providers=[ScriptedProvider()], slots=1, name="member", join=parse_join(line))
    running = asyncio.create_task(worker.run())
    await worker.wait_connected()
    await worker.stop()
    await running


def _member(here: Live) -> str:
    """The data directory of a worker that has joined."""
    directory = here.directory / f"member-{next(_NUMBERS)}"
    here.portal.call(_join_and_leave, here, WorkerHome(directory / "worker"))
    return str(directory)


def _claim(here: Live) -> str:
    """The id of a claim by a worker whose key is the same each time."""
    made = here.post("/v1/trust/create")
    home = WorkerHome(here.directory / "claimer")
    if not home.directory.exists():
        make_private_directory(home.directory)
        write_private(home.key_path, b"07" * 32 + b"\n")
        here.portal.call(_join_and_leave, here, home)
    here.portal.call(claim_trust, home, made["pairing_code"])
    return str(made["id"])


def _pairing(here: Live) -> str:
    return str(here.post("/v1/trust/pair", {"worker": _worker(here)})["id"])


def _unknown_token(here: Live) -> str:
    """A join line of this coordinator whose token it does not know, as if it had been used."""
    join: str = here.post("/v1/worker-tokens")["join"]
    return re.sub("cav_wrk_[0-9A-Za-z]{43}", "cav_wrk_" + "x" * 43, join)


def _others_token(here: Live) -> str:
    """A join line with the name of another coordinator's key."""
    join: str = here.post("/v1/worker-tokens")["join"]
    fingerprint = join.rpartition("_")[2]
    return join.removesuffix(fingerprint) + fingerprint[::-1]


#: Placeholders for files, wherever the command is tried.
FILES = {
    "batch": '{"prompt": "one"}\n\n{"prompt": "two", "max_tokens": 5}\n',
    "gguf": "",
}


def files(directory: Path) -> dict[str, str]:
    """Writes them; where each is."""
    for name, text in FILES.items():
        (directory / name).write_text(text, encoding="utf-8")
    return {name: str(directory / name) for name in FILES}


def _spare_key(here: Live) -> str:
    return str(here.post("/v1/keys", {"role": "read"})["id"])


#: What stands for a placeholder: made on demand.
MAKERS: dict[str, Callable[[Live], str]] = {
    "admin": lambda here: here.stack.key,
    "failed": _failed,
    "claim": _claim,
    "fingerprint": lambda _: worker_fingerprint(public_key(b"\7" * 32).hex()),
    "fresh_name": lambda _: f"acme-{next(_NUMBERS)}",
    "operator": lambda here: here.stack.server.operator_key or "",
    "spare_key": _spare_key,
    "data": lambda here: str(here.stack.directory),
    "directory": lambda here: str(here.directory),
    "idler": _enrolled("idler", needs_approval=False),
    "job": _completed,
    "login": lambda here: f"cavvy://{here.stack.server.reach.here}/{here.stack.key}",
    "member": _member,
    "newcomer": _enrolled("newcomer", needs_approval=True),
    "others_token": _others_token,
    "pairing": _pairing,
    "used_token": _unknown_token,
    "waiting": _waiting,
    "worker": _worker,
    "wrong_login": lambda here: f"cavvy://{here.stack.server.reach.here}/cav_adm_none",
}

#: What stands for them where there is no coordinator.
NOBODYS = {name: f"/nowhere/{name}" for name in MAKERS} | {
    "claim": "tru_00000000000000000001",
    "pairing": "tru_00000000000000000002",
    "failed": "01990000-0000-7000-8000-000000000003",
    "idler": "wrk_00000000000000000001",
    "job": "01990000-0000-7000-8000-000000000001",
    "login": "cavvy://127.0.0.1:1/cav_adm_any",
    "newcomer": "wrk_00000000000000000002",
    "operator": "cav_opr_any",
    "spare_key": "4Tq0pZ9rKcXw",
    "waiting": "01990000-0000-7000-8000-000000000002",
    "worker": "wrk_00000000000000000000",
}


def placeholders(line: str) -> list[str]:
    """Those of the line that have to be made on a coordinator."""
    return [name for _, name, _, _ in string.Formatter().parse(line) if name and name not in FILES]


def commands() -> list[str]:
    """The full name of every command of the program."""
    return sorted(_names(typer.main.get_command(app), ()))


def _names(command: Any, path: Sequence[str]) -> Iterator[str]:
    below: Mapping[str, Any] = getattr(command, "commands", {})
    if not below:
        yield " ".join(path)
    for name, each in below.items():
        yield from _names(each, (*path, name))


#: What differs from run to run, and what is shown for it.
_STEADY = (
    (r"cav_[a-z]{2,3}_[0-9A-Za-z_]+", "KEY"),
    (r"(?m)^[0-9A-Za-z]{12}(?=  |:)", "KEYID-------"),
    (r"acme-\d+", "acme-N"),
    (r"cavvy://\S+", "cavvy://JOIN"),
    (r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", "JOB"),
    (r"wrk_[0-9a-f]{20}", "WORKER"),
    (r"tru_[0-9a-f]{20}", "TRUST"),
    (r"\b([0-9A-HJKMNP-TV-Z]{4}-){4}[0-9A-HJKMNP-TV-Z]{4}\b", "FINGERPRINT"),
    (r"(code|claim) [0-9A-F]{6}\b", r"\1 CODE"),
    (r"\b[0-9a-f]{64}\b", "HEX"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?(Z|\+00:00)", "TIME"),
    (r"skew_ms:( +)-?\d+", r"skew_ms:\1MS"),
    (r"(127\.0\.0\.1|localhost):\d+", r"\1:PORT"),
    (r"\bpid \d+", "pid PID"),
    (r"[0-9a-f]{16}…", "HEX…"),
    (re.escape(__version__), "VERSION"),
)


def steady(text: str, *directories: Path) -> str:
    """`text` without what differs from run to run."""
    for directory in directories:
        text = text.replace(str(directory), "DIRECTORY")
    for pattern, shown in _STEADY:
        text = re.sub(pattern, shown, text)
    return text
