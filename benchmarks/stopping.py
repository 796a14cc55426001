"""Stopping everything, and telling a coordinator to stop: how long until it is over."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
import tomllib
import urllib.request
from collections.abc import Callable

from benchmarks.figure import Figure
from benchmarks.stack import BenchStack, running_stack

__all__ = ["stop_all_s", "term_with_50_streams_s"]

WORKERS, SLOTS, PENDING, BATCH = 8, 125, 10_000, 1_000
STREAMS = 50
PATIENCE_S = 60.0
LOOK_EVERY_S = 0.02


def stop_all_s() -> Figure:
    """`POST /v1/stop` with 1,000 jobs that run and 10,000 that wait → every one has ended. None starts meanwhile."""
    with running_stack("stop_all") as stack:
        stack.add_workers(WORKERS, provider="endless", slots=SLOTS)
        for _ in range((WORKERS * SLOTS + PENDING) // BATCH):
            stack.request("POST", "/v1/jobs/batch", {"jobs": [{"prompt": "hello"}] * BATCH})
        _until(lambda: _live(stack, "running") == WORKERS * SLOTS)
        began_s = time.monotonic()
        found = stack.request("POST", "/v1/stop", {"reason": "a benchmark"})
        answered_s = time.monotonic() - began_s
        granted = _number(stack, "cavvy_attempts_granted_total")
        _until(lambda: not sum(_live(stack, status) for status in ("pending", "assigned", "running")))
        took_s = time.monotonic() - began_s
        assert (found["running"], found["pending"]) == (WORKERS * SLOTS, PENDING), found
        assert _number(stack, "cavvy_attempts_granted_total") == granted, "a job started after the answer"
    return Figure(took_s, "s", "≤ 5", f"answered after {answered_s:.2f} s; 1,000 running, 10,000 pending")


def term_with_50_streams_s() -> Figure:
    """TERM → the coordinator's process has gone, with 50 streams, an idle connection and half an upload open."""
    with running_stack("term_with_streams") as stack:
        job_id = stack.request("POST", "/v1/jobs", {"prompt": "hello"})["id"]
        streams = [_open(stack, f"GET /v1/jobs/{job_id}/events", "") for _ in range(STREAMS)]
        begun = [one.recv(4096) for one in streams]
        assert all(b" 200 " in head for head in begun)
        idle = _open(stack, "GET /v1/health", "")
        idle.recv(4096)
        upload = _open(stack, "POST /v1/jobs", "Content-Type: application/json\r\nContent-Length: 1000\r\n")
        began_s = time.monotonic()
        os.kill(stack.pid, signal.SIGTERM)
        stack.wait(PATIENCE_S)
        took_s = time.monotonic() - began_s
        for one in (*streams, idle, upload):
            one.close()
    return Figure(took_s, "s", "≤ 5", f"{STREAMS} streams, an idle keep-alive connection, half an upload")


def _open(stack: BenchStack, request: str, more: str) -> socket.socket:
    host, port = stack.url.rpartition("/")[2].split(":")
    connection = socket.create_connection((host, int(port)))
    head = f"{request} HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {stack.key}\r\n{more}\r\n"
    connection.sendall(head.encode())
    return connection


def _live(stack: BenchStack, status: str) -> int:
    return _number(stack, rf'cavvy_jobs{{[^}}]*status="{status}"[^}}]*}}')


def _number(stack: BenchStack, name: str) -> int:
    """The sum of all samples whose name and labels fit this pattern."""
    found = re.findall(rf"^{name}(?:{{[^}}]*}})? ([0-9.e+]+)$", _metrics(stack), re.MULTILINE)
    return int(sum(float(value) for value in found))


def _metrics(stack: BenchStack) -> str:
    credentials = tomllib.loads((stack.home / "config" / "credentials.toml").read_text())
    headers = {"Authorization": f"Bearer {credentials['operator_key']}"}
    with urllib.request.urlopen(urllib.request.Request(stack.url + "/metrics", headers=headers)) as answer:
        return str(answer.read().decode())


def _until(look: Callable[[], bool]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not look():
        assert time.monotonic() < end_s, "it takes too long"
        time.sleep(LOOK_EVERY_S)
