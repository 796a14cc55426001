"""How long things are kept: what is due, and how much of it at a time. Only what has ended is ever due."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from cavvy import defaults
from cavvy.core.job import Now

__all__ = ["Due", "DueJob", "Horizons", "Policy", "SteadyClock", "horizons", "must_wait", "portion"]

_DAY_MS = 24 * 3600 * 1000


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How many days things are kept after their end; 0 is for ever. `texts_days`: a job's input, metadata and output;
    `jobs_days`: all the rest of it.
    """

    texts_days: int = defaults.TEXTS_DAYS
    jobs_days: int = defaults.JOBS_DAYS
    revoked_keys_days: int = defaults.REVOKED_KEYS_DAYS
    used_tokens_days: int = defaults.USED_TOKENS_DAYS


class Horizons(msgspec.Struct, frozen=True, kw_only=True):
    """What ended before these moments (Unix ms) is due; None: nothing."""

    texts_ms: int | None = None
    jobs_ms: int | None = None
    idempotency_ms: int | None = None
    api_keys_ms: int | None = None
    tokens_ms: int | None = None


class DueJob(msgspec.Struct, frozen=True, array_like=True):
    """A job and how many bytes its texts have."""

    id: str
    seq: int
    size: int = 0


class Due(msgspec.Struct, frozen=True, kw_only=True):
    """A slice of what is due, the oldest first: jobs whose texts, and jobs of which all goes. The rest are counts."""

    erase: tuple[DueJob, ...] = ()
    drop: tuple[DueJob, ...] = ()
    idempotency: int = 0
    api_keys: int = 0
    tokens: int = 0

    def __bool__(self) -> bool:
        return bool(self.erase or self.drop or self.idempotency or self.api_keys or self.tokens)


def horizons(policy: Policy, now: Now, *, idempotency_ttl_s: int) -> Horizons:
    """From when on things are kept."""

    def before(days: int) -> int | None:
        return now.wall_ms - days * _DAY_MS if days else None

    return Horizons(
        texts_ms=before(policy.texts_days),
        jobs_ms=before(policy.jobs_days),
        idempotency_ms=now.wall_ms - idempotency_ttl_s * 1000,
        api_keys_ms=before(policy.revoked_keys_days),
        tokens_ms=before(policy.used_tokens_days),
    )


def portion(due: Due) -> Due:
    """What of it one commit takes: as many jobs as are not too large together, those that go whole first."""
    drop = _fitting(due.drop, defaults.RETENTION_BYTES)
    left = defaults.RETENTION_BYTES - sum(one.size for one in drop)
    erase = _fitting(due.erase, left) if not drop or left > 0 else ()
    return msgspec.structs.replace(due, drop=drop, erase=erase)


def _fitting(jobs: tuple[DueJob, ...], size: int) -> tuple[DueJob, ...]:
    """The first ones within `size` bytes; always one, however large it is."""
    taken: list[DueJob] = []
    for one in jobs[: defaults.RETENTION_ROWS]:
        size -= one.size
        if size < 0 and taken:
            break
        taken.append(one)
    return tuple(taken)


def must_wait(commands_per_s: float, waited_s: float) -> bool:
    """Whether the coordinator has better things to do. That cannot go on for ever: a slice is small."""
    return commands_per_s > defaults.RETENTION_CALM_PER_S and waited_s < defaults.RETENTION_PUT_OFF_S


class _Seen(NamedTuple):
    now: Now
    since_s: float


class SteadyClock:
    """Whether the wall clock can be believed: it has gone along with the monotonic one for a while.

    A machine that starts in the wrong year, or is set there, must not lose what would be old then.
    """

    def __init__(self) -> None:
        self._seen: _Seen | None = None

    def believed(self, now: Now) -> bool:
        """To be asked now and again; each look counts."""
        seen = self._seen
        if seen is None or abs(self._drift_s(seen.now, now)) > defaults.RETENTION_DRIFT_S:
            seen = _Seen(now, now.mono_s)
        self._seen = seen
        return now.mono_s - seen.since_s >= defaults.RETENTION_STEADY_S

    @staticmethod
    def _drift_s(before: Now, now: Now) -> float:
        return (now.wall_ms - before.wall_ms) / 1000 - (now.mono_s - before.mono_s)
