"""What the disk's fsync costs here: durable figures mean nothing without it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

__all__ = ["Fsync", "measure_fsync"]


class Fsync(NamedTuple):
    p50_ms: float
    p99_ms: float


def measure_fsync(directory: Path, times: int = 200) -> Fsync:
    """Appends 4 KiB and syncs, `times` times, on the disk that the benchmark's database is on."""
    path = directory / "fsync.probe"
    taken = []
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        for _ in range(times):
            os.write(descriptor, b"x" * 4096)
            began = time.perf_counter()
            os.fsync(descriptor)
            taken.append((time.perf_counter() - began) * 1000)
    finally:
        os.close(descriptor)
        path.unlink()
    taken.sort()
    return Fsync(taken[times // 2], taken[int(times * 0.99)])
