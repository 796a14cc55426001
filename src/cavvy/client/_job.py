"""The job as callers of the SDK see it."""

from __future__ import annotations

from typing import Any

import msgspec

from cavvy import defaults
from cavvy.client.receipt import Receipt, envelope_of
from cavvy.core.job import TERMINAL, AttemptEnd, FailureCode, JobStatus
from cavvy.protocol.rest_job import AttemptView, CancelView, FailureView, QueueView, TimelineEntry, UsageView
from cavvy.protocol.rest_receipt import ReceiptView

__all__ = ["Job", "JobPage"]

_NULL = b"null"
_MENDED = "\ufffd".encode()


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job as the coordinator showed it at one moment; ask again for a newer one.

    The fields are those of the HTTP API (`rest_job.Job`). Times are ISO 8601 with milliseconds and `Z`. In lists
    the texts are None; since `erased_at` they are gone for good. `result` is decoded when asked for. `receipt_view` is
    the receipt as the API shows it, `verified` by the coordinator's word; `receipt` is the one to verify yourself.
    """

    id: str
    number: int
    status: JobStatus
    job_type: str
    privacy_class: str
    user_id: str
    created_at: str
    completed_at: str | None = None
    erased_at: str | None = None
    model: str | None = None
    served_model: str | None = None
    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None
    task_type: str | None = None
    input: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    stop: list[str] | None = None
    metadata: dict[str, Any] | None = None
    result_json: msgspec.Raw = msgspec.field(name="result", default_factory=lambda: msgspec.Raw(_NULL))
    output: str | None = None
    output_hash: str | None = None
    input_salt: str | None = None
    usage: UsageView | None = None
    failure: FailureView | None = None
    cancel_requested: CancelView | None = None
    queue: QueueView | None = None
    attempt: int = 0
    tries: int = 0
    effort: str = "standard"
    thread_id: str | None = None
    timeout_s: float = defaults.TIMEOUT_S
    first_token_timeout_s: float = defaults.FIRST_TOKEN_TIMEOUT_S
    stall_timeout_s: float = defaults.STALL_TIMEOUT_S
    match_window_s: float | None = None
    max_attempts: int = defaults.MAX_ATTEMPTS
    deadline: str | None = None
    not_before: str | None = None
    payment_ref: str | None = None
    attempts: list[AttemptView] = []
    timeline: list[TimelineEntry] = []
    policy: str | None = None
    price: str | None = None
    receipt_view: ReceiptView | None = msgspec.field(name="receipt", default=None)

    @property
    def terminal(self) -> bool:
        """Completed or failed: nothing changes any more."""
        return self.status in TERMINAL

    @property
    def result(self) -> dict[str, Any] | None:
        """What was signed: `text`, `model`, `finish_reason`, or the task's object; `{"error": code}` if it failed;
        None before the end.
        """
        value: dict[str, Any] | None = msgspec.json.decode(self.result_json)
        return value

    @property
    def receipt(self) -> Receipt | None:
        """The worker's signed statement about the result; None unless the job is completed.

        It knows the result, and the key of the worker that completed the job by the coordinator's word. Where one of
        Dispatch's workers answered with half a character, it wants the exact bytes: `verify(result=cavvy.result(id))`.
        """
        if self.receipt_view is None:
            return None
        result = bytes(self.result_json)
        return Receipt(
            envelope_of(self.receipt_view),
            key=self._holder(),
            result=None if result == _NULL else result,
            job_id=self.id,
            mended=self.receipt_view.v is None and _MENDED in result,
        )

    @property
    def aborted(self) -> bool:
        """Somebody stopped it: `failure` says who, when and why."""
        return self.failure is not None and self.failure.code is FailureCode.ABORTED

    def _holder(self) -> str | None:
        return next((view.worker for view in self.attempts if view.end == AttemptEnd.COMPLETED), None)


class JobPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a list, newest first; `cursor` gets the next, None on the last."""

    jobs: list[Job]
    cursor: str | None = None
