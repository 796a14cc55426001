"""Many jobs that wait: what they cost the others, the start, and the memory; in which order they go."""

from __future__ import annotations

import asyncio
import sqlite3
import statistics
import time
from collections.abc import Iterator
from itertools import count, pairwise
from pathlib import Path

from benchmarks.figure import Figure, percentile
from benchmarks.http import Connection
from benchmarks.stack import BenchStack, running_stack
from cavvy.core.canonical import canonical
from cavvy.core.identity import Tenant
from cavvy.core.job import Effort, Needs
from cavvy.core.receipt import Params
from cavvy.core.writes import AddTenant, InsertJob, Write
from cavvy.store.sqlite import SqliteStore

__all__ = [
    "assignment_p99_ratio",
    "burst_of_500_s",
    "hundred_one_second_jobs_s",
    "pending_job_bytes",
    "start_to_first_assignment_s",
]

WAITING = 100_000
STRANGE_MODELS = 1_000
MEASURED, WARMUP = 2_000, 200
STARTS = 5
BURST = 500


def assignment_p99_ratio() -> Figure:
    """POST → completed one by one on an instant worker: with 100,000 waiting jobs nobody can run, against with none."""
    with running_stack("assignment") as stack:
        stack.add_workers(1, provider="instant", slots=1)
        alone = asyncio.run(_sequential(stack))
        _fill(stack, [f"unheard-of-{number}" for number in range(STRANGE_MODELS)])
        stack.until_online(1)
        among = asyncio.run(_sequential(stack))
    ratio = percentile(among, 0.99) / percentile(alone, 0.99)
    note = (
        f"{MEASURED} jobs each; alone p50 {percentile(alone, 0.5):.1f}, p99 {percentile(alone, 0.99):.1f} ms;"
        f" among {WAITING} p50 {percentile(among, 0.5):.1f}, p99 {percentile(among, 0.99):.1f} ms"
    )
    return Figure(ratio, "×", "≤ 1.5", note)


async def _sequential(stack: BenchStack) -> list[float]:
    connection = await Connection(stack.url, stack.key).open()
    taken = []
    for number in range(MEASURED + WARMUP):
        began = time.perf_counter()
        job = await connection.request("POST", "/v1/jobs", {"prompt": "hi", "model": "instant"}, Prefer="wait=30")
        if number >= WARMUP:
            taken.append((time.perf_counter() - began) * 1000)
        assert job["status"] == "completed", job
    connection.close()
    return taken


def start_to_first_assignment_s() -> Figure:
    """From the start of a coordinator with 100,000 jobs of two tenants waiting until the first is assigned, in the
    middle of five starts; the worker starts at the same time.
    """
    firsts, readies = [], []
    with running_stack("start_to_first") as stack:
        stack.add_workers(1, provider="instant", slots=1)
        _fill(stack, ["instant"], start=False, with_workers=True)
        for number in range(STARTS):
            if number:
                stack.halt_workers()
                stack.halt()
            began = time.time()
            stack.start_worker("instant-0", provider="instant", slots=1)
            stack.start()
            readies.append(time.time() - began)
            firsts.append(_first_grant(stack.home, began) - began)
    note = (
        f"slowest {max(firsts):.1f} s; listening after {statistics.median(readies):.2f} s, slowest {max(readies):.2f} s"
    )
    return Figure(statistics.median(firsts), "s", "≤ 3", note)


def _first_grant(home: Path, since: float) -> float:
    query = "SELECT min(granted_at_ms) FROM attempt WHERE granted_at_ms >= ?"
    with sqlite3.connect(f"file:{home / 'data' / 'cavvy.db'}?mode=ro", uri=True) as database:
        end = time.monotonic() + 60
        while (at_ms := database.execute(query, (int(since * 1000),)).fetchone()[0]) is None:
            assert time.monotonic() < end, "nothing was assigned"
            time.sleep(0.02)
    return float(at_ms) / 1000


def pending_job_bytes() -> Figure:
    """What a coordinator has in memory after a start with 100,000 waiting jobs, less what it has without, a job."""
    with running_stack("pending_bytes") as stack:
        stack.halt()
        stack.start()
        without = _settled_rss(stack)
        _fill(stack, [f"unheard-of-{number}" for number in range(STRANGE_MODELS)])
        among = _settled_rss(stack)
    note = f"resident {without >> 20} MiB without, {among >> 20} MiB with {WAITING} jobs"
    return Figure((among - without) / WAITING, "bytes", "≤ 1536", note)


def _settled_rss(stack: BenchStack) -> int:
    for _ in range(5):
        stack.request("GET", "/v1/jobs?limit=50")
    time.sleep(1)
    return stack.rss_bytes()


def burst_of_500_s() -> Figure:
    """500 jobs of every effort but `critical` in one commit, on 4 workers with a slot each: by effort, then age."""
    efforts = [effort for effort in Effort if effort is not Effort.CRITICAL]
    with running_stack("burst") as stack:
        stack.add_workers(4, provider="instant", slots=1)
        jobs = [{"prompt": "hi", "effort": efforts[number % 4]} for number in range(BURST)]
        began = time.perf_counter()
        stack.request("POST", "/v1/jobs/batch", {"jobs": jobs})
        done = stack.request("GET", f"/v1/jobs?status=completed&limit={BURST}")["jobs"]
        while len(done) < BURST:
            assert time.perf_counter() < began + 60, f"{len(done)} of {BURST} completed"
            time.sleep(0.1)
            done = stack.request("GET", f"/v1/jobs?status=completed&limit={BURST}")["jobs"]
        elapsed = time.perf_counter() - began
        granted = _granted(stack.home)
    passed = sum(before > after for before, after in pairwise(granted))
    return Figure(elapsed, "s", "all, in order", f"{len(done)} completed, {passed} granted before their turn")


def _granted(home: Path) -> list[tuple[int, int]]:
    """Each grant's effort and number, by when it was made and, within a millisecond, as they should have been."""
    rank = {effort.value: -number for number, effort in enumerate(Effort)}
    query = "SELECT granted_at_ms, effort, seq FROM attempt JOIN job ON job.seq = attempt.job_seq"
    with sqlite3.connect(f"file:{home / 'data' / 'cavvy.db'}?mode=ro", uri=True) as database:
        rows = sorted((at_ms, rank[effort], seq) for at_ms, effort, seq in database.execute(query))
    return [(effort, seq) for _, effort, seq in rows]


def hundred_one_second_jobs_s() -> Figure:
    """100 jobs of one second each on 4 workers with a slot each, from the POST to the last one's end."""
    with running_stack("one_second") as stack:
        stack.add_workers(4, provider="second", slots=1)
        began = time.perf_counter()
        jobs = stack.request("POST", "/v1/jobs/batch", {"jobs": [{"prompt": "hi"}] * 100})
        for one in jobs["results"]:
            job = stack.request("GET", f"/v1/jobs/{one['job']['id']}?wait=60")
            assert job["status"] == "completed", job
        elapsed = time.perf_counter() - began
    return Figure(elapsed, "s", "≤ 27", "25 if nothing were lost between two jobs")


def _fill(stack: BenchStack, models: list[str], *, start: bool = True, with_workers: bool = False) -> None:
    """Stops the coordinator, and its workers if asked, puts 100,000 jobs of two tenants into the store, starts it."""
    if with_workers:
        stack.halt_workers()
    stack.halt()
    asyncio.run(_put(stack.home / "data", models))
    if start:
        stack.start()


async def _put(directory: Path, models: list[str]) -> None:
    store = SqliteStore(directory)
    opened = await store.open()
    try:
        await store.commit([AddTenant(tenant=Tenant(id="second", created_at_ms=1))], term=opened.term)
        jobs = _jobs(models, opened.last_seq, dict(opened.last_number))
        for _ in range(WAITING // 1000):
            await store.commit([next(jobs) for _ in range(1000)], term=opened.term)
    finally:
        await store.close()


def _jobs(models: list[str], last_seq: int, numbers: dict[str, int]) -> Iterator[Write]:
    now_ms = int(time.time() * 1000)
    for seq in count(last_seq + 1):
        tenant = ("default", "second")[seq % 2]
        numbers[tenant] = numbers.get(tenant, 0) + 1
        model = models[seq % len(models)]
        yield InsertJob(
            id=f"00000000-0000-7000-8000-{seq:012x}",
            seq=seq,
            number=numbers[tenant],
            user_id=f"user-{seq % 10}",
            needs=Needs(tenant=tenant, model=model),
            created_at_ms=now_ms,
            input=b'{"prompt":"What is the capital of France?"}',
            params=canonical(Params(model=model)),
            effort=tuple(Effort)[seq % 5],
            estimated_tokens=522,
        )
