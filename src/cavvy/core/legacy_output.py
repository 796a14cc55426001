"""What a worker of Dispatch's answers: a result, or a failure that looks like one.

Its workers know no frame for a failure. They send `{"error": …}`, or, when their model cannot be reached, an answer
that was made up (a stub), signed like any other.
"""

from __future__ import annotations

from typing import Any

import msgspec

from cavvy import defaults
from cavvy.core import javascript
from cavvy.core.job import FailureCode, JobType

__all__ = ["TASK_MODEL", "UNNAMED_MODEL", "LegacyOutput", "judge"]

#: What is shown as the model of a task, and of an answer that names none.
TASK_MODEL = "dispatch/task"
UNNAMED_MODEL = "dispatch/unnamed"

_STUB_MODEL = "stub-v1"
_STUB_TEXT = b'"[STUB]'
_NULL = msgspec.Raw(b"null")
#: What else is in an output may be long, and is nobody's business here.
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class LegacyOutput(msgspec.Struct, frozen=True, kw_only=True):
    """A result of `model`; or, with a `failure`, none."""

    model: str = UNNAMED_MODEL
    failure: FailureCode | None = None
    message: str = ""


def judge(job_type: JobType, result: bytes) -> LegacyOutput:
    """What an output (its JSON) is worth."""
    try:
        return _worth(job_type, _members(javascript.as_unicode(result)))
    except msgspec.ValidationError:
        return _unfit("The worker's output is not an object.")
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        return _unfit(f"The worker's output cannot be read: {error}.")


def _worth(job_type: JobType, output: dict[str, msgspec.Raw]) -> LegacyOutput:
    if (said := _value(output, "error")) is not None:
        return _failed(f"The worker failed: {_words(said)}")
    if _is_stub(output):
        return _failed("The worker could not reach its model and made up an answer, which is not passed on.")
    if job_type is JobType.TASK:
        return LegacyOutput(model=TASK_MODEL)
    if not bytes(output.get("text", _NULL)).startswith(b'"'):
        return _unfit("The worker's output has no text.")
    return LegacyOutput(model=_model(_value(output, "model")))


def _value(output: dict[str, msgspec.Raw], name: str) -> Any:
    return javascript.parse(bytes(output.get(name, _NULL)))


def _is_stub(output: dict[str, msgspec.Raw]) -> bool:
    made_up = bytes(output.get("text", _NULL)).startswith(_STUB_TEXT)
    return bool(_value(output, "stub")) or _value(output, "model") == _STUB_MODEL or made_up


def _model(name: Any) -> str:
    fits = isinstance(name, str) and 0 < len(name) <= defaults.MAX_NAME_CHARS
    return name if fits else UNNAMED_MODEL


def _words(error: Any) -> str:
    text = error if isinstance(error, str) else javascript.stringify(error).decode()
    return text[: defaults.MAX_FAILURE_CHARS - 64]


def _failed(message: str) -> LegacyOutput:
    return LegacyOutput(failure=FailureCode.WORKER_ERROR, message=message)


def _unfit(message: str) -> LegacyOutput:
    return LegacyOutput(failure=FailureCode.INVALID_OUTPUT, message=message)
