"""What the clients do, as generators: they yield the next step, are sent its outcome, and return the answer.

Neither I/O nor sleeping happens here, so both clients share every decision: what is repeated, how long it is waited,
when a stream is whole.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

from cavvy import defaults
from cavvy.client import _protocol as protocol
from cavvy.client._events import EventReader
from cavvy.client._job import Job
from cavvy.client._protocol import Lost, Prompt, Reply, Request, Task
from cavvy.client._sse import SseParser
from cavvy.client._text import StreamText
from cavvy.errors import ClientError, JobTimeout, NoCoordinator, RequestRefused

__all__ = ["Close", "Emit", "Flow", "Flows", "Open", "Pause", "Read", "Send", "Step"]

T = TypeVar("T")

TRIES = 5  # of one request, when its answer is lost: about 3 s
PAUSE_BASE_S = 0.2
RETRY_AFTER_CAP_S = 30.0  # a coordinator may not make a caller wait longer than this
PATIENCE_S = 30.0  # how long a job being waited for may be out of sight: a coordinator's restart
STEADY_S = 5.0  # a stream that held this long was a good one, even if nothing was said
RETRIED = frozenset({502, 503, 504})


class Send(NamedTuple):
    """Send the request; outcome Reply or Lost."""

    request: Request


class Open(NamedTuple):
    """Open a stream; outcome Reply, its body unread if the status is 200, or Lost."""

    request: Request


class Read(NamedTuple):
    """More of the open stream; outcome bytes, empty when it is over or broken."""


class Close(NamedTuple):
    """Close the open stream."""


class Pause(NamedTuple):
    seconds: float


class Emit(NamedTuple):
    """Hand this to the caller."""

    value: Any


Step = Send | Open | Read | Close | Pause | Emit
Flow = Generator[Step, Any, T]


class Backoff:
    """Pauses that double, with jitter, up to a cap; and how long things have gone wrong."""

    def __init__(self) -> None:
        self.tries = 0
        self._since = 0.0

    def reset(self) -> None:
        """All is well again."""
        self.tries = 0

    def pause(self, at_least_s: float | None = None) -> Pause:
        """The next pause; `at_least_s` is what the other side asked for."""
        if self.tries == 0:
            self._since = time.monotonic()
        longest = min(PAUSE_BASE_S * 2 ** min(self.tries, 16), defaults.RECONNECT_CAP_S)
        self.tries += 1
        jittered = longest * random.uniform(0.5, 1.0)  # noqa: S311 (spreads clients, guards nothing)
        return Pause(max(jittered, min(at_least_s or 0.0, RETRY_AFTER_CAP_S)))

    @property
    def lasted_s(self) -> float:
        """Seconds since the first pause after all was well."""
        return time.monotonic() - self._since if self.tries else 0.0


class Flows:
    """Every operation on the coordinator at `url`."""

    def __init__(self, url: str) -> None:
        self._url = url

    def fetch(self, request: Request, kind: type[T]) -> Flow[T]:
        """The answer to `request` as `kind`."""
        return protocol.decode((yield from self.body(request)), kind)

    def body(self, request: Request, *, patience_s: float = 0.0) -> Flow[bytes]:
        """The body of the answer. Raises RequestRefused, or NoCoordinator when none comes."""
        return protocol.expect_ok((yield from self._reply(request, patience_s)))

    def submit(self, prompt: Prompt | Task, fields: Mapping[str, Any], *, wait: int = 0) -> Flow[Job]:
        """The new job: one, however often the request had to be repeated."""
        request = protocol.submit_request(prompt, fields, idempotency_key=str(uuid.uuid4()), wait=wait)
        return (yield from self.fetch(request, Job))

    def submit_many(
        self, jobs: Iterable[Prompt | Mapping[str, Any]], fields: Mapping[str, Any], key: str | None
    ) -> Flow[list[Job | RequestRefused]]:
        """The new jobs, or why there is none: one each, however often the request had to be repeated."""
        request = protocol.batch_request(jobs, fields, idempotency_key=key or str(uuid.uuid4()))
        return protocol.batch_outcomes((yield from self.fetch(request, protocol.BatchAnswer)))

    def run(self, prompt: Prompt | Task, fields: Mapping[str, Any], wait_s: float | None) -> Flow[Job]:
        """The completed job. Raises JobFailed, JobTimeout."""
        deadline = None if wait_s is None else time.monotonic() + wait_s
        job = yield from self.submit(prompt, fields, wait=protocol.wait_s(wait_s))
        return protocol.succeeded((yield from self._wait(job, deadline)))

    def stream(self, prompt: Prompt, fields: Mapping[str, Any], text: StreamText) -> Flow[None]:
        """Submits, then as `follow`."""
        text.job = yield from self.submit(prompt, fields)
        text.job_id = text.job.id
        yield from self.follow(text, None)

    def follow(self, text: StreamText, on_status: Callable[[Job], None] | None) -> Flow[None]:
        """Emits the text of job `text.job_id` as it comes, until it is whole; then `text.job` is the ended job.

        Comes back by itself after a break. Raises JobFailed, AttemptRestarted; ClientError after 30 s without progress.
        """
        backoff, job_id = Backoff(), text.job_id
        while not text.ended:
            opened = yield Open(protocol.events_request(job_id, text.last_id))
            if isinstance(opened, Lost) or opened.status in RETRIED:
                if isinstance(opened, Lost) and not opened.sent and text.job is None:
                    raise self._unreachable(opened, "")  # nobody was ever seen there
                if backoff.lasted_s > PATIENCE_S:
                    raise self._unreachable(opened, f"job {job_id} goes on")
                yield backoff.pause(None if isinstance(opened, Lost) else protocol.retry_after_s(opened))
                continue
            protocol.expect_ok(opened)
            if opened.status == 204:
                break
            opened_at = time.monotonic()
            yield from self._read(text, backoff, on_status)
            if time.monotonic() - opened_at > STEADY_S:
                backoff.reset()
            if not text.ended:
                if backoff.lasted_s > PATIENCE_S:
                    raise ClientError(f"the stream of job {job_id} breaks again and again; see `cavvy jobs show`")
                yield backoff.pause(text.retry_s)
        text.job = protocol.succeeded((yield from self._ended(job_id)))

    def events(self) -> Flow[None]:
        """Emits the tenant's events for ever, over any number of connections; each begins with its cursor.

        Raises ClientError after 30 s without one.
        """
        reader, backoff = EventReader(), Backoff()
        while True:
            opened = yield Open(protocol.tenant_events_request())
            if isinstance(opened, Lost) or opened.status in RETRIED:
                if isinstance(opened, Lost) and not opened.sent and not reader.seen:
                    raise self._unreachable(opened, "")  # nobody was ever seen there
                if backoff.lasted_s > PATIENCE_S:
                    raise self._unreachable(opened, "what goes on there is unknown")
                yield backoff.pause(None if isinstance(opened, Lost) else protocol.retry_after_s(opened))
                continue
            protocol.expect_ok(opened)
            opened_at, parser = time.monotonic(), SseParser()
            reader.reconnected()
            while not reader.over and (chunk := (yield Read())):
                for event in parser.feed(chunk):
                    if (found := reader.take(event)) is not None:
                        yield Emit(found)
            yield Close()
            if time.monotonic() - opened_at > STEADY_S:
                backoff.reset()
            if backoff.lasted_s > PATIENCE_S:
                raise ClientError("the stream of events breaks again and again; is something else listening there?")
            yield backoff.pause(reader.retry_s)

    def _read(self, text: StreamText, backoff: Backoff, on_status: Callable[[Job], None] | None) -> Flow[None]:
        """One connection's worth of the stream."""
        parser = SseParser()
        text.reconnected()
        while not text.over and (chunk := (yield Read())):
            for event in parser.feed(chunk):
                deltas, job = text.take(event)
                for delta in deltas:
                    backoff.reset()
                    yield Emit(delta)
                if job is not None and on_status is not None:
                    on_status(job)
        yield Close()

    def _ended(self, job_id: str) -> Flow[Job]:
        body = yield from self.body(protocol.job_request(job_id), patience_s=PATIENCE_S)
        return (yield from self._wait(protocol.decode(body, Job), None))

    def _wait(self, job: Job, deadline: float | None) -> Flow[Job]:
        """The job once it is terminal. Raises JobTimeout at `deadline` (monotonic seconds)."""
        while not job.terminal:
            remaining = None if deadline is None else deadline - time.monotonic()
            if remaining is not None and remaining <= 0:
                raise JobTimeout(f"job {job.id} is {job.status} still and goes on; see `cavvy jobs watch`", job.id)
            asked_at = time.monotonic()
            request = protocol.job_request(job.id, protocol.wait_s(remaining))
            job = protocol.decode((yield from self.body(request, patience_s=PATIENCE_S)), Job)
            if not job.terminal and time.monotonic() - asked_at < PAUSE_BASE_S:
                yield Pause(PAUSE_BASE_S)  # whatever answers at once does not know how to wait
        return job

    def _reply(self, request: Request, patience_s: float) -> Flow[Reply]:
        """The answer, the request repeated while none comes: a few times, and at least for `patience_s`.

        Once one try may have been carried out, that is the answer: that a later one was not says nothing about it.
        """
        backoff, unsure = Backoff(), None
        while True:
            answer = yield Send(request)
            if isinstance(answer, Reply) and answer.status not in RETRIED:
                return answer
            if isinstance(answer, Reply) and protocol.outcome_is_unknown(answer):
                unsure = answer
            nobody = isinstance(answer, Lost) and not answer.sent and backoff.tries == 0
            worn_out = backoff.tries >= TRIES - 1 or nobody
            if not request.repeat or (worn_out and backoff.lasted_s >= patience_s):
                if isinstance(answer, Reply):
                    return unsure or answer
                raise self._unreachable(answer, "" if nobody else "whether it was carried out is unknown")
            yield backoff.pause(protocol.retry_after_s(answer) if isinstance(answer, Reply) else None)

    def _unreachable(self, last: Lost | Reply, consequence: str) -> NoCoordinator:
        if isinstance(last, Lost) and not last.sent and not consequence:
            return NoCoordinator(f"nothing answers at {self._url}; start one with `cavvy up`")
        found = last.detail if isinstance(last, Lost) else f"status {last.status}"
        told = f"the coordinator at {self._url} stopped answering ({found}); {consequence or 'try again'}"
        if isinstance(last, Lost) and self._url.startswith("http:"):
            told += "; if it was started with --lan, its address begins with https://"
        return NoCoordinator(told)
