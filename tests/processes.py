"""Real processes for tests: a coordinator that can be killed and started again, its workers, whoever reads from it.

All are waited for by what can be seen of them, with a deadline. At the end none is left running, or the test fails.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import secrets
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

import httpx
import psutil
import pytest

from cavvy.client._sse import Event, SseParser
from tests.ports import held_port

__all__ = [
    "BUSY_S",
    "ROOT",
    "Ended",
    "Installation",
    "Process",
    "Reader",
    "ScriptedWorker",
    "installation",
    "installed",
    "survivors",
    "until",
]

ROOT = Path(__file__).resolve().parent.parent
BYTECODE = ROOT / ".pytest_cache" / "bytecode"  # kept, since compiling costs more than all else a process does
PATIENCE_S = 60.0  # what takes longer hangs, however busy the machine is
BUSY_S = 10.0  # what a machine may be late with anything, where a time is promised
LOOK_EVERY_S = 0.02
MARK = "CAVVY_TEST_MARK"  # in the environment of every process started here, and so of their children

T = TypeVar("T")


def until(what: str, look: Callable[[], T], *, within_s: float = PATIENCE_S) -> T:
    """What `look` finds, as soon as that is true. Fails with `what` when it takes too long."""
    end_s = time.monotonic() + within_s
    while not (found := look()):
        assert time.monotonic() < end_s, f"not within {within_s:.0f} s: {what}"
        time.sleep(LOOK_EVERY_S)
    return found


def survivors(mark: str) -> list[psutil.Process]:
    """The processes, children's children too, whose environment has this mark.

    Not Python's own resource tracker: it lives until it sees that its parent has ended.
    """
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            ours = process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE
            if ours and "resource_tracker" not in " ".join(process.cmdline()):
                found.append(process)
    return found


class Ended(NamedTuple):
    """How a process ended, and all it wrote."""

    code: int
    out: str
    err: str


class Process:
    """One process, started. What it writes is kept in files."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], log: Path) -> None:
        self._out, self._err = log.with_suffix(".out"), log.with_suffix(".err")
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment, cwd=ROOT
            )
        self.pid = self._process.pid

    @property
    def out(self) -> str:
        return self._out.read_text(encoding="utf-8", errors="replace")

    @property
    def err(self) -> str:
        return self._err.read_text(encoding="utf-8", errors="replace")

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def first_line(self) -> str:
        """The first line on stdout, as soon as it is whole."""

        def look() -> str:
            alive = self.alive
            head, newline, _ = self.out.partition("\n")
            assert newline or alive, f"it ended with exit code {self._process.returncode}:\n{self.err}"
            return head if newline else ""

        return until("the first line on stdout", look)

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()
        self._process.wait(PATIENCE_S)

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def terminate(self) -> Ended:
        """TERM, and how it ended then."""
        self._process.terminate()
        return self.ended()

    def ended(self, *, within_s: float = PATIENCE_S) -> Ended:
        """Waits for its end."""
        return Ended(self._process.wait(within_s), self.out, self.err)

    def stop(self) -> str:
        """TERM, and KILL if that does not help; returns then what it wrote, as a complaint."""
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE_S)
            return ""
        self.kill()
        return f"process {self.pid} did not end on TERM:\n{self.err}"


class ScriptedWorker(Process):
    """A worker whose provider does as scripted_worker.py says; `home` is its data directory."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], log: Path, name: str, home: Path) -> None:
        home.mkdir(exist_ok=True)
        super().__init__(command, environment, log)
        self.name = name
        self.home = home

    def open_gate(self) -> None:
        """Lets the answers that wait in their middle go on."""
        (self.home / "gate").touch()

    @property
    def calls(self) -> list[str]:
        """The prompt of each call of the provider, also of an earlier process in the same home."""
        return self._lines("calls")

    @property
    def heard(self) -> list[str]:
        """The type of each frame that came."""
        return self._lines("heard")

    def _lines(self, name: str) -> list[str]:
        path = self.home / name
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


class Reader:
    """Follows a job's events as any client may: after a break it resumes behind the last id it saw.

    `text` is what the deltas made of it, `events` the names that came; `breaks` counts connections that were cut. It is
    done when `end` or `bye` came; a stream that is closed without either fails it.
    """

    def __init__(self, here: Installation, job_id: str) -> None:
        self.text = ""
        self.attempts: list[int] = []
        self.events: list[str] = []
        self.breaks = 0
        self._last_id = ""
        self._path = f"/v1/jobs/{job_id}/events"
        self._thread = ThreadPoolExecutor(1)
        self._client = here.client()
        self._following = self._thread.submit(self._follow)

    def finish(self) -> Self:
        """Waits until it is done. Raises what went wrong."""
        self._following.result(PATIENCE_S)
        return self

    def close(self) -> None:
        self._client.close()
        self._thread.shutdown()

    def _follow(self) -> None:
        end_s = time.monotonic() + PATIENCE_S
        while not self._over() and time.monotonic() < end_s:
            try:
                self._read()
            except httpx.ConnectError:
                time.sleep(LOOK_EVERY_S)  # nobody is there: the coordinator was killed
            except httpx.TransportError:
                self.breaks += 1

    def _over(self) -> bool:
        return bool(self.events) and self.events[-1] in ("end", "bye")

    def _read(self) -> None:
        headers = {"Last-Event-ID": self._last_id} if self._last_id else {}
        parser = SseParser()
        with self._client.stream("GET", self._path, headers=headers) as answer:
            assert answer.status_code == 200, answer.read()
            for chunk in answer.iter_raw():
                for event in parser.feed(chunk):
                    self._take(event)
        assert self._over(), "the stream was closed as if it were whole"

    def _take(self, event: Event) -> None:
        self._last_id = event.id or self._last_id
        data = json.loads(event.data)
        if event.name == "attempt":
            self.attempts.append(data["attempt"])
            self.text = ""
        elif event.name == "delta":
            assert data["offset"] == len(self.text), "a gap or an overlap"
            self.text += data["text"]
        self.events.append(event.name)


class Installation:
    """One coordinator's data and port, its processes, and its workers. `http` speaks with the admin key.

    The port is its own from the beginning, also while no coordinator runs.
    """

    def __init__(self, directory: Path, *, data: Path | None = None) -> None:
        self.directory = directory
        self.data = data or directory / "data"
        self.config = directory / "config"
        self.orders = directory / "orders"  # for troubled_coordinator.py
        self.mark = secrets.token_hex(16)
        places = {
            "CAVVY_DATA_DIR": self.data,
            "CAVVY_CONFIG_DIR": self.config,
            "CAVVY_TEST_ORDERS": self.orders,
            "CAVVY_TEST_HOME": directory,
        }
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("CAVVY_", "PYTHON"))},
            **{name: str(place) for name, place in places.items()},
            "PYTHONPYCACHEPREFIX": str(BYTECODE),
            MARK: self.mark,
        }
        self._held = contextlib.ExitStack()
        self.port = self._held.enter_context(held_port())
        self._processes: list[Process] = []
        self._readers: list[Reader] = []
        self._logs = itertools.count(1)

    # -- processes

    def start(self, *command: str) -> Process:
        """Starts Python with these arguments: `-m cavvy …`, or a script."""
        process = Process([sys.executable, *command], self.environment, self._log(command))
        self._processes.append(process)
        return process

    def run(self, *command: str) -> Ended:
        """Runs Python with these arguments to the end."""
        return self.start(*command).ended()

    def cavvy(self, *arguments: str) -> Ended:
        return self.run("-m", "cavvy", *arguments)

    def start_coordinator(self, command: str = "coordinator", *options: str, module: str = "cavvy") -> Process:
        """Starts it, or starts it again on the same data and port; returns when it listens."""
        process = self.start("-m", module, command, *options, "--port", str(self.port), "--json")
        self.port = int(json.loads(process.first_line())["url"].rpartition(":")[2])
        if not hasattr(self, "http"):
            self.key = str(tomllib.loads((self.config / "credentials.toml").read_text())["key"])
            self.http = self.client()
        return process

    def start_worker(
        self, name: str = "w", *, gated: bool = False, slots: int = 2, dial: int | None = None
    ) -> ScriptedWorker:
        """Starts a worker that joins, or starts it again where it has joined; returns when it is online. `dial` is the
        port of a proxy that it connects through.
        """
        home = self.directory / name
        arguments = ["-m", "tests.scripted_worker", "worker", "--data-dir", str(home), "--name", name]
        if not home.exists():
            arguments += ["--join", self.http.post("/v1/worker-tokens").json()["join"]]
        environment = self.environment | {"CAVVY_TEST_HOME": str(home), "CAVVY_TEST_GATED": "yes" if gated else ""}
        environment |= {"CAVVY_TEST_DIAL": str(dial or "")}
        command = [sys.executable, *arguments, "--slots", str(slots)]
        worker = ScriptedWorker(command, environment, self._log(arguments), name, home)
        self._processes.append(worker)
        until(f"worker {name} is online", lambda: self.is_online(name))
        return worker

    def stop(self) -> None:
        """Ends whatever still runs, the last started first. Fails if one had to be killed, or got away."""
        for reader in self._readers:
            reader.close()
        if hasattr(self, "http"):
            self.http.close()
        complaints = [process.stop() for process in reversed(self._processes)]
        for left in survivors(self.mark):
            complaints.append(f"left behind: {left}")
            left.kill()
        self._held.close()
        assert not any(complaints), "\n".join(complaints)

    def _log(self, command: Sequence[str]) -> Path:
        name = next((word for word in command if not word.startswith("-")), "python").rpartition("/")[2]
        return self.directory / f"{next(self._logs):02}-{name}"

    # -- what one sees from outside

    def client(self) -> httpx.Client:
        return httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}",
            headers={"Authorization": f"Bearer {self.key}"},
            trust_env=False,
            timeout=PATIENCE_S + 30,  # a long poll takes that long
        )

    def workers(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.http.get("/v1/workers").json()["workers"]
        return found

    def is_online(self, name: str) -> bool:
        return any(one["name"] == name and one["online"] for one in self.workers())

    def submit(self, prompt: str = "hi", *, key: str | None = None) -> str:
        """The id of a job that was answered 201."""
        headers = {"Idempotency-Key": key} if key else {}
        answer = self.http.post("/v1/jobs", json={"prompt": prompt}, headers=headers)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def job(self, job_id: str, *, wait_s: int = 0) -> dict[str, Any]:
        answer = self.http.get(f"/v1/jobs/{job_id}", params={"wait": wait_s})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def ended_job(self, job_id: str) -> dict[str, Any]:
        """The job as soon as it is terminal."""
        job = self.job(job_id, wait_s=int(PATIENCE_S) - 1)
        assert job["status"] in ("completed", "failed"), job
        return job

    def until_running(self, job_id: str, worker: ScriptedWorker) -> None:
        """Returns when the provider is at the gate, and the coordinator knows that it runs."""
        until("the provider is called", lambda: worker.calls)
        until("the job runs", lambda: self.job(job_id)["status"] == "running")

    def job_ids(self) -> list[str]:
        """Every job there is, newest first."""
        ids: list[str] = []
        query: dict[str, Any] | None = {"limit": 500}
        while query:
            page = self.http.get("/v1/jobs", params=query).json()
            ids += [one["id"] for one in page["jobs"]]
            query = {"limit": 500, "cursor": page["cursor"]} if page["cursor"] else None
        return ids

    def reader(self, job_id: str) -> Reader:
        reader = Reader(self, job_id)
        self._readers.append(reader)
        return reader


@contextlib.contextmanager
def installed(directory: Path, *, data: Path | None = None) -> Iterator[Installation]:
    """An installation of which nothing runs yet, and nothing does at the end."""
    here = Installation(directory, data=data)
    try:
        yield here
    finally:
        here.stop()


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    with installed(tmp_path) as here:
        yield here
