"""What jobs result in: the objects that workers sign, and the text that people read of them."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from cavvy import defaults
from cavvy.core.canonical import canonical_flat, canonical_text
from cavvy.core.javascript import as_unicode
from cavvy.errors import ReceiptInvalid

__all__ = ["Name", "Result", "TaskResult", "output_text", "parse_result", "parse_task_result"]

Name = Annotated[str, Meta(min_length=1, max_length=defaults.MAX_NAME_CHARS)]


class Result(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The result of an LLM_INFER job: `text` is what was streamed, `model` what served it."""

    text: str
    model: Name
    finish_reason: Name


class TaskResult(msgspec.Struct, frozen=True, kw_only=True):
    """What is common to the results of TASK jobs: `method` says how it was made. There is no `error` in any."""

    method: Name
    error: msgspec.UnsetType = msgspec.UNSET


_decode_result = msgspec.json.Decoder(Result).decode
_decode_task = msgspec.json.Decoder(TaskResult).decode
_decode_any = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode


def parse_result(data: bytes) -> Result:
    """The result behind `data`. Raises ReceiptInvalid unless `data` are exactly its RFC 8785 bytes."""
    try:
        result = _decode_result(data)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ReceiptInvalid(f"the result cannot be read: {error}") from error
    if canonical_flat(result) != data:
        raise ReceiptInvalid("the result is not in RFC 8785 form")
    return result


def parse_task_result(data: bytes) -> TaskResult:
    """The same for the result of a TASK job: an object that says its `method`, with whatever the task is about."""
    try:
        result = _decode_task(data)
        exact = canonical_text(data.decode()) == data
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ReceiptInvalid(f"the result cannot be read: {error}") from error
    if not exact:
        raise ReceiptInvalid("the result is not in RFC 8785 form")
    return result


def output_text(result: bytes) -> str:
    """What people read of a result: the model's text, the summary, the sentiment, the JSON that was extracted; the
    whole of any other.
    """
    try:
        fields = _decode_any(as_unicode(result))
        for name in ("text", "summary", "sentiment"):
            if name in fields:
                return _decode_text(fields[name])
    except (ValueError, RecursionError):
        return result.decode(errors="replace")
    return bytes(fields.get("extracted", result)).decode()
