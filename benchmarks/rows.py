"""The rows of the table: each sets up its own stack, measures one thing, and tears it down."""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

from benchmarks.cancelling import (
    cancel_idle_command_ms,
    cancel_idle_nonstreaming_ms,
    cancel_idle_prompt_ms,
    cancel_idle_silent_ms,
    cancel_idle_streaming_ms,
)
from benchmarks.dispatch import dispatch_dialect_jobs_per_s
from benchmarks.figure import Figure, percentile
from benchmarks.http import Connection
from benchmarks.losing import kill_to_regrant_at_once_p99_s, kill_to_regrant_p99_s
from benchmarks.queue import (
    assignment_p99_ratio,
    burst_of_500_s,
    hundred_one_second_jobs_s,
    pending_job_bytes,
    start_to_first_assignment_s,
)
from benchmarks.stack import BenchStack, running_stack
from benchmarks.stopping import stop_all_s, term_with_50_streams_s
from cavvy import defaults

__all__ = ["ROWS"]

WARMUP_S, MEASURE_S = 4, 15
SEQUENTIAL_JOBS = 300
PAIRS = 400
STREAM_JOBS, READERS_A_JOB, CHUNKS, CHUNKS_PER_S = 10, 5, 12_000, 1_200


def jobs_per_s() -> Figure:
    """Closed loop, 64 connections, 8 worker processes × 8 slots, instant provider."""
    with running_stack("jobs_per_s") as stack:
        stack.add_workers(8, provider="instant", slots=8)
        command = [sys.executable, "-m", "benchmarks.load", stack.url, stack.key, "64", str(WARMUP_S), str(MEASURE_S)]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    note = (
        f"p50 {found['p50_ms']:.0f} ms, p99 {found['p99_ms']:.0f} ms, failed {found['failed']},"
        f" client {found['client_us_per_job']:.0f} µs/job"
    )
    assert found["failed"] == 0, found
    return Figure(found["jobs_per_s"], "jobs/s", "≥ 1000", note)


def submit_to_completed_p50_ms() -> Figure:
    """One job at a time from the POST to its completed answer."""
    with running_stack("submit_to_completed") as stack:
        stack.add_workers(1, provider="instant", slots=1)
        taken = asyncio.run(_sequential(stack))
    note = f"{len(taken)} jobs, p99 {percentile(taken, 0.99):.1f} ms"
    return Figure(statistics.median(taken), "ms", "≤ 2 fsyncs + 5", note)


async def _sequential(stack: BenchStack) -> list[float]:
    connection = await Connection(stack.url, stack.key).open()
    taken = []
    for number in range(SEQUENTIAL_JOBS + 50):
        began = time.perf_counter()
        job = await connection.request("POST", "/v1/jobs", {"prompt": "hello"}, Prefer="wait=30")
        if number >= 50:
            taken.append((time.perf_counter() - began) * 1000)
        assert job["status"] == "completed", job
    connection.close()
    return taken


def ttft_overhead_p50_ms() -> Figure:
    """The real model asked directly and through Cavvy, in turn; the median of the paired differences."""
    with running_stack("ttft") as stack, _llamacpp_server() as url:
        stack.add_workers(1, provider="llamacpp", slots=1)
        return _overhead(asyncio.run(_pairs(stack, url)))


def ttft_overhead_anyllm_p50_ms() -> Figure:
    """The same through `anyllm`: Cavvy's worker asks the very server that is asked directly."""
    with running_stack("ttft_anyllm") as stack, _llamacpp_server() as url:
        stack.add_workers(1, provider="anyllm", slots=1, url=url)
        return _overhead(asyncio.run(_pairs(stack, url)))


def _overhead(pairs: list[tuple[float, float]]) -> Figure:
    over = [through - alone for alone, through in pairs]
    note = (
        f"{len(pairs)} pairs; direct p50 {statistics.median(one for one, _ in pairs):.1f} ms,"
        f" quartiles of the difference {percentile(over, 0.25):.1f} … {percentile(over, 0.75):.1f} ms"
    )
    return Figure(statistics.median(over), "ms", "≤ 10", note)


@contextlib.contextmanager
def _llamacpp_server() -> Iterator[str]:
    """llama.cpp's own HTTP server; its address."""
    command = [sys.executable, "-m", "benchmarks.direct", "bench"]
    server = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert server.stdout is not None
        yield json.loads(server.stdout.readline())["url"]
    finally:
        server.kill()
        server.wait()


async def _pairs(stack: BenchStack, url: str) -> list[tuple[float, float]]:
    """One prompt, which the model keeps in its cache: its reading takes and varies by far more than is measured."""
    prompt, pairs = "What is the capital of France?", []
    for number in range(PAIRS + 5):
        # Opened before the clock runs; fresh each time, since llama.cpp's server closes a connection after its stream.
        alone, through = await Connection(url, "bench").open(), await Connection(stack.url, stack.key).open()
        if number % 2:
            second = await _first_token_through(through, prompt)
            first = await _first_token_alone(alone, prompt)
        else:
            first = await _first_token_alone(alone, prompt)
            second = await _first_token_through(through, prompt)
        if number >= 5:
            pairs.append((first, second))
        alone.close()
        through.close()
    return pairs


async def _first_token_alone(connection: Connection, prompt: str) -> float:
    body = {"messages": _messages(prompt), "stream": True, "max_tokens": 4, "temperature": 0, "cache_prompt": True}
    began, first = time.perf_counter(), 0.0
    await connection.begin("POST", "/v1/chat/completions", body)
    async for event in connection.events():
        choices = event.data.get("choices") or [{}]
        if not first and choices[0].get("delta", {}).get("content"):
            first = (time.perf_counter() - began) * 1000
    assert first, "no token came"
    return first


def _messages(prompt: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": defaults.SYSTEM_PROMPT}, {"role": "user", "content": prompt}]


async def _first_token_through(connection: Connection, prompt: str) -> float:
    began, first = time.perf_counter(), 0.0
    body = {"messages": _messages(prompt), "max_tokens": 4, "temperature": 0}
    job = await connection.request("POST", "/v1/jobs", body)
    await connection.begin("GET", f"/v1/jobs/{job['id']}/events")
    async for event in connection.events():
        if not first and event.name == "delta":
            first = (time.perf_counter() - began) * 1000
    assert first, "no token came"
    return first


def deltas_per_s() -> Figure:
    """Chunks delivered a second over 50 readers; every fifth reader reconnects on its way with Last-Event-ID."""
    with running_stack("deltas") as stack:
        stack.add_workers(2, provider="numbered", slots=STREAM_JOBS // 2)
        began = time.perf_counter()
        events = asyncio.run(_read_streams(stack))
        elapsed = time.perf_counter() - began
    readers = STREAM_JOBS * READERS_A_JOB
    note = (
        f"{readers} readers × {CHUNKS} chunks in {elapsed:.1f} s, all once;"
        f" {events / elapsed:.0f} events/s, {readers // 5} reconnected"
    )
    return Figure(readers * CHUNKS / elapsed, "chunks/s", "≥ 30000", note)


async def _read_streams(stack: BenchStack) -> int:
    submitter = await Connection(stack.url, stack.key).open()
    prompt = f"{CHUNKS} {CHUNKS_PER_S}"
    jobs = [(await submitter.request("POST", "/v1/jobs", {"prompt": prompt}))["id"] for _ in range(STREAM_JOBS)]
    readers = [_read(stack, job, reconnect=number == 0) for job in jobs for number in range(READERS_A_JOB)]
    counts = await asyncio.gather(*readers)
    submitter.close()
    return sum(counts)


async def _read(stack: BenchStack, job_id: str, *, reconnect: bool) -> int:
    """Reads one stream to its end; the number of its deltas. Raises unless every chunk came once, in order."""
    text, last_id, deltas, ended = [], "", 0, False
    length = 0
    while not ended:
        connection = await Connection(stack.url, stack.key).open()
        await connection.begin("GET", f"/v1/jobs/{job_id}/events", **({"Last_Event_ID": last_id} if last_id else {}))
        async for event in connection.events():
            if event.name == "delta":
                assert event.data["offset"] == length, f"gap or repetition at {event.data['offset']}, expected {length}"
                text.append(event.data["text"])
                length += len(event.data["text"])
                last_id, deltas = event.id or last_id, deltas + 1
            ended = ended or event.name == "end"
            if reconnect and deltas == 50:
                reconnect = False
                break
        connection.close()
    assert "".join(text) == "".join(f"{number};" for number in range(CHUNKS)), "a chunk was lost or came twice"
    return deltas


ROWS: dict[str, Callable[[], Figure]] = {
    one.__name__: one
    for one in (
        jobs_per_s,
        dispatch_dialect_jobs_per_s,
        submit_to_completed_p50_ms,
        ttft_overhead_p50_ms,
        ttft_overhead_anyllm_p50_ms,
        deltas_per_s,
        cancel_idle_streaming_ms,
        cancel_idle_prompt_ms,
        cancel_idle_silent_ms,
        cancel_idle_nonstreaming_ms,
        cancel_idle_command_ms,
        kill_to_regrant_p99_s,
        kill_to_regrant_at_once_p99_s,
        assignment_p99_ratio,
        start_to_first_assignment_s,
        pending_job_bytes,
        burst_of_500_s,
        hundred_one_second_jobs_s,
        stop_all_s,
        term_with_50_streams_s,
    )
}
