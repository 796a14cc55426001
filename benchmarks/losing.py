"""Workers that are killed in the middle of a job: how long until it runs elsewhere."""

from __future__ import annotations

import multiprocessing
import time
from datetime import datetime
from multiprocessing.context import ForkServerProcess
from typing import Any

import uvloop

from benchmarks.figure import Figure, percentile
from benchmarks.stack import BenchStack, running_stack

__all__ = ["kill_to_regrant_at_once_p99_s", "kill_to_regrant_p99_s"]

KILLS = 50
PAUSE_S = 0.4
PATIENCE_S = 60.0


def kill_to_regrant_p99_s() -> Figure:
    """kill -9 of the worker → the job runs on another one, with the default clocks."""
    return _regrants("kill_to_regrant", "", "≤ 15")


def kill_to_regrant_at_once_p99_s() -> Figure:
    """The same with requeue_after_s = 0."""
    return _regrants("kill_to_regrant_at_once", "[clocks]\nrequeue_after_s = 0\n", "≤ 1")


def _regrants(name: str, settings: str, target: str) -> Figure:
    with running_stack(name, settings) as stack:
        victims = _start_victims(stack)
        try:
            jobs = [stack.request("POST", "/v1/jobs", {"prompt": "hello"})["id"] for _ in range(KILLS)]
            holders = {_running(stack, job_id)["attempts"][-1]["worker_id"]: job_id for job_id in jobs}
            stack.add_workers(2, provider="instant", slots=KILLS, online=KILLS + 2)
            killed = {}
            for worker_id, victim in victims.items():
                killed[holders[worker_id]] = time.time()
                victim.kill()
                time.sleep(PAUSE_S)
            taken = [_regranted_at(stack, job_id) - at_s for job_id, at_s in killed.items()]
        finally:
            for victim in victims.values():
                victim.kill()
                victim.join()
    note = f"{KILLS} kills, all completed; p50 {percentile(taken, 0.5):.2f} s, longest {max(taken):.2f} s"
    return Figure(percentile(taken, 0.99), "s", target, note)


def _start_victims(stack: BenchStack) -> dict[str, ForkServerProcess]:
    """Worker processes with one slot each, by the worker's id."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.worker"])
    victims = {}
    for number in range(KILLS):
        join = stack.request("POST", "/v1/worker-tokens")["join"]
        victims[f"victim-{number}"] = context.Process(target=_work, args=(join, stack.home / f"victim-{number}"))
        victims[f"victim-{number}"].start()
    stack.until_online(KILLS)
    ids = {one["name"]: one["id"] for one in stack.request("GET", "/v1/workers")["workers"]}
    return {ids[name]: process for name, process in victims.items()}


def _work(join: str, home: Any) -> None:
    from benchmarks.worker import EndlessProvider, serve

    uvloop.run(serve(join, home, EndlessProvider(), 1))


def _running(stack: BenchStack, job_id: str) -> Any:
    end_s = time.monotonic() + PATIENCE_S
    while (job := stack.request("GET", f"/v1/jobs/{job_id}"))["status"] != "running":
        assert time.monotonic() < end_s, job
        time.sleep(0.02)
    return job


def _regranted_at(stack: BenchStack, job_id: str) -> float:
    """When its second attempt began to run (Unix time). The job has to complete."""
    job = stack.request("GET", f"/v1/jobs/{job_id}?wait=60")
    assert (job["status"], len(job["attempts"])) == ("completed", 2), job
    attempt = job["attempts"][-1]
    return datetime.fromisoformat(attempt["started_at"] or attempt["granted_at"]).timestamp()
