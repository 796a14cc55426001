"""The hub: what is live of each job. Readers are offsets into an attempt's text; tokens touch neither engine nor store.

A slow reader finds more text at its next look, never a gap. What is here can be lost: the worker sends it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import math
from collections.abc import Callable, Iterator

from cavvy import defaults
from cavvy.coordinator.news import News
from cavvy.core.effects import JobChanged, JobEnded
from cavvy.core.job import JobStatus

__all__ = ["Hub", "Topic"]


class _Growing:
    """Text that only grows, read from any offset (code points)."""

    __slots__ = ("_file", "length")

    def __init__(self) -> None:
        self._file = io.StringIO()
        self.length = 0

    def read(self, offset: int) -> str:
        if offset >= self.length:
            return ""
        self._file.seek(offset)
        return self._file.read()

    def write(self, text: str) -> None:
        self._file.seek(self.length)
        self._file.write(text)
        self.length += len(text)


_EMPTY = _Growing()  # most topics never hold text: it is never written to


class Topic:
    """What is live of one job. `version` rises with every change of status; `ended` is the last thing that happens."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.status: JobStatus | None = None
        self.epoch = 0
        self.started_at_ms: int | None = None
        self.created_at_ms = 0
        self.spoke = False
        self.version = 0
        self.readers = 0
        self.ended: JobEnded | None = None
        self._text = self._thoughts = _EMPTY
        self._news = News()

    def text(self, offset: int) -> str:
        """The text of the current attempt from `offset` (code points) on."""
        return self._text.read(offset)

    def thoughts(self, offset: int) -> str:
        """What the model of the current attempt thought, from `offset` on."""
        return self._thoughts.read(offset)

    @property
    def length(self) -> int:
        return self._text.length

    @property
    def thoughts_length(self) -> int:
        return self._thoughts.length

    async def changed(self, timeout_s: float) -> bool:
        """Waits for anything new; False when `timeout_s` went by without."""
        return await self._news.within(timeout_s)

    async def end(self, timeout_s: float, left_s: Callable[[], float] = lambda: math.inf) -> JobEnded | None:
        """Waits until the job is terminal.

        None when it is not after `timeout_s`, when the coordinator stops, or when the waiter has no time `left_s`.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(timeout_s, left_s())):
                while self.ended is None and not self._hub.stopping and left_s():
                    await self._news.wait()
        return self.ended

    def _append(self, text: str) -> None:
        if self._text is _EMPTY:
            self._text = _Growing()
        self._text.write(text)
        self.wake()

    def _think(self, text: str) -> None:
        if self._thoughts is _EMPTY:
            self._thoughts = _Growing()
        self._thoughts.write(text)
        self.wake()

    def _begin(self, epoch: int) -> None:
        self.epoch, self.started_at_ms = epoch, None
        self._text = self._thoughts = _EMPTY

    def wake(self) -> None:
        self._news.tell()


class Hub:
    """All topics. A topic lives while its job runs or somebody reads it.

    `first_token` hears of a job's first text: when the job was submitted.
    """

    def __init__(self, first_token: Callable[[int], None] = lambda _: None) -> None:
        self.stopping = False
        self._first_token = first_token
        self._topics: dict[str, Topic] = {}

    def peek(self, job_id: str) -> Topic | None:
        return self._topics.get(job_id)

    @contextlib.contextmanager
    def subscribe(self, job_id: str) -> Iterator[Topic]:
        """The job's topic, kept while the block lasts. Subscribe first, then read the store: nothing falls between."""
        topic = self._topics.get(job_id)
        if topic is None:
            topic = self._topics[job_id] = Topic(self)
        topic.readers += 1
        try:
            yield topic
        finally:
            topic.readers -= 1
            self._let_go(job_id, topic)

    def status_changed(self, effect: JobChanged) -> None:
        job = effect.job
        topic = self._topics.get(job.id)
        if topic is None:
            if job.status is JobStatus.PENDING:
                return
            topic = self._topics[job.id] = Topic(self)
        if job.epoch != topic.epoch:
            topic._begin(job.epoch)
        topic.status, topic.created_at_ms = job.status, job.created_at_ms
        topic.started_at_ms = effect.started_at_ms or topic.started_at_ms
        topic.version += 1
        topic.wake()
        self._let_go(job.id, topic)

    def ended(self, effect: JobEnded) -> None:
        topic = self._topics.pop(effect.job.id, None)
        if topic is not None:
            topic.status, topic.ended = effect.job.status, effect
            topic.version += 1
            topic.wake()

    def resume_offset(self, job_id: str, epoch: int) -> int:
        """From where the worker of this attempt, which goes on, shall send its text again."""
        topic = self._topics.get(job_id)
        if topic is None:
            topic = self._topics[job_id] = Topic(self)
        if epoch > topic.epoch:
            topic._begin(epoch)
        if topic.status is None:  # after a restart nobody has said it yet, and a running job is kept
            topic.status = JobStatus.RUNNING
        return topic.length if topic.epoch == epoch else 0

    def delta(self, job_id: str, epoch: int, offset: int, text: str) -> str | None:
        """Adds text that begins at `offset`; what was there already is skipped. A sentence when it cannot be added."""
        topic = self._topics.get(job_id)
        if topic is None or topic.epoch != epoch:
            return None
        if offset > topic.length:
            return f"text is missing before offset {offset}: {topic.length} code points are here"
        fresh = text[topic.length - offset :]
        if topic.length + len(fresh) > defaults.MAX_OUTPUT_BYTES:
            return f"the output is longer than {defaults.MAX_OUTPUT_BYTES} bytes"
        if fresh:
            self._count_first(topic)
            topic._append(fresh)
        return None

    def _count_first(self, topic: Topic) -> None:
        """A job that was running before this process began is left out: its first text is long ago."""
        if not topic.spoke:
            topic.spoke = True
            if topic.created_at_ms:
                self._first_token(topic.created_at_ms)

    @property
    def streams(self) -> int:
        """How many read a job's events, or wait for its end."""
        return sum(topic.readers for topic in self._topics.values())

    def thought(self, job_id: str, epoch: int, text: str) -> None:
        """Adds what the model thinks; of more than an output may have, the rest is not shown."""
        topic = self._topics.get(job_id)
        if topic is not None and topic.epoch == epoch:
            fresh = text[: max(0, defaults.MAX_OUTPUT_BYTES - topic.thoughts_length)]
            if fresh:
                topic._think(fresh)

    def stop(self) -> None:
        """The coordinator stops: every reader and waiter looks up and says goodbye."""
        self.stopping = True
        self.wake()

    def wake(self) -> None:
        """Every reader and waiter looks whether it may go on."""
        for topic in list(self._topics.values()):
            topic.wake()

    def _let_go(self, job_id: str, topic: Topic) -> None:
        idle = topic.readers == 0 and topic.status in (None, JobStatus.PENDING) and not topic.length
        if idle and self._topics.get(job_id) is topic:
            del self._topics[job_id]
