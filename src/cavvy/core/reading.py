"""What a result is by itself: a function of its bytes and of what they are to be, and of nothing else.

Reading a large result takes long, and needs nothing of the core's state: it can be done beforehand, anywhere. Whatever
depends on a job (who holds it, what was sent, what it costs) is never in a reading.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from cavvy import defaults
from cavvy.core import legacy_output
from cavvy.core.canonical import sha256_hex
from cavvy.core.job import FailureCode, JobType
from cavvy.core.results import parse_result, parse_task_result
from cavvy.errors import ReceiptInvalid

__all__ = ["Reading", "ResultForm", "read"]


class ResultForm(NamedTuple):
    """What a result has to be: of this type of job, by a worker of Cavvy's or (`legacy`) of Dispatch's."""

    job_type: JobType
    legacy: bool = False


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """`size` is that of the output in bytes: a model's text as it was streamed, anything else as it was signed.

    `model` is the one the result itself names. With a `flaw` it is no result of this form, and no receipt makes it one;
    with a `failure` it says in Dispatch's way that there is none.
    """

    result: bytes
    form: ResultForm
    output_hash: str
    size: int
    model: str | None = None
    flaw: str | None = None
    failure: FailureCode | None = None
    message: str = ""

    def is_of(self, result: bytes, form: ResultForm) -> bool:
        """Whether it is what `read` says of these very bytes in this form."""
        return self.form == form and self.result == result


def read(result: bytes, form: ResultForm) -> Reading:
    """All that can be said of these bytes. Takes a second for a large result, and never raises."""
    if form.legacy:
        return _legacy(result, form)
    return _task(result, form) if form.job_type is JobType.TASK else _answer(result, form)


def _answer(result: bytes, form: ResultForm) -> Reading:
    try:
        answer = parse_result(result)
    except ReceiptInvalid as error:
        return _flawed(result, form, str(error))
    size = len(answer.text.encode())
    return Reading(result=result, form=form, output_hash=sha256_hex(result), size=size, model=answer.model)


def _task(result: bytes, form: ResultForm) -> Reading:
    """One that is too long is not read: it comes to nothing whatever it holds."""
    try:
        if len(result) <= defaults.MAX_OUTPUT_BYTES:
            parse_task_result(result)
    except ReceiptInvalid as error:
        return _flawed(result, form, str(error))
    return Reading(result=result, form=form, output_hash=sha256_hex(result), size=len(result))


def _legacy(result: bytes, form: ResultForm) -> Reading:
    judged = legacy_output.judge(form.job_type, result)
    return Reading(
        result=result,
        form=form,
        output_hash=sha256_hex(result),
        size=len(result),
        model=judged.model,
        failure=judged.failure,
        message=judged.message,
    )


def _flawed(result: bytes, form: ResultForm, flaw: str) -> Reading:
    return Reading(result=result, form=form, output_hash=sha256_hex(result), size=len(result), flaw=flaw)
