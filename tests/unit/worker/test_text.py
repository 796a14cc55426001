from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cavvy import defaults
from cavvy.core.job import AttemptRef
from cavvy.protocol.messages import JobDelta
from cavvy.worker.text import AttemptText, TextFlusher

FRAME = 1 << 20


class Sent:
    """What was sent, and a way to wait for it."""

    def __init__(self) -> None:
        self.deltas: list[JobDelta] = []
        self._more = asyncio.Event()

    def __call__(self, delta: JobDelta) -> None:
        self.deltas.append(delta)
        self._more.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(60):
            while len(self.deltas) < count:
                self._more.clear()
                await self._more.wait()

    @property
    def pieces(self) -> list[tuple[int, str]]:
        return [(delta.offset, delta.text) for delta in self.deltas]


def text(flusher: TextFlusher, number: int = 1) -> AttemptText:
    return AttemptText(AttemptRef(f"job-{number}", 1), flusher)


@pytest.fixture
async def sent() -> Sent:
    return Sent()


@pytest.fixture
async def flusher(sent: Sent) -> TextFlusher:
    flusher = TextFlusher(sent)
    flusher.resume(FRAME)
    return flusher


async def test_the_first_text_is_sent_at_once(sent: Sent, flusher: TextFlusher) -> None:
    text(flusher).append("Hello")
    assert sent.pieces == [(0, "Hello")]


async def test_later_chunks_are_sent_together_soon(sent: Sent, flusher: TextFlusher) -> None:
    one = text(flusher)
    for chunk in ("a", "b", "c", "d"):
        one.append(chunk)
    assert sent.pieces == [(0, "a")]
    await sent.until(2)
    assert sent.pieces == [(0, "a"), (1, "bcd")]


async def test_one_flush_serves_every_attempt(sent: Sent, flusher: TextFlusher) -> None:
    texts = [text(flusher, number) for number in range(3)]
    for one in texts:
        one.append("x")
        one.append("y")
    await sent.until(6)
    assert [(delta.job_id, delta.offset, delta.text) for delta in sent.deltas[3:]] == [
        ("job-0", 1, "y"),
        ("job-1", 1, "y"),
        ("job-2", 1, "y"),
    ]


async def test_offsets_count_code_points(sent: Sent, flusher: TextFlusher) -> None:
    one = text(flusher)
    one.append("🐎é")
    one.append("x")
    flusher.flush(one)
    assert sent.pieces == [(0, "🐎é"), (2, "x")]


async def test_text_that_comes_while_paused_is_sent_from_the_offset_asked_for(sent: Sent, flusher: TextFlusher) -> None:
    one = text(flusher)
    one.append("one ")
    one.append("two ")
    flusher.pause()
    one.append("three")
    flusher.resume(FRAME)
    one.rewind(2)
    flusher.flush(one)
    assert sent.pieces == [(0, "one "), (2, "e two three")]


async def test_an_offset_beyond_the_text_sends_nothing(sent: Sent, flusher: TextFlusher) -> None:
    one = text(flusher)
    one.append("abc")
    one.rewind(99)
    flusher.flush(one)
    one.append("d")
    flusher.flush(one)
    assert sent.pieces == [(0, "abc"), (3, "d")]


async def test_a_forgotten_text_is_not_sent(sent: Sent, flusher: TextFlusher) -> None:
    one, other = text(flusher, 1), text(flusher, 2)
    for each in (one, other):
        each.append("a")
        each.append("b")
    flusher.forget(one)
    await sent.until(3)
    assert [(delta.job_id, delta.text) for delta in sent.deltas[2:]] == [("job-2", "b")]


async def test_a_text_too_long_for_a_frame_is_cut(sent: Sent, flusher: TextFlusher) -> None:
    flusher.resume(1024 + 60)
    text(flusher).append("x" * 25)
    assert sent.pieces == [(0, "x" * 10), (10, "x" * 10), (20, "x" * 5)]


@given(st.lists(st.text(max_size=5), max_size=20), st.data())
def test_whatever_is_rewound_a_reader_has_no_gap_and_no_doubt(chunks: list[str], data: st.DataObject) -> None:
    seen = ""

    def read(delta: JobDelta) -> None:
        nonlocal seen
        assert delta.offset <= len(seen)
        seen = seen[: delta.offset] + delta.text

    async def play() -> None:
        flusher = TextFlusher(read)
        flusher.resume(FRAME)
        one = text(flusher)
        for chunk in chunks:
            one.append(chunk)
            match data.draw(st.sampled_from(["go on", "flush", "rewind"])):
                case "flush":
                    flusher.flush(one)
                case "rewind":
                    one.rewind(data.draw(st.integers(0, len(seen))))
        flusher.flush(one)
        flusher.pause()

    asyncio.run(play())
    assert seen == "".join(chunks)


async def test_thoughts_are_sent_apart_from_the_text_and_before_it(sent: Sent, flusher: TextFlusher) -> None:
    one = text(flusher)
    one.think("hm")
    one.think(", so")
    one.append("42")
    await sent.until(3)
    assert [(delta.kind, delta.offset, delta.text) for delta in sent.deltas] == [
        ("reasoning", 0, "hm"),
        ("reasoning", 0, ", so"),
        ("text", 0, "42"),
    ]
    assert one.joined() == "42"


async def test_thoughts_are_not_kept_for_a_connection_that_is_gone(sent: Sent, flusher: TextFlusher) -> None:
    one = text(flusher)
    flusher.pause()
    one.think("hm")
    one.append("42")
    flusher.resume(FRAME)
    one.rewind(0)
    await sent.until(1)
    assert [(delta.kind, delta.text) for delta in sent.deltas] == [("text", "42")]


class TestSignsOfLife:
    async def test_life_without_text_is_an_empty_text_where_the_next_one_belongs(
        self, sent: Sent, flusher: TextFlusher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(defaults, "SIGN_OF_LIFE_S", 0.0)
        one = text(flusher)
        one.alive()
        one.append("Hello")
        one.alive()
        assert sent.pieces == [(0, ""), (0, "Hello"), (5, "")]

    async def test_it_is_shown_once_in_a_while_and_not_beside_text(
        self, sent: Sent, flusher: TextFlusher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(defaults, "SIGN_OF_LIFE_S", 3600.0)
        one, other = text(flusher), text(flusher, 2)
        one.alive()
        one.alive()
        other.append("Hello")
        other.alive()
        assert sent.pieces == [(0, ""), (0, "Hello")]

    async def test_without_a_connection_nothing_is_shown(self, sent: Sent, flusher: TextFlusher) -> None:
        flusher.pause()
        text(flusher).alive()
        assert sent.deltas == []
