from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cavvy.client import _sse
from cavvy.client._sse import Event, SseParser
from cavvy.errors import ClientError

PAGE = (
    "\ufeff: a comment\n\n"
    "event: job\ndata: {}\n\n"
    "id: 1.5\r\nevent: delta\r\ndata: first\r\ndata: second ünï🐎\r\n\r\n"
    "data:no space\rid\rretry: 5\r\r"
    "event: unfinished\n\n"
    "id: bad\0id\ndata\n\n"
    "id: 1.end\nevent: end\ndata:  two spaces\n\n"
    "data: cut off"
).encode()
EVENTS = [
    Event("job", "{}", ""),
    Event("delta", "first\nsecond ünï🐎", "1.5"),
    Event("message", "no space", ""),
    Event("message", "", ""),
    Event("end", " two spaces", "1.end"),
]


def parsed(chunks: list[bytes]) -> list[Event]:
    parser = SseParser()
    return [event for chunk in chunks for event in parser.feed(chunk)]


def test_events_are_read_as_the_standard_says() -> None:
    assert parsed([PAGE]) == EVENTS


@given(st.lists(st.integers(0, len(PAGE)), max_size=40))
def test_the_same_events_come_however_the_bytes_are_cut(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(PAGE)]
    assert parsed([PAGE[start:stop] for start, stop in itertools.pairwise(edges)]) == EVENTS


def test_the_same_events_come_byte_by_byte() -> None:
    assert parsed([bytes([byte]) for byte in PAGE]) == EVENTS


@given(st.binary(max_size=200))
def test_no_bytes_break_the_parser(data: bytes) -> None:
    parsed([data])


@pytest.mark.parametrize("flood", [b"x" * 60, b"data: x\n" * 60])
def test_an_endless_event_is_an_error(monkeypatch: pytest.MonkeyPatch, flood: bytes) -> None:
    monkeypatch.setattr(_sse, "MAX_EVENT_CHARS", 50)
    with pytest.raises(ClientError, match="endless"):
        parsed([flood])
