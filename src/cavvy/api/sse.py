"""Server-sent events, as bytes."""

from __future__ import annotations

from typing import Any

import msgspec

from cavvy import defaults
from cavvy.protocol.rest_events import Bye

__all__ = ["HEADERS", "HEARTBEAT", "MEDIA_TYPE", "bye", "event"]

MEDIA_TYPE = "text/event-stream"
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
HEARTBEAT = b": still here\n\n"
_encode = msgspec.json.Encoder().encode


def event(name: str, data: Any, event_id: str | None = None) -> bytes:
    """One event; JSON has no line breaks, so its data is one line."""
    head = f"event: {name}\n" if event_id is None else f"event: {name}\nid: {event_id}\n"
    return head.encode() + b"data: " + _encode(data) + b"\n\n"


def bye(reason: str | None = None) -> bytes:
    """The stream ends and is not whole: come back."""
    return event("bye", Bye(retry_ms=defaults.SSE_RETRY_MS, reason=reason))
