"""One job's stream over SSE: the snapshot, then everything new, then `end`. A reader is an offset into the text."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

from litestar import Response, get
from litestar.params import FromPath
from litestar.response import Stream

from cavvy import defaults
from cavvy.api import sse
from cavvy.api.auth import READS, Caller
from cavvy.api.documented import documented, header, query
from cavvy.api.examples import EVENTS
from cavvy.api.jobs import AnyRequest, find_job, known_query
from cavvy.api.problems import ProblemError
from cavvy.api.services import Services, services
from cavvy.api.views import job_view
from cavvy.coordinator.hub import Topic
from cavvy.core.job import TERMINAL
from cavvy.core.results import output_text
from cavvy.protocol.rest_events import AttemptStarted, Delta, End
from cavvy.store.base import JobRecord

__all__ = ["job_events"]

_POSITION = re.compile(r"([0-9]{1,9})\.(?:([0-9]{1,9})|end)")


@get(
    "/v1/jobs/{job_id:str}/events",
    operation_class=documented(
        "A job's events",
        answers={200: ("Server-sent events", str), 204: ("You have seen the end", None)},
        example=EVENTS,
        media_type=sse.MEDIA_TYPE,
        parameters=(
            header("Last-Event-ID", "The last id seen: the stream goes on behind it.", str, "1.42"),
            query("after", "The same as `Last-Event-ID`, for readers that cannot set headers.", str, "1.42"),
        ),
    ),
)
async def job_events(request: AnyRequest, job_id: FromPath[str]) -> Response[bytes] | Stream:
    """Events `job`, `attempt`, `delta`, `usage`, `bye`, `end`; resume with `Last-Event-ID` or `?after=`."""
    here = services(request)
    caller = here.caller(request, *READS)
    known_query(request, "after")
    position = request.headers.get("last-event-id") or request.query_params.get("after")
    record = await find_job(here, caller, job_id)
    reader = _reader_at(position)
    if reader.seen_end and record.status in TERMINAL and reader.attempt == record.epoch:
        return Response(b"", status_code=204)
    stream = _stream(here, caller, job_id, reader)
    return Stream(stream, media_type=sse.MEDIA_TYPE, headers=sse.HEADERS)


@dataclass
class _Reader:
    """Where one reader is: `offset` code points into `attempt`; -1 when it has been shown no attempt yet.

    `thoughts` is how much it was shown of what the model thinks.
    """

    attempt: int = -1
    offset: int = 0
    thoughts: int = 0
    seen_end: bool = False
    version: int = -1


def _reader_at(position: str | None) -> _Reader:
    if not position:
        return _Reader()
    found = _POSITION.fullmatch(position)
    if found is None:
        detail = "Last-Event-ID (or ?after=) must be an id from this stream, such as 1.42."
        raise ProblemError("invalid_field", detail, field="after")
    return _Reader(attempt=int(found[1]), offset=int(found[2] or 0), seen_end=found[2] is None)


async def _stream(here: Services, caller: Caller, job_id: str, reader: _Reader) -> AsyncIterator[bytes]:
    """Subscribes first and reads the store then, so that nothing falls between. Lasts as long as the caller's key."""
    good_s = here.left_s(caller)
    with here.hub.subscribe(job_id) as topic:
        if reader.attempt == topic.epoch:
            reader.thoughts = topic.thoughts_length  # who comes back has seen it, or missed it
        while good_s():
            if topic.version != reader.version:
                version, ended = topic.version, topic.ended
                record = await find_job(here, caller, job_id)
                if not good_s():
                    break
                if topic.ended is not ended:
                    continue  # it ended while it was read
                if ended is not None and record.status not in TERMINAL:
                    break  # it ended and was retried in this moment: what is new happens elsewhere
                first, reader.version = reader.version < 0, version
                snapshot = sse.event("job", job_view(record, here.waits(), topic, texts=False))
                if record.status in TERMINAL:
                    streamed = _new_text(topic, reader) if record.accepted_epoch is None else b""
                    rest, end = [streamed, *_rest(record, topic, reader)], _end(record, reader)
                    yield b"".join([snapshot, *rest, end] if first else [*rest, snapshot, end])
                    return
                yield snapshot
            elif text := _new_text(topic, reader):
                yield text
            else:
                if here.hub.stopping:
                    yield sse.bye()
                    return
                beat_s = min(defaults.SSE_HEARTBEAT_S, good_s())
                if not await topic.changed(beat_s) and good_s():
                    yield sse.HEARTBEAT
        yield sse.bye()


def _rest(record: JobRecord, topic: Topic, reader: _Reader) -> list[bytes]:
    """What a completed job still owes this reader: the stored text from its offset on, and the usage."""
    if record.result is None or record.accepted_epoch is None:
        return []
    text = output_text(record.result)
    if not text.startswith(topic.text(0)):
        reader.attempt = -1  # what was streamed is not what was signed: it is void
    events = _switch(record.accepted_epoch, reader, length=len(text))
    if reader.offset < len(text):
        events.append(_delta(reader, text[reader.offset :]))
    usage = next((one.usage for one in record.attempts if one.epoch == record.accepted_epoch), None)
    return [*events, sse.event("usage", usage)] if usage is not None else events


def _end(record: JobRecord, reader: _Reader) -> bytes:
    """The stream is whole; its hash is there only for a completed job, and not when its text was erased."""
    length = reader.offset if reader.attempt == record.epoch else 0
    output_hash = record.output_hash if record.result is not None else None
    end = End(attempt=record.epoch, length=length, output_hash=output_hash)
    return sse.event("end", end, f"{record.epoch}.end")


def _new_text(topic: Topic, reader: _Reader) -> bytes:
    """The current attempt's text from the reader's offset on; first, if it is another attempt, that this one begins."""
    if topic.epoch == 0:
        return b""
    begun = b"".join(_switch(topic.epoch, reader, length=None))
    thoughts, text = topic.thoughts(reader.thoughts), topic.text(reader.offset)
    return begun + (_thoughts(reader, thoughts) if thoughts else b"") + (_delta(reader, text) if text else b"")


def _switch(attempt: int, reader: _Reader, *, length: int | None) -> list[bytes]:
    """Moves the reader to `attempt`: what it was shown of another one, or beyond `length`, is void."""
    same = attempt == reader.attempt and (length is None or reader.offset <= length)
    if same or attempt == 0:
        return []
    reader.attempt, reader.offset, reader.thoughts = attempt, 0, 0
    return [sse.event("attempt", AttemptStarted(attempt=attempt))]


def _delta(reader: _Reader, text: str) -> bytes:
    offset = reader.offset
    reader.offset += len(text)
    delta = Delta(attempt=reader.attempt, offset=offset, kind="text", text=text)
    return sse.event("delta", delta, f"{reader.attempt}.{reader.offset}")


def _thoughts(reader: _Reader, text: str) -> bytes:
    """Repeats the last id: thoughts are no place to come back to."""
    reader.thoughts += len(text)
    delta = Delta(attempt=reader.attempt, offset=reader.offset, kind="reasoning", text=text)
    return sse.event("delta", delta, f"{reader.attempt}.{reader.offset}")
