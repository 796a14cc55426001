"""The command line as a process: signals, terminals, what it imports."""

from __future__ import annotations

import os
import pty
import resource
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.unit.client.fake_coordinator import (
    JOB_ID,
    FakeCoordinator,
    completed,
    delta,
    end,
    event,
    failed,
    job,
    json,
    stream,
)

CANCEL = f"/v1/jobs/{JOB_ID}/cancel"


def started(*arguments: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "cavvy", *arguments]
    return subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)


def finished(process: subprocess.Popen[bytes]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, (out or b"").decode(), err.decode()


@pytest.fixture
def endless(coordinator: FakeCoordinator) -> FakeCoordinator:
    """A coordinator whose job says "Pa" and never ends."""
    coordinator.on("POST", "/v1/jobs", json(job(), 201))
    coordinator.on_job("/events", stream(delta(1, 0, "Pa"), hold=True))
    return coordinator


def interrupted(
    coordinator: FakeCoordinator, number: signal.Signals = signal.SIGINT, *, close: bool = False
) -> subprocess.Popen[bytes]:
    """A `run --live` that has shown "Pa" and then got a signal; `close`: nobody reads what it writes by then."""
    process = started("run", "hi", "--live", "--url", coordinator.url)
    assert process.stdout is not None
    assert process.stdout.read(2) == b"Pa"
    if close:
        assert process.stderr is not None
        process.stdout.close()
        process.stderr.close()
    process.send_signal(number)
    return process


def test_p10_ctrl_c_stops_the_job_and_says_what_was_used(endless: FakeCoordinator) -> None:
    aborted = failed("aborted", "stopped", by="owner") | {"usage": {"input_tokens": 3, "output_tokens": 2}}
    endless.on("POST", CANCEL, json(job("running"), 202))
    endless.on_job("", json(job("running")), json(aborted))
    code, _, err = finished(interrupted(endless))
    assert code == 130
    assert f"stopped job {JOB_ID}; 3 input and 2 output tokens used" in err
    assert "Traceback" not in err
    assert msgspec.json.decode(endless.wait_for("POST", CANCEL).body) == {"reason": "Ctrl-C"}


def test_ctrl_c_waits_two_seconds_at_most(endless: FakeCoordinator) -> None:
    endless.on("POST", CANCEL, json(job("running"), 202))
    endless.on_job("", stream(hold=True))
    code, _, err = finished(interrupted(endless))
    assert code == 130
    assert "has not confirmed it yet" in err


def test_a_second_ctrl_c_leaves_at_once(endless: FakeCoordinator) -> None:
    endless.on("POST", CANCEL, stream(hold=True))
    process = interrupted(endless)
    endless.wait_for("POST", CANCEL)
    process.send_signal(signal.SIGINT)
    code, _, err = finished(process)
    assert code == 130
    assert "confirmed" not in err
    assert "Traceback" not in err


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_hup_and_term_leave_and_the_job_goes_on(endless: FakeCoordinator, number: signal.Signals) -> None:
    code, out, err = finished(interrupted(endless, number))
    assert (code, out) == (130, "\n")
    assert err == f"left job {JOB_ID}, which goes on; follow it with `cavvy jobs watch {JOB_ID}`\n"
    assert not [each for each in endless.requests if each.path == CANCEL]


def test_a_terminal_that_is_gone_cannot_be_told(endless: FakeCoordinator) -> None:
    process = interrupted(endless, signal.SIGHUP, close=True)
    assert process.wait(60) == 130


def test_ctrl_c_before_the_job_is_accepted_says_that_it_may_be(coordinator: FakeCoordinator) -> None:
    coordinator.on("POST", "/v1/jobs", stream(hold=True))
    process = started("run", "hi", "--url", coordinator.url)
    coordinator.wait_for("POST", "/v1/jobs")
    process.send_signal(signal.SIGINT)
    code, _, err = finished(process)
    assert code == 130
    assert "it may have got the job" in err


def test_a_terminal_gets_tokens_live_and_nothing_that_drives_it(coordinator: FakeCoordinator) -> None:
    coordinator.on("POST", "/v1/jobs", json(job(), 201))
    events = stream(delta(1, 0, "Pa\x1b]0;ti"), delta(1, 8, "tle\x07ris"), event("attempt", {"attempt": 2}),
                    delta(2, 0, "Par\x9b2Jis\r."), end(2, 10))  # fmt: skip
    coordinator.on_job("/events", events)
    coordinator.on_job("", json(completed("Par\x9b2Jis\r.")))
    ours, theirs = pty.openpty()
    process = started("run", "hi", "--url", coordinator.url, stdout=theirs)
    os.close(theirs)
    code, _, err = finished(process)
    assert code == 0
    assert os.read(ours, 1000) == b"Paris\r\nParis.\r\n"
    os.close(ours)
    assert "attempt 2 begins anew" in err


def test_a_reader_that_leaves_causes_no_traceback(coordinator: FakeCoordinator) -> None:
    many = [job() | {"id": f"{number:036}"} for number in range(2000)]
    coordinator.on("GET", "/v1/jobs", json({"jobs": many}))
    process = started("jobs", "list", "--url", coordinator.url)
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    code, _, err = finished(process)
    assert (code, err) == (1, "")


def imported(*arguments: str) -> set[str]:
    code = (
        "import sys; from cavvy.cli import main\n"
        "sys.argv[1:] = " + repr(list(arguments)) + "\n"
        "try: main()\n"
        "except SystemExit: print('\\n'.join(sys.modules), file=sys.stderr)"
    )
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr.split())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_behind_stdout_is_said_in_a_sentence(coordinator: FakeCoordinator) -> None:
    coordinator.on("GET", "/v1/jobs", json({"jobs": [], "cursor": None}))
    with Path("/dev/full").open("wb") as full:
        code, _, err = finished(started("jobs", "list", "--url", coordinator.url, stdout=full.fileno()))
    assert code == 1
    assert err.startswith("cavvy: the output cannot be written: No space left on device;")
    assert "Traceback" not in err


def test_ctrl_c_while_it_loads_leaves_without_a_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert finished(started("jobs", "list")) == (130, "", "")


def test_version_imports_next_to_nothing() -> None:
    assert not imported("--version") & {"typer", "rich", "httpx", "msgspec", "asyncio", "cavvy.cli._app"}


def test_version_costs_no_more_than_a_quarter_of_a_second() -> None:
    """Of a processor, so that it does not count what else this machine does meanwhile."""

    def used_s() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return children.ru_utime + children.ru_stime

    def took_s() -> float:
        before_s = used_s()
        assert finished(started("--version"))[0] == 0
        return used_s() - before_s

    assert min(took_s() for _ in range(5)) <= 0.25
