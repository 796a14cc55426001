"""Packs a batch of writes into as few parcels as possible: one parcel is one call of SQLite.

Writes about different jobs commute; those about one job keep their order. So the batch is laid out in rounds: within a
round the kinds come in the order of `_BUILDERS`, which is the order of the statements in `queries/write.sql`, and a
write that would have to step back in it opens its job's next round. The other writes come behind them, singly and in
order: none of these depends on them. A retry is a step of its own, between two parcels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from cavvy.core.writes import (
    CompleteJob,
    FailJob,
    GrantJob,
    InsertJob,
    RequestCancel,
    RequeueJob,
    RetryJob,
    ReviveAttempt,
    StartAttempt,
    Write,
)
from cavvy.errors import Refused
from cavvy.store.sqlite import rows, singles
from cavvy.store.sqlite.rows import Builder, Texts
from cavvy.store.sqlite.singles import Single

__all__ = ["Parcel", "parcels"]

#: The parameters of the query `write`, without the term.
Parcel = dict[str, bytes | str | None]

#: Limits of a parcel: the last chunk added to a full one still keeps its texts far below SQLite's 1 GB.
_CHUNK_WRITES = 64
_FULL_BYTES = 64 << 20

_BUILDERS: tuple[tuple[type, Builder], ...] = (
    (InsertJob, rows.insert),
    (StartAttempt, rows.start),
    (RequestCancel, rows.cancel),
    (RequeueJob, rows.requeue),
    (ReviveAttempt, rows.revive),
    (GrantJob, rows.grant),
    (CompleteJob, rows.complete),
    (FailJob, rows.fail),
)
_KINDS = len(_BUILDERS)
_POSITION = {kind: position for position, (kind, _) in enumerate(_BUILDERS)}
_INSERT = _POSITION[InsertJob]
_GRANT = _POSITION[GrantJob]
_EMPTY: Parcel = dict.fromkeys(rows.STATEMENTS)


def parcels(writes: Sequence[Write]) -> list[Parcel | Single]:
    """The steps of a batch, in order: at least one parcel. Raises Refused for a value that cannot be stored."""
    others = [write for write in writes if type(write) not in _POSITION and not isinstance(write, RetryJob)]
    try:
        return [*_about_jobs(writes), *singles.steps(others)]
    except (ValueError, OverflowError, TypeError) as error:
        raise Refused(f"a value cannot be stored: {error}") from error


def _about_jobs(writes: Sequence[Write]) -> Iterator[Parcel | Single]:
    """In parcels, with the retries in between. The last step is a parcel: it asks for the term."""
    gathered: list[Write] = []
    for write in writes:
        if isinstance(write, RetryJob):
            if gathered:
                yield from _pack(_arrange(gathered))
            yield from singles.steps([write])
            gathered = []
        elif type(write) in _POSITION:
            gathered.append(write)
    yield from _pack(_arrange(gathered))


def _arrange(writes: Sequence[Write]) -> list[tuple[int, list[Any]]]:
    """The writes by round and kind; a first grant right after its job's insert joins it."""
    stages: dict[int, list[Any]] = {}
    latest: dict[str, int] = {}
    inserts: dict[str, list[Any]] = {}
    for write in writes:
        position = _POSITION[type(write)]
        item: Any = write
        subject: str = write.id if isinstance(write, InsertJob) else getattr(write, "job_id", "")
        if position == _INSERT:
            item = inserts[subject] = [write, None]
        elif isinstance(write, GrantJob) and write.epoch == 1 and latest.get(subject) == _INSERT:
            inserts[subject][1] = write
            latest[subject] = _GRANT
            continue
        stage = latest[subject] = _stage_after(latest.get(subject, 0), position)
        stages.setdefault(stage, []).append(item)
    return sorted(stages.items())


def _stage_after(latest: int, position: int) -> int:
    """The first stage of the kind at `position` that is not before the job's latest."""
    this_round = latest - latest % _KINDS + position
    return this_round if this_round >= latest else this_round + _KINDS


def _pack(stages: Sequence[tuple[int, list[Any]]]) -> Iterator[Parcel]:
    texts = Texts()
    parcel = _EMPTY.copy()
    last = -1
    for stage, items in stages:
        position = stage % _KINDS
        for begin in range(0, len(items), _CHUNK_WRITES):
            if position <= last or texts.size > _FULL_BYTES:
                yield parcel | {"texts": texts.value()}
                texts = Texts()
                parcel = _EMPTY.copy()
            last = position
            for statement, given in _BUILDERS[position][1](items[begin : begin + _CHUNK_WRITES], texts):
                parcel[statement] = msgspec.json.encode(given).decode() if given else None
    yield parcel | {"texts": texts.value()}
