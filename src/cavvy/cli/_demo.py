"""What `cavvy demo` does: real processes in a temporary place, driven by the SDK as any user would."""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from types import FrameType

import msgspec

from cavvy.cli import _output
from cavvy.cli._children import Child, Children
from cavvy.cli._exits import Exit, exit_code
from cavvy.cli._limits import time_limit
from cavvy.client import Cavvy, Job
from cavvy.client.config import read_credentials
from cavvy.client.configfile import FILE
from cavvy.errors import CavvyError, StartError

__all__ = ["run"]

QUESTION = "What is the capital of France?"
LIMIT_S = 300.0  # for all of it, on a slow machine
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LOOK_EVERY_S = 0.1  # how often to look whether the worker is there


def run(model: Path | None) -> int:
    """Runs the demo; the exit code. No process and no file is left, also after a failure or a signal."""
    for each in _SIGNALS:
        signal.signal(each, _interrupt)
    with tempfile.TemporaryDirectory(prefix="cavvy-demo-") as name:
        return _in_directory(Path(name), model)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    """Ends the demo, once: nothing may interrupt the cleaning up."""
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def _in_directory(directory: Path, model: Path | None) -> int:
    settings = directory / FILE
    settings.touch()  # empty: no cavvy.toml of the user's counts here
    places = {
        "CAVVY_DATA_DIR": str(directory / "data"),
        "CAVVY_CONFIG_DIR": str(directory / "config"),
        "CAVVY_CONFIG": str(settings),
    }
    with Children(directory, places) as children:
        try:
            with time_limit(LIMIT_S, StartError(f"the demo took longer than {LIMIT_S:.0f} s")):
                _show(directory, children, model)
        except CavvyError as error:
            _output.note(f"cavvy demo: {error}")
            _output.note(children.log_tails())
            return int(exit_code(error))
    _output.note("everything is stopped and removed again; start your own with `cavvy up`")
    return Exit.OK


def _show(directory: Path, children: Children, model: Path | None) -> None:
    with _start_coordinator(directory, children) as client:
        worker = _start_worker(children, client, model)
        _output.note(f"asking: {QUESTION}")
        _await_worker(client, worker)
        job = _stream(client)
        _verify(client, job)
        _print_timeline(job)


def _start_coordinator(directory: Path, children: Children) -> Cavvy:
    child = children.start("coordinator", ["coordinator", "--port", "0", "--json"])
    ready = msgspec.json.decode(child.first_line())
    credentials = read_credentials(directory / "config" / "credentials.toml")
    _output.note(f"coordinator: {ready['url']} (process {ready['pid']})")
    return Cavvy(ready["url"], credentials.key, config=directory / FILE)


def _start_worker(children: Children, client: Cavvy, model: Path | None) -> Child:
    join = client.create_worker_token().join
    choice = ["--model", str(model.absolute())] if model else []
    worker = children.start("worker", ["worker", "--join", join, "--name", "demo", *choice])
    _output.note(f"worker: loading {model or 'a tiny demo model'} (process {worker.process.pid})")
    return worker


def _await_worker(client: Cavvy, worker: Child) -> None:
    while not any(each.online for each in client.workers()):
        worker.check()
        time.sleep(LOOK_EVERY_S)


def _stream(client: Cavvy) -> Job:
    """The answer on stdout as it comes; the completed job."""
    shown = _output.TerminalFilter()
    with client.stream(QUESTION, temperature=0) as stream:
        for delta in stream:
            _output.print_raw(shown.feed(delta.text))
        _output.print_raw("\n")
        return stream.result()


def _verify(client: Cavvy, job: Job) -> None:
    """Fetches what a third party would be handed, and checks it without asking anybody."""
    receipt, result = client.receipt(job.id), client.result(job.id)
    key = next(worker.key for worker in client.workers() if worker.name == "demo")
    receipt.verify(key=key, result=result)
    _output.print_text("receipt: valid")


def _print_timeline(job: Job) -> None:
    begun = datetime.fromisoformat(job.timeline[0].at)
    for entry in job.timeline:
        after_ms = (datetime.fromisoformat(entry.at) - begun).total_seconds() * 1000
        who = f" by worker {entry.worker_id}" if entry.worker_id else ""
        _output.print_text(f"  {after_ms:7.0f} ms  {entry.event}{who}")
    sys.stdout.flush()
