"""One job's stream: the snapshot first, every character once, and an end that says that it is whole."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from cavvy import defaults
from cavvy.api.jobs import find_job
from cavvy.core.writes import Usage
from cavvy.protocol.messages import JobAssign, JobFailedMessage
from cavvy.providers.base import Chunk, FinalChunk, InferenceRequest, TextChunk
from cavvy.store.base import JobRecord
from cavvy.store.sqlite import SqliteStore
from cavvy.testing import LiveStack, ScriptedProvider, live_stack
from tests.unit.api.event_stream import Event, Stream
from tests.unit.api.raw_worker import RawWorker

PATIENCE_S = 60.0
HORSE = "\U0001f40e"

_names = (f"raw-{number}" for number in count(1))


@contextlib.asynccontextmanager
async def streaming(stack: LiveStack, job_id: str, after: str | None = None) -> AsyncIterator[Stream]:
    """An open stream, from `Last-Event-ID: after` on."""
    headers = {} if after is None else {"Last-Event-ID": after}
    async with stack.http.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        yield Stream(response)


async def whole(stack: LiveStack, job_id: str, after: str | None = None) -> list[Event]:
    """The stream of a job that has ended."""
    async with streaming(stack, job_id, after) as stream:
        return await stream.rest()


def shape(events: list[Event]) -> list[str]:
    return [event.name for event in events]


def deltas(events: list[Event]) -> list[tuple[int, int, str]]:
    """(attempt, offset, text) of each delta."""
    return [(one.data["attempt"], one.data["offset"], one.data["text"]) for one in events if one.name == "delta"]


@pytest.fixture
async def raw(shared_stack: LiveStack) -> AsyncIterator[RawWorker]:
    """A worker that sends exactly what a test says, when it says so."""
    raw = RawWorker(shared_stack, next(_names))
    await raw.join()
    yield raw
    await raw.close()


@pytest.fixture
async def completed(raw: RawWorker) -> str:
    """A job that has completed with the text "hello"."""
    grant = await raw.granted()
    await raw.start(grant, "he", "llo")
    await raw.complete(grant, "hello")
    return grant.job_id


# -- whole streams


async def test_the_stream_of_a_completed_job_is_its_snapshot_its_text_and_its_end(
    shared_stack: LiveStack, completed: str
) -> None:
    events = await whole(shared_stack, completed)
    job = (await shared_stack.http.get(f"/v1/jobs/{completed}")).json()
    assert shape(events) == ["job", "attempt", "delta", "usage", "end"]
    assert events[1].data == {"attempt": 1}
    assert events[2] == Event("delta", {"attempt": 1, "offset": 0, "kind": "text", "text": "hello"}, "1.5")
    assert events[3].data == {"input_tokens": 1, "output_tokens": 1}
    assert events[4] == Event("end", {"attempt": 1, "length": 5, "output_hash": job["output_hash"]}, "1.end")


async def test_the_snapshot_has_no_texts(shared_stack: LiveStack, completed: str) -> None:
    snapshot = (await whole(shared_stack, completed))[0]
    assert snapshot.data["status"] == "completed"
    assert [snapshot.data[name] for name in ("prompt", "messages", "result", "output", "receipt")] == [None] * 5


async def test_the_text_of_the_stream_is_the_text_that_was_signed(shared_stack: LiveStack, completed: str) -> None:
    events = await whole(shared_stack, completed)
    result = (await shared_stack.http.get(f"/v1/jobs/{completed}/result")).content
    assert "".join(text for _, _, text in deltas(events)) == json.loads(result)["text"]
    assert events[-1].data["output_hash"] == hashlib.sha256(result).hexdigest()


async def test_proxies_are_told_to_keep_nothing_back(shared_stack: LiveStack, completed: str) -> None:
    async with streaming(shared_stack, completed) as stream:
        headers = stream.response.headers
    assert headers["content-type"].partition(";")[0] == "text/event-stream"
    assert (headers["x-accel-buffering"], headers["cache-control"]) == ("no", "no-store")


async def test_a_failed_jobs_stream_ends_without_a_hash(shared_stack: LiveStack, raw: RawWorker) -> None:
    grant = await raw.granted()
    await raw.start(grant, "half")
    await raw.send(
        JobFailedMessage(job_id=grant.job_id, epoch=1, code="worker_error", message="broken", retryable=False)
    )
    await shared_stack.http.get(f"/v1/jobs/{grant.job_id}?wait=60")
    job, end = await whole(shared_stack, grant.job_id)
    assert (job.name, job.data["status"], job.data["failure"]["code"]) == ("job", "failed", "worker_error")
    assert end == Event("end", {"attempt": 1, "length": 0, "output_hash": None}, "1.end")


async def test_who_was_shown_text_of_a_job_that_fails_is_told_how_much_there_was(
    shared_stack: LiveStack, raw: RawWorker
) -> None:
    grant = await raw.granted()
    async with streaming(shared_stack, grant.job_id) as stream:
        await raw.start(grant, "half")
        assert await stream.text(4) == "half"
        await raw.send(
            JobFailedMessage(job_id=grant.job_id, epoch=1, code="worker_error", message="broken", retryable=False)
        )
        events = await stream.rest()
    assert (events[-2].name, events[-2].data["status"]) == ("job", "failed")
    assert events[-1] == Event("end", {"attempt": 1, "length": 4, "output_hash": None}, "1.end")


@pytest.mark.usefixtures("raw")
async def test_a_pending_job_that_is_cancelled_ends_its_stream(shared_stack: LiveStack) -> None:
    body = {"prompt": "hi", "model": "nobody has it"}
    job_id = (await shared_stack.http.post("/v1/jobs", json=body)).json()["id"]
    async with streaming(shared_stack, job_id) as stream:
        pending = await stream.next()
        await shared_stack.http.post(f"/v1/jobs/{job_id}/cancel", json={"reason": "no need"})
        failed, end = await stream.rest()
    assert (pending.name, pending.data["status"]) == ("job", "pending")
    assert "'nobody has it'" in pending.data["queue"]["reason"]
    assert (failed.name, failed.data["failure"]["code"], failed.data["failure"]["reason"]) == (
        "job", "aborted", "no need"
    )  # fmt: skip
    assert end == Event("end", {"attempt": 0, "length": 0, "output_hash": None}, "0.end")


async def test_a_job_that_ends_while_it_is_read_ends_its_stream(
    shared_stack: LiveStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"prompt": "hi", "model": "nobody has it"}
    job_id = (await shared_stack.http.post("/v1/jobs", json=body)).json()["id"]

    reads = count(1)

    async def read_slowly(*which: Any) -> JobRecord:
        record = await find_job(*which)
        if next(reads) == 2:  # the first finds out whether there is such a job
            await shared_stack.http.post(f"/v1/jobs/{job_id}/cancel")
        return record

    monkeypatch.setattr("cavvy.api.events.find_job", read_slowly)
    assert shape(await whole(shared_stack, job_id)) == ["job", "end"]


# -- live


class SpokenProvider(ScriptedProvider):
    """Answers with what is put into `words`, as it comes; None ends the answer."""

    def __init__(self, model: str) -> None:
        super().__init__(models=(model,))
        self.words: asyncio.Queue[str | None] = asyncio.Queue()

    async def stream(self, request: InferenceRequest) -> AsyncGenerator[Chunk, None]:
        while (word := await self.words.get()) is not None:
            yield TextChunk(word, 1)
        yield FinalChunk(finish_reason="stop", usage=Usage(input_tokens=1, output_tokens=3), model=request.model)


async def test_tokens_are_shown_one_by_one_while_the_model_speaks(shared_stack: LiveStack) -> None:
    provider = SpokenProvider("spoken")
    await shared_stack.add_worker(provider, name="spoken")
    body = {"prompt": "hi", "model": "spoken"}
    job_id = (await shared_stack.http.post("/v1/jobs", json=body)).json()["id"]
    async with streaming(shared_stack, job_id) as stream:
        for token in ("one ", f"{HORSE} ", "three"):
            provider.words.put_nowait(token)
            assert await stream.text(len(token)) == token
        provider.words.put_nowait(None)
        usage, job, end = [one for one in await stream.rest() if one.data.get("status") != "running"]
    assert usage.data == {"input_tokens": 1, "output_tokens": 3}
    assert job.data["status"] == "completed"
    assert end.data == {"attempt": 1, "length": 11, "output_hash": job.data["output_hash"]}


async def test_every_status_is_shown_as_it_comes(shared_stack: LiveStack, raw: RawWorker) -> None:
    await raw.close()
    job_id = await raw.submit()
    async with streaming(shared_stack, job_id) as stream:
        statuses = [(await stream.next()).data["status"]]
        await raw.come_back()
        grant = await raw.receive(JobAssign)
        statuses.append((await stream.next()).data["status"])
        await raw.start(grant)
        events = [await stream.next(), await stream.next()]
        await raw.complete(grant, "")
        events += await stream.rest()
    statuses += [one.data["status"] for one in events if one.name == "job"]
    assert statuses == ["pending", "assigned", "running", "completed"]
    assert shape(events) == ["attempt", "job", "usage", "job", "end"]


async def test_each_delta_says_where_it_begins_and_its_id_where_it_ends(
    shared_stack: LiveStack, raw: RawWorker
) -> None:
    pieces = ["a", f"é{HORSE}", "\u2028\r\n\t", '"\\', "end"]
    grant = await raw.granted()
    async with streaming(shared_stack, grant.job_id) as stream:
        seen = []
        await raw.start(grant)
        for index in range(len(pieces)):
            await raw.start(grant, *pieces[: index + 1])
            while (event := await stream.next()).name != "delta":
                pass
            seen.append(event)
        await raw.complete(grant, "".join(pieces))
        end = (await stream.rest())[-1]
    offsets = [len("".join(pieces[:index])) for index in range(len(pieces) + 1)]
    assert [one.data["text"] for one in seen] == pieces
    assert [one.data["offset"] for one in seen] == offsets[:-1]
    assert [one.id for one in seen] == [f"1.{offset}" for offset in offsets[1:]]
    assert end.data["length"] == len("".join(pieces)) == 12


async def test_a_late_reader_gets_the_text_so_far_in_one_piece(shared_stack: LiveStack, raw: RawWorker) -> None:
    grant = await raw.granted()
    async with streaming(shared_stack, grant.job_id) as first:
        await raw.start(grant, *"hello")
        assert await first.text(5) == "hello"
        async with streaming(shared_stack, grant.job_id) as late:
            events = [await late.next() for _ in range(3)]
    assert shape(events) == ["job", "attempt", "delta"]
    assert deltas(events) == [(1, 0, "hello")]
    await raw.complete(grant, "hello")


async def test_what_the_model_thinks_is_shown_apart_and_is_no_part_of_the_result(
    shared_stack: LiveStack, raw: RawWorker
) -> None:
    grant = await raw.granted()
    async with streaming(shared_stack, grant.job_id) as stream:
        await raw.start(grant)
        await raw.think(grant, "let me")
        await raw.think(grant, " see")
        thoughts: list[Event] = []
        while "".join(one.data["text"] for one in thoughts) != "let me see":
            event = await stream.next()
            thoughts += [event] if event.name == "delta" else []
        assert {(one.data["kind"], one.data["offset"], one.id) for one in thoughts} == {("reasoning", 0, "1.0")}
        await raw.start(grant, "4", "2")
        assert await stream.text(2) == "42"
        async with streaming(shared_stack, grant.job_id, after="1.1") as back:
            assert (await back.next()).name == "job"
            delta = (await back.next()).data
            assert (delta["kind"], delta["text"]) == ("text", "2")  # thoughts are not told again
        await raw.complete(grant, "42")
        assert (await stream.rest())[-1].data["length"] == 2
    job = (await shared_stack.http.get(f"/v1/jobs/{grant.job_id}")).json()
    assert job["output"] == "42"
    assert [one.data["kind"] for one in await whole(shared_stack, grant.job_id) if one.name == "delta"] == ["text"]


async def test_a_reader_that_leaves_disturbs_nobody(shared_stack: LiveStack, raw: RawWorker) -> None:
    grant = await raw.granted()
    async with streaming(shared_stack, grant.job_id) as stays:
        async with streaming(shared_stack, grant.job_id) as leaves:
            await raw.start(grant, "one")
            assert await leaves.text(3) == await stays.text(3) == "one"
        await raw.start(grant, "one", " two")
        assert await stays.text(4) == " two"
        await raw.complete(grant, "one two")
        assert (await stays.rest())[-1].data["length"] == 7


async def test_twenty_readers_at_once_all_get_the_same_text(shared_stack: LiveStack, raw: RawWorker) -> None:
    text = f"the quick brown {HORSE} " * 20
    grant = await raw.granted()

    async def read(stream: Stream) -> str:
        events = await stream.rest()
        assert events[-1].data["length"] == len(text)
        return "".join(piece for _, _, piece in deltas(events))

    async with contextlib.AsyncExitStack() as open_streams:
        streams = [await open_streams.enter_async_context(streaming(shared_stack, grant.job_id)) for _ in range(20)]
        reading = [asyncio.create_task(read(stream)) for stream in streams]
        await raw.start(grant, *(text[begin : begin + 7] for begin in range(0, len(text), 7)))
        await raw.complete(grant, text)
        assert await asyncio.gather(*reading) == [text] * 20


# -- coming back


async def test_a_reader_that_comes_back_gets_exactly_the_rest(shared_stack: LiveStack, raw: RawWorker) -> None:
    grant = await raw.granted()
    async with streaming(shared_stack, grant.job_id) as stream:
        await raw.start(grant, f"a{HORSE}c")
        assert await stream.text(3) == f"a{HORSE}c"
        await raw.start(grant, f"a{HORSE}c", "def")
        assert await stream.text(3) == "def"
    async with streaming(shared_stack, grant.job_id, after="1.2") as stream:
        snapshot, delta = await stream.next(), await stream.next()
        await raw.complete(grant, f"a{HORSE}cdef")
        rest = await stream.rest()
    assert (snapshot.name, deltas([delta, *rest])) == ("job", [(1, 2, "cdef")])
    assert rest[-1].data["length"] == 6


async def test_a_reader_may_say_where_it_is_in_the_address(shared_stack: LiveStack, completed: str) -> None:
    answer = await shared_stack.http.get(f"/v1/jobs/{completed}/events?after=1.3")
    assert 'data: {"attempt":1,"offset":3,"kind":"text","text":"lo"}' in answer.text


async def test_the_header_decides_when_both_are_there(shared_stack: LiveStack, completed: str) -> None:
    headers = {"Last-Event-ID": "1.4"}
    answer = await shared_stack.http.get(f"/v1/jobs/{completed}/events?after=1.1", headers=headers)
    assert 'data: {"attempt":1,"offset":4,"kind":"text","text":"o"}' in answer.text


@pytest.mark.parametrize("offset", range(6))
async def test_after_the_end_the_rest_comes_from_the_store(
    shared_stack: LiveStack, completed: str, offset: int
) -> None:
    events = await whole(shared_stack, completed, after=f"1.{offset}")
    rest = "hello"[offset:]
    assert shape(events) == ["job", *(["delta"] if rest else []), "usage", "end"]
    assert deltas(events) == ([(1, offset, rest)] if rest else [])
    assert events[-1].data["length"] == 5


@pytest.mark.parametrize("position", ["1.6", "1.999999999", "7.2", "0.0"])
async def test_who_has_seen_what_never_was_begins_again(shared_stack: LiveStack, completed: str, position: str) -> None:
    events = await whole(shared_stack, completed, after=position)
    assert shape(events) == ["job", "attempt", "delta", "usage", "end"]
    assert deltas(events) == [(1, 0, "hello")]


async def test_only_who_has_seen_the_end_gets_204(shared_stack: LiveStack, completed: str) -> None:
    path = f"/v1/jobs/{completed}/events"
    answer = await shared_stack.http.get(path, headers={"Last-Event-ID": "1.end"})
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await shared_stack.http.get(f"{path}?after=1.end")).status_code == 204
    assert (await shared_stack.http.get(f"{path}?after=1.5")).status_code == 200


async def test_the_end_of_another_attempt_is_not_the_end(shared_stack: LiveStack, completed: str) -> None:
    assert (await whole(shared_stack, completed, after="9.end"))[-1].id == "1.end"


@pytest.mark.parametrize(
    "position",
    [
        "x",
        "1",
        "1.",
        ".5",
        "1.x",
        "-1.5",
        "1.-5",
        "1.5.6",
        "1.end.",
        "end",
        "1." + "9" * 400,
        "1e3.5",
        "1,5",
        "\u0661.\u0662",
        "1.5\n",
    ],
)
async def test_an_id_that_is_none_is_refused(shared_stack: LiveStack, completed: str, position: str) -> None:
    answer = await shared_stack.http.get(f"/v1/jobs/{completed}/events", params={"after": position})
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["field"]) == (422, "invalid_field", "after")


async def test_p18_a_key_is_needed(shared_stack: LiveStack, completed: str) -> None:
    answer = await shared_stack.http.get(f"/v1/jobs/{completed}/events", headers={"Authorization": ""})
    assert answer.status_code == 401


# -- attempts


async def test_p06_a_new_attempt_says_so_and_sends_the_whole_text_again(
    shared_stack: LiveStack, raw: RawWorker
) -> None:
    first = await raw.granted()
    successor = RawWorker(shared_stack, next(_names), model=raw.model)
    async with streaming(shared_stack, first.job_id) as stream:
        await raw.start(first, "old te")
        assert await stream.text(6) == "old te"
        await raw.close()
        await successor.join()
        second = await successor.receive(JobAssign)
        await successor.start(second, "new", " text")
        await successor.complete(second, "new text")
        events = await stream.rest()
    await successor.close()
    names = [name for name in shape(events) if name != "job"]
    assert names.count("attempt") == 1
    assert events[shape(events).index("attempt")].data == {"attempt": 2}
    assert shape(events).index("attempt") < shape(events).index("delta")
    assert {attempt for attempt, _, _ in deltas(events)} == {2}
    assert deltas(events)[0][1] == 0
    assert "".join(text for _, _, text in deltas(events)) == "new text"
    assert events[-1].data["attempt"] == 2


async def test_who_comes_back_in_a_later_attempt_begins_again(shared_stack: LiveStack, raw: RawWorker) -> None:
    await raw.start(await raw.granted(), "old")
    await raw.close()
    raw.instance = "2"
    await raw.come_back()
    second = await raw.receive(JobAssign)
    await raw.complete(second, "new")
    events = await whole(shared_stack, second.job_id, after="1.3")
    assert shape(events) == ["job", "attempt", "delta", "usage", "end"]
    assert deltas(events) == [(2, 0, "new")]


@pytest.mark.parametrize("signed", ["No.", "No promise was made"], ids=["shorter", "longer"])
async def test_text_that_was_streamed_but_not_signed_is_void(
    shared_stack: LiveStack, raw: RawWorker, signed: str
) -> None:
    grant = await raw.granted()
    async with streaming(shared_stack, grant.job_id) as stream:
        await raw.start(grant, "I promise")
        assert await stream.text(9) == "I promise"
        await raw.complete(grant, signed)
        events = await stream.rest()
    assert shape(events)[-5:] == ["attempt", "delta", "usage", "job", "end"]
    assert (deltas(events), events[-1].data["length"]) == ([(1, 0, signed)], len(signed))


# -- silence and the end of the coordinator


async def test_a_silent_stream_is_kept_open_by_comments(
    shared_stack: LiveStack, raw: RawWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defaults, "SSE_HEARTBEAT_S", 0.01)
    grant = await raw.granted()
    async with streaming(shared_stack, grant.job_id) as stream:
        while (event := await stream.next_or_comment()).name != ":":
            pass
        assert event == Event(":", "still here")
        await raw.start(grant, "text")
        assert await stream.text(4) == "text"
    await raw.complete(grant, "text")


async def test_when_the_coordinator_stops_its_streams_say_so_and_when_to_come_back(tmp_path: Path) -> None:
    async with live_stack(tmp_path / "data", SqliteStore(tmp_path / "data")) as stack:
        job_id = (await stack.http.post("/v1/jobs", json={"prompt": "hi"})).json()["id"]
        async with streaming(stack, job_id) as stream:
            await stream.next()
            stopping = asyncio.create_task(stack.server.stop())
            events = await stream.rest()
        await stopping
    assert events == [Event("bye", {"retry_ms": defaults.SSE_RETRY_MS})]


async def test_p13_a_stream_goes_on_after_a_restart_where_it_was(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with live_stack(data, SqliteStore(data)) as stack:
        raw = RawWorker(stack, "raw")
        await raw.join()
        grant = await raw.granted()
        async with streaming(stack, grant.job_id) as stream:
            await raw.start(grant, "half ")
            assert await stream.text(5) == "half "
        key = stack.key
    async with live_stack(data, SqliteStore(data), key=key) as stack:
        raw.stack = stack
        async with streaming(stack, grant.job_id, after="1.5") as stream:
            ack = await raw.come_back(held=(raw.ref(grant),))
            assert [(one.verdict, one.offset) for one in ack.resume] == [("go_on", 0)]
            await raw.start(grant, "half ", "and whole")
            assert await stream.text(9) == "and whole"
            await raw.complete(grant, "half and whole")
            assert (await stream.rest())[-1].data["length"] == 14
        await raw.close()
