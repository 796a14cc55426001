"""A file of jobs, a JSON object a line, taken apart into batches the coordinator accepts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
import typer

from cavvy import defaults

__all__ = ["Line", "batches", "parse"]

_ROOM_BYTES = defaults.MAX_BATCH_BODY_BYTES - 1024  # what stands around the jobs


class Line(NamedTuple):
    """One job and where it stood."""

    number: int
    job: dict[str, Any]
    size: int


def parse(text: bytes) -> list[Line]:
    """Every line that is not empty. Raises BadParameter for the first that holds no JSON object."""
    lines = []
    for number, raw in enumerate(text.splitlines(), 1):
        if not raw.strip():
            continue
        try:
            job = msgspec.json.decode(raw, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise typer.BadParameter(f"line {number} is no JSON object ({error}); nothing was submitted") from error
        lines.append(Line(number, job, len(msgspec.json.encode(job)) + 1))
    if not lines:
        raise typer.BadParameter('there are no jobs in it; give one JSON object a line, such as {"prompt": "hello"}')
    return lines


def batches(lines: list[Line]) -> Iterator[list[Line]]:
    """As few as the limits on a batch allow."""
    batch: list[Line] = []
    size = 0
    for line in lines:
        if batch and (len(batch) == defaults.MAX_BATCH_JOBS or size + line.size > _ROOM_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(line)
        size += line.size
    yield batch
