"""A worker that meets its coordinator again, restored from a backup: what it holds of the other store is void."""

from __future__ import annotations

from cavvy.core.worker_messages import (
    AbortAttempt,
    AttemptFailed,
    AttemptStopped,
    Disconnected,
    RunAttempt,
    SendFailed,
    StoreChanged,
)
from tests.unit.core.test_worker import Desk, ref


def test_what_runs_is_stopped_and_what_is_ready_is_dropped() -> None:
    desk = Desk()
    running, ready = desk.run(1), desk.run(2)
    desk.do(Disconnected())
    desk.finish(ready)
    assert desk.do(StoreChanged()) == [AbortAttempt(ref=running)]
    assert (desk.core.held, desk.core.finished, desk.core.idle) == ((), (), False)
    desk.do(AttemptStopped(ref=running))
    assert desk.core.idle


def test_a_provider_is_told_to_stop_once_however_often_that_store_is_met() -> None:
    desk = Desk()
    desk.run(1)
    desk.do(Disconnected())
    desk.do(StoreChanged())
    assert desk.do(StoreChanged()) == []


def test_an_attempt_of_the_same_name_is_another_one_in_another_store() -> None:
    desk = Desk()
    desk.run(1)
    desk.do(AttemptFailed(ref=ref(1), code="worker_error", message="no", retryable=True))
    desk.do(Disconnected())
    desk.do(StoreChanged())
    desk.connect()
    effects = desk.assign(1)
    assert [type(one) for one in effects] == [RunAttempt]
    assert not any(isinstance(one, SendFailed) for one in effects)
