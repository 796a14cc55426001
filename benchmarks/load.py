"""The load generator: a minimal keep-alive client in a process of its own, ≤ 100 µs of CPU a job.

`python -m benchmarks.load URL KEY CONNECTIONS WARMUP_S MEASURE_S` prints one JSON line. Closed loop: each connection
submits one job (`Prefer: wait`), learns that it is completed, and submits the next.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import cast
from urllib.parse import urlsplit

import uvloop


class Run:
    """What all connections share."""

    def __init__(self) -> None:
        self.done = 0
        self.failed = 0
        self.counting = False
        self.stopped = False
        self.latencies: list[float] = []


class Submitter(asyncio.Protocol):
    """One connection, one job at a time."""

    def __init__(self, request: bytes, run: Run) -> None:
        self._request = request
        self._run = run
        self._buffer = b""
        self._began = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)
        self._submit()

    def _submit(self) -> None:
        self._began = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        mark = self._buffer.find(b"content-length: ") + 16
        length = int(self._buffer[mark : self._buffer.find(b"\r", mark)])
        if len(self._buffer) < head + 4 + length:
            return
        good = self._buffer.startswith(b"HTTP/1.1 201") and b'"status":"completed"' in self._buffer
        self._buffer = b""
        run = self._run
        if run.counting:
            run.done += good
            run.failed += not good
            run.latencies.append(time.perf_counter() - self._began)
        if not run.stopped:
            self._submit()


async def main() -> None:
    url, key, connections, warmup_s, measure_s = sys.argv[1:6]
    address = urlsplit(url)
    body = b'{"prompt":"hello","model":"instant"}'
    head = (
        f"POST /v1/jobs HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nPrefer: wait=30\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    run, loop = Run(), asyncio.get_running_loop()
    request = head.encode() + body
    for _ in range(int(connections)):
        await loop.create_connection(lambda: Submitter(request, run), address.hostname or "", address.port or 80)
    await asyncio.sleep(float(warmup_s))
    run.counting, began, cpu = True, time.perf_counter(), time.process_time()
    await asyncio.sleep(float(measure_s))
    run.counting, elapsed, cpu = False, time.perf_counter() - began, time.process_time() - cpu
    run.stopped = True
    run.latencies.sort()
    count = max(1, len(run.latencies))
    answer = {
        "jobs_per_s": run.done / elapsed,
        "failed": run.failed,
        "p50_ms": run.latencies[count // 2] * 1000 if run.latencies else None,
        "p99_ms": run.latencies[int(count * 0.99)] * 1000 if run.latencies else None,
        "client_us_per_job": cpu / count * 1e6,
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    uvloop.run(main())
