"""Dispatch's dialect as its own clients and workers speak it: commit without a key, poll, legacy workers at `/`."""

from __future__ import annotations

import asyncio
import statistics
import time
from datetime import datetime
from typing import Any

from benchmarks.figure import Figure, percentile
from benchmarks.http import Connection
from benchmarks.stack import BenchStack, running_stack

__all__ = ["dispatch_dialect_jobs_per_s"]

WORKERS, IN_FLIGHT = 4, 4
WARMUP_S, MEASURE_S = 4.0, 15.0
POLL_S = 0.005
BODY = {
    "job_type": "TASK",
    "user_id": "bench",
    "payload": {"job_type": "TASK", "task_type": "classify", "input": "a good day"},
}


def dispatch_dialect_jobs_per_s() -> Figure:
    """4 legacy workers, 4 jobs in flight, each polled every 5 ms: what was measured of the original."""
    with running_stack("dispatch_dialect", "[dispatch]\nenabled = true\n") as stack:
        for _ in range(WORKERS):
            stack.add_legacy_worker()
        taken, assigned, workers = asyncio.run(_run(stack))
    assert len(workers) == WORKERS, f"only {len(workers)} workers did anything"
    note = f"p50 {statistics.median(taken):.1f} ms, p99 {percentile(taken, 0.99):.1f} ms; the original: 88.7 jobs/s"
    note += f"; assigned at most {max(assigned):.0f} ms after the commit (≤ 100)"
    return Figure(len(taken) / MEASURE_S, "jobs/s", "≥ 88.7", note)


async def _run(stack: BenchStack) -> tuple[list[float], list[float], set[str]]:
    """How long each job took and waited in ms, of those that ended while it was measured, and who did them."""
    taken, assigned, workers = list[float](), list[float](), set[str]()
    began = time.perf_counter() + WARMUP_S
    await asyncio.gather(*(_client(stack, began, taken, assigned, workers) for _ in range(IN_FLIGHT)))
    return taken, assigned, workers


async def _client(
    stack: BenchStack, began: float, taken: list[float], assigned: list[float], workers: set[str]
) -> None:
    connection = await Connection(stack.url, "").open()
    while (asked := time.perf_counter()) < began + MEASURE_S:
        job = await _job(connection)
        ended = time.perf_counter()
        assert job["status"] == "completed", job
        assert job["receipt"]["verified"], job
        if began <= ended < began + MEASURE_S:
            taken.append((ended - asked) * 1000)
            assigned.append(_ms_between(job["created_at"], job["attempts"][0]["granted_at"]))
            workers.add(job["receipt"]["provider_pubkey"])
    connection.close()


def _ms_between(earlier: str, later: str) -> float:
    """By the coordinator's own clock."""
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds() * 1000


async def _job(connection: Connection) -> dict[str, Any]:
    """One job from its commit to its end."""
    committed = await connection.request("POST", "/v1/jobs/commit/cheap", BODY)
    while True:
        job: dict[str, Any] = await connection.request("GET", f"/v1/jobs/{committed['job_id']}")
        if job["status"] in ("completed", "failed"):
            return job
        await asyncio.sleep(POLL_S)
