"""Is the disk under the data fast, and is there room?"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from cavvy import defaults
from cavvy.cli._doctor.finding import Finding, fine, wrong

__all__ = ["look_at_disk", "measure_fsync_ms"]

WRITE_BYTES = 4096  # a page of the database, about what a small commit adds to its log


def look_at_disk(data_dir: Path) -> list[Finding]:
    """Room and speed where the data is, or will be."""
    place = next(each for each in (data_dir, *data_dir.absolute().parents) if each.is_dir())
    return [_room(place), _speed(place, data_dir)]


def measure_fsync_ms(directory: Path) -> float:
    """The median of some fsyncs of a temporary file, which is gone afterwards. Raises OSError."""
    durations = []
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        for _ in range(defaults.DOCTOR_FSYNCS):
            file.write(os.urandom(WRITE_BYTES))
            begun = time.perf_counter()
            os.fsync(file.fileno())
            durations.append(time.perf_counter() - begun)
    return statistics.median(durations) * 1000


def _room(place: Path) -> Finding:
    free = shutil.disk_usage(place).free
    what = f"{free / 2**30:.1f} GiB are free at {place}"
    if free >= defaults.DOCTOR_FREE_BYTES:
        return fine("disk room", what)
    return wrong(
        "disk room",
        what,
        why="When the disk is full no job is accepted and none can be completed.",
        fix=f"make room on the file system of {place}, or keep the data elsewhere: cavvy up --data-dir DIRECTORY",
    )


def _speed(place: Path, data_dir: Path) -> Finding:
    try:
        p50_ms = measure_fsync_ms(place)
    except OSError as error:
        return wrong(
            "disk speed",
            f"{place} cannot be written: {error.strerror}",
            why=f"The data is to be kept in {data_dir}.",
            fix="choose a directory that is yours: cavvy up --data-dir DIRECTORY",
        )
    what = f"an fsync takes {p50_ms:.1f} ms at {place} (median of {defaults.DOCTOR_FSYNCS})"
    if p50_ms <= defaults.DOCTOR_SLOW_FSYNC_MS:
        return fine("disk speed", what)
    return wrong(
        "disk speed",
        f"{what}; up to {defaults.DOCTOR_SLOW_FSYNC_MS:.0f} ms is usual",
        why="Each answer to a submit and each completion waits for an fsync.",
        fix="keep the data on a local SSD: cavvy up --data-dir DIRECTORY",
    )
