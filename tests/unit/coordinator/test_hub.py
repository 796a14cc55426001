"""The hub: readers are offsets into an attempt's text, and what nobody needs is not kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from cavvy import defaults
from cavvy.coordinator.hub import Hub, Topic
from cavvy.core.effects import JobChanged, JobEnded
from cavvy.core.job import JobHeader, JobStatus, Needs

JOB = "job-1"
PATIENCE_S = 60.0
HORSE = "\U0001f40e"


def header(status: JobStatus, epoch: int) -> JobHeader:
    return JobHeader(
        id=JOB, seq=1, number=1, user_id="owner", needs=Needs(), status=status, epoch=epoch, created_at_ms=1_000
    )


def changed(status: JobStatus, epoch: int = 1) -> JobChanged:
    return JobChanged(job=header(status, epoch))


def ended(status: JobStatus = JobStatus.COMPLETED, epoch: int = 1) -> JobEnded:
    return JobEnded(job=header(status, epoch), result=b"{}")


async def settled() -> None:
    """Lets every task that can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
def hub() -> Hub:
    return Hub()


@pytest.fixture
def topic(hub: Hub) -> Topic:
    """That of a job whose first attempt runs."""
    hub.status_changed(changed(JobStatus.RUNNING))
    found = hub.peek(JOB)
    assert found is not None
    return found


# -- text


def test_text_is_read_from_any_offset(hub: Hub, topic: Topic) -> None:
    hub.delta(JOB, 1, 0, "hello ")
    hub.delta(JOB, 1, 6, "world")
    assert [topic.text(offset) for offset in (0, 6, 10, 11, 99)] == ["hello world", "world", "d", "", ""]


def test_offsets_count_code_points(hub: Hub, topic: Topic) -> None:
    hub.delta(JOB, 1, 0, f"a{HORSE}")
    assert topic.length == 2
    assert hub.delta(JOB, 1, 2, f"é{HORSE}b") is None
    assert [topic.text(offset) for offset in range(6)] == [
        f"a{HORSE}é{HORSE}b",
        f"{HORSE}é{HORSE}b",
        f"é{HORSE}b",
        f"{HORSE}b",
        "b",
        "",
    ]


@pytest.mark.parametrize("text", ["one\r\ntwo\rthree\n", "\u2028\u2029\x85", "a\0b", "\ufeff"])
def test_text_stays_as_it_is(hub: Hub, topic: Topic, text: str) -> None:
    hub.delta(JOB, 1, 0, text)
    assert (topic.text(0), topic.length) == (text, len(text))


@pytest.mark.parametrize(
    ("offset", "text", "whole"),
    [
        pytest.param(0, "hel", "hello", id="all of it old"),
        pytest.param(0, "hello", "hello", id="the same again"),
        pytest.param(0, "hello world", "hello world", id="old and new"),
        pytest.param(3, "lo, you", "hello, you", id="from the middle"),
        pytest.param(5, "", "hello", id="nothing"),
    ],
)
def test_what_was_there_already_is_skipped(hub: Hub, topic: Topic, offset: int, text: str, whole: str) -> None:
    hub.delta(JOB, 1, 0, "hello")
    assert hub.delta(JOB, 1, offset, text) is None
    assert topic.text(0) == whole


def test_an_overlap_is_counted_in_code_points_too(hub: Hub, topic: Topic) -> None:
    hub.delta(JOB, 1, 0, HORSE * 3)
    hub.delta(JOB, 1, 1, f"{HORSE * 2}!")
    assert topic.text(0) == f"{HORSE * 3}!"


def test_text_with_a_gap_before_it_is_refused(hub: Hub, topic: Topic) -> None:
    hub.delta(JOB, 1, 0, "hello")
    refusal = hub.delta(JOB, 1, 6, "world")
    assert refusal == "text is missing before offset 6: 5 code points are here"
    assert topic.text(0) == "hello"


def test_an_output_beyond_the_limit_is_refused(hub: Hub, topic: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "MAX_OUTPUT_BYTES", 8)
    assert hub.delta(JOB, 1, 0, "12345678") is None
    assert hub.delta(JOB, 1, 8, "9") == "the output is longer than 8 bytes"
    assert hub.delta(JOB, 1, 4, "5678") is None
    assert topic.text(0) == "12345678"


@pytest.mark.parametrize("epoch", [0, 2])
def test_text_of_another_attempt_is_ignored(hub: Hub, topic: Topic, epoch: int) -> None:
    assert hub.delta(JOB, epoch, 0, "evil") is None
    assert topic.length == 0


def test_text_of_a_job_that_does_not_run_is_ignored(hub: Hub) -> None:
    assert hub.delta(JOB, 1, 0, "evil") is None
    assert hub.peek(JOB) is None


def test_a_new_attempt_begins_with_no_text(hub: Hub, topic: Topic) -> None:
    hub.delta(JOB, 1, 0, "old")
    hub.status_changed(changed(JobStatus.ASSIGNED, epoch=2))
    assert (topic.epoch, topic.text(0)) == (2, "")
    hub.delta(JOB, 2, 0, "new")
    assert topic.text(0) == "new"


def test_another_status_of_the_same_attempt_keeps_its_text(hub: Hub, topic: Topic) -> None:
    hub.delta(JOB, 1, 0, "kept")
    hub.status_changed(changed(JobStatus.RUNNING))
    assert topic.text(0) == "kept"


# -- readers


async def test_a_late_reader_finds_the_whole_text(hub: Hub, topic: Topic) -> None:
    for offset, piece in enumerate("whole"):
        hub.delta(JOB, 1, offset, piece)
    with hub.subscribe(JOB) as late:
        assert late.text(0) == "whole"


async def test_a_slow_reader_finds_more_text_at_its_next_look_and_no_gap(hub: Hub, topic: Topic) -> None:
    pieces: list[str] = []
    for offset, piece in enumerate("abcdefghi"):
        hub.delta(JOB, 1, offset, piece)
        if offset % 4 == 0:
            pieces.append(topic.text(len("".join(pieces))))
    assert pieces == ["a", "bcde", "fghi"]


@pytest.mark.parametrize(
    "happen",
    [
        pytest.param(lambda hub: hub.delta(JOB, 1, 0, "text"), id="text"),
        pytest.param(lambda hub: hub.status_changed(changed(JobStatus.PENDING)), id="status"),
        pytest.param(lambda hub: hub.ended(ended()), id="end"),
        pytest.param(lambda hub: hub.stop(), id="stop"),
    ],
)
async def test_every_reader_that_waits_hears_of_it(hub: Hub, topic: Topic, happen: Callable[[Hub], object]) -> None:
    with hub.subscribe(JOB):
        waiting = [asyncio.create_task(topic.changed(PATIENCE_S)) for _ in range(3)]
        await settled()
        happen(hub)
        assert await asyncio.gather(*waiting) == [True] * 3


@pytest.mark.parametrize(
    "happen",
    [
        pytest.param(lambda hub: hub.delta(JOB, 1, 0, "hello"), id="nothing new"),
        pytest.param(lambda hub: hub.delta(JOB, 1, 7, "far"), id="a gap"),
        pytest.param(lambda hub: hub.delta(JOB, 2, 0, "evil"), id="another attempt"),
        pytest.param(lambda hub: hub.delta("job-2", 1, 0, "other"), id="another job"),
    ],
)
async def test_nobody_is_woken_for_nothing(hub: Hub, topic: Topic, happen: Callable[[Hub], object]) -> None:
    hub.delta(JOB, 1, 0, "hello")
    waiting = asyncio.create_task(topic.changed(PATIENCE_S))
    await settled()
    happen(hub)
    await settled()
    assert not waiting.done()
    hub.stop()
    assert await waiting


async def test_a_reader_that_waited_in_vain_is_told_and_leaves_nothing_behind(topic: Topic) -> None:
    assert [await topic.changed(0.001) for _ in range(3)] == [False] * 3
    assert topic._news._waiters == []


async def test_a_reader_that_went_away_leaves_nothing_behind(topic: Topic) -> None:
    waiting = asyncio.create_task(topic.end(PATIENCE_S))
    await settled()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert topic._news._waiters == []


# -- the end


async def test_who_waits_for_the_end_hears_of_nothing_else(hub: Hub, topic: Topic) -> None:
    with hub.subscribe(JOB):
        waiting = asyncio.create_task(topic.end(PATIENCE_S))
        await settled()
        hub.delta(JOB, 1, 0, "text")
        hub.status_changed(changed(JobStatus.PENDING))
        await settled()
        assert not waiting.done()
        hub.ended(ended())
        assert await waiting == ended()


async def test_who_asks_after_the_end_need_not_wait(hub: Hub, topic: Topic) -> None:
    hub.ended(ended(JobStatus.FAILED))
    assert await topic.end(0) == ended(JobStatus.FAILED)
    assert topic.status is JobStatus.FAILED


async def test_who_waits_for_the_end_waits_no_longer_than_asked(topic: Topic) -> None:
    assert await topic.end(0.001) is None


async def test_who_waits_for_the_end_is_let_go_when_the_coordinator_stops(hub: Hub, topic: Topic) -> None:
    waiting = asyncio.create_task(topic.end(PATIENCE_S))
    await settled()
    hub.stop()
    assert await waiting is None


# -- what is kept


def test_a_pending_job_nobody_reads_is_not_kept(hub: Hub) -> None:
    hub.status_changed(changed(JobStatus.PENDING))
    assert hub.peek(JOB) is None


def test_a_job_that_waits_again_is_dropped_when_nobody_reads_it(hub: Hub, topic: Topic) -> None:
    hub.status_changed(changed(JobStatus.PENDING))
    assert hub.peek(JOB) is None


def test_a_job_that_waits_again_is_kept_while_somebody_reads_it(hub: Hub, topic: Topic) -> None:
    with hub.subscribe(JOB) as first, hub.subscribe(JOB) as second:
        hub.status_changed(changed(JobStatus.PENDING))
        assert hub.peek(JOB) is first is second is topic
    assert hub.peek(JOB) is None


@pytest.mark.parametrize("status", [JobStatus.ASSIGNED, JobStatus.RUNNING])
def test_a_job_that_a_worker_has_is_kept_though_its_readers_leave(hub: Hub, status: JobStatus) -> None:
    hub.status_changed(changed(status))
    with hub.subscribe(JOB):
        pass
    hub.delta(JOB, 1, 0, "text")
    with hub.subscribe(JOB) as topic:
        assert topic.text(0) == "text"


def test_a_job_that_ended_is_dropped_and_its_readers_keep_the_end(hub: Hub, topic: Topic) -> None:
    with hub.subscribe(JOB) as reader:
        hub.delta(JOB, 1, 0, "text")
        hub.ended(ended())
        assert hub.peek(JOB) is None
        assert (reader.ended, reader.text(0)) == (ended(), "text")
    assert hub.peek(JOB) is None


def test_reading_a_job_that_does_not_run_leaves_nothing_behind(hub: Hub) -> None:
    with hub.subscribe(JOB), hub.subscribe(JOB):
        assert hub.peek(JOB) is not None
    assert hub.peek(JOB) is None


def test_a_reader_of_an_ended_job_does_not_drop_its_next_topic(hub: Hub, topic: Topic) -> None:
    with hub.subscribe(JOB):
        hub.ended(ended(JobStatus.FAILED))
        hub.status_changed(changed(JobStatus.RUNNING, epoch=2))
    assert hub.peek(JOB) is not None


def test_every_change_of_status_is_a_new_version_and_text_is_none(hub: Hub, topic: Topic) -> None:
    versions = [topic.version]
    hub.delta(JOB, 1, 0, "text")
    versions.append(topic.version)
    hub.status_changed(changed(JobStatus.RUNNING))
    versions.append(topic.version)
    hub.ended(ended())
    versions.append(topic.version)
    assert versions == [1, 1, 2, 3]


# -- coming back


def test_p13_a_worker_that_comes_back_is_asked_for_what_is_missing(hub: Hub, topic: Topic) -> None:
    hub.delta(JOB, 1, 0, f"half{HORSE}")
    assert hub.resume_offset(JOB, 1) == 5


def test_p13_after_a_restart_a_worker_is_asked_for_everything(hub: Hub) -> None:
    assert hub.resume_offset(JOB, 3) == 0
    assert hub.delta(JOB, 3, 0, "all of it") is None
    with hub.subscribe(JOB) as topic:
        assert (topic.epoch, topic.text(0)) == (3, "all of it")


def test_p13_after_a_restart_text_is_kept_though_the_first_reader_leaves(hub: Hub) -> None:
    hub.resume_offset(JOB, 3)
    with hub.subscribe(JOB):
        pass
    hub.delta(JOB, 3, 0, "all of it")
    with hub.subscribe(JOB) as topic:
        assert topic.text(0) == "all of it"


def test_p13_after_a_restart_a_reader_that_was_first_sees_the_text_too(hub: Hub) -> None:
    with hub.subscribe(JOB) as topic:
        hub.resume_offset(JOB, 3)
        hub.delta(JOB, 3, 0, "all of it")
        assert (topic.epoch, topic.text(0)) == (3, "all of it")


def test_a_worker_that_comes_back_too_late_does_not_undo_the_next_attempt(hub: Hub, topic: Topic) -> None:
    hub.status_changed(changed(JobStatus.RUNNING, epoch=2))
    hub.delta(JOB, 2, 0, "second")
    hub.resume_offset(JOB, 1)
    assert (topic.epoch, topic.text(0)) == (2, "second")
