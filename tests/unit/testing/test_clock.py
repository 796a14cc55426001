"""Time in tests moves only when it is told to."""

from __future__ import annotations

from cavvy.core.job import Now
from cavvy.testing import VirtualClock


def test_time_stands_still_by_itself() -> None:
    clock = VirtualClock(mono_s=10.0, wall_ms=5_000)
    assert clock() == clock() == Now(10.0, 5_000)


def test_both_clocks_go_on_together() -> None:
    clock = VirtualClock(mono_s=10.0, wall_ms=5_000)
    clock.advance(1.5)
    assert clock() == Now(11.5, 6_500)


def test_the_wall_clock_can_be_set_and_the_other_one_does_not_notice() -> None:
    clock = VirtualClock(mono_s=10.0, wall_ms=5_000)
    clock.step_wall(-3)
    assert clock() == Now(10.0, 2_000)


def test_many_short_steps_are_one_long_one() -> None:
    clock = VirtualClock(mono_s=0.0, wall_ms=0)
    for _ in range(1000):
        clock.advance(0.001)
    assert clock.wall_ms == 1_000
