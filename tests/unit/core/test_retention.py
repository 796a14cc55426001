"""How long things are kept, and how much of what is due goes at a time."""

from __future__ import annotations

import pytest

from cavvy import defaults
from cavvy.core.job import Now
from cavvy.core.retention import Due, DueJob, Policy, SteadyClock, horizons, must_wait, portion

DAY_MS = 24 * 3600 * 1000
NOW = Now(1_000.0, 1_800_000_000_000)
MIB = 1 << 20


def test_what_ended_as_many_days_ago_as_it_is_kept_is_due() -> None:
    policy = Policy(texts_days=1, jobs_days=2, revoked_keys_days=3, used_tokens_days=4)
    kept = horizons(policy, NOW, idempotency_ttl_s=60)
    assert (kept.texts_ms, kept.jobs_ms) == (NOW.wall_ms - DAY_MS, NOW.wall_ms - 2 * DAY_MS)
    assert (kept.api_keys_ms, kept.tokens_ms) == (NOW.wall_ms - 3 * DAY_MS, NOW.wall_ms - 4 * DAY_MS)
    assert kept.idempotency_ms == NOW.wall_ms - 60_000


def test_zero_days_is_for_ever() -> None:
    kept = horizons(
        Policy(texts_days=0, jobs_days=0, revoked_keys_days=0, used_tokens_days=0), NOW, idempotency_ttl_s=1
    )
    assert (kept.texts_ms, kept.jobs_ms, kept.api_keys_ms, kept.tokens_ms) == (None, None, None, None)


def jobs(count: int, size: int, first: int = 1) -> tuple[DueJob, ...]:
    return tuple(DueJob(f"job-{n}", n, size) for n in range(first, first + count))


def test_a_portion_is_bounded_by_rows() -> None:
    due = Due(erase=jobs(defaults.RETENTION_ROWS + 5, 10), drop=jobs(defaults.RETENTION_ROWS + 5, 10, first=1000))
    taken = portion(due)
    assert (len(taken.erase), len(taken.drop)) == (defaults.RETENTION_ROWS, defaults.RETENTION_ROWS)


def test_a_portion_is_bounded_by_the_size_of_the_texts_of_all_its_jobs() -> None:
    taken = portion(Due(drop=jobs(3, MIB), erase=jobs(3, MIB, first=10)))
    assert (len(taken.drop), len(taken.erase)) == (3, 1)
    assert portion(Due(drop=jobs(9, MIB), erase=jobs(9, 0, first=10))).erase == ()


def test_a_job_that_is_larger_than_a_portion_goes_alone() -> None:
    assert portion(Due(erase=jobs(3, defaults.RETENTION_BYTES + 1))).erase == jobs(1, defaults.RETENTION_BYTES + 1)


def test_a_busy_coordinator_puts_it_off_but_not_for_ever() -> None:
    busy = defaults.RETENTION_CALM_PER_S + 1
    assert must_wait(busy, 0.0)
    assert not must_wait(busy, defaults.RETENTION_PUT_OFF_S)
    assert not must_wait(defaults.RETENTION_CALM_PER_S, 0.0)


def at(mono_s: float, wall_s: float) -> Now:
    return Now(mono_s, int(wall_s * 1000))


def test_a_clock_is_believed_once_it_went_along_for_a_while() -> None:
    clock, steady = SteadyClock(), defaults.RETENTION_STEADY_S
    assert not clock.believed(at(0, 1e9))
    assert not clock.believed(at(steady - 1, 1e9 + steady - 1))
    assert clock.believed(at(steady, 1e9 + steady))


@pytest.mark.parametrize("jump_s", [365 * 86_400, -365 * 86_400, defaults.RETENTION_DRIFT_S + 1])
def test_a_clock_that_was_set_has_to_prove_itself_anew(jump_s: float) -> None:
    clock, steady = SteadyClock(), defaults.RETENTION_STEADY_S
    clock.believed(at(0, 1e9))
    assert clock.believed(at(steady, 1e9 + steady))
    assert not clock.believed(at(steady + 1, 1e9 + steady + 1 + jump_s))
    assert not clock.believed(at(2 * steady, 1e9 + 2 * steady + jump_s))
    assert clock.believed(at(2 * steady + 1, 1e9 + 2 * steady + 1 + jump_s))


def test_a_clock_that_is_corrected_a_little_is_still_believed() -> None:
    clock, steady = SteadyClock(), defaults.RETENTION_STEADY_S
    clock.believed(at(0, 1e9))
    assert clock.believed(at(steady, 1e9 + steady + defaults.RETENTION_DRIFT_S / 2))
