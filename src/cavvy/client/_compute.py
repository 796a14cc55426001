"""What `ComputeRouter` says to a coordinator, in Dispatch's dialect: quote, commit, poll, cancel.

Flows like those of `_flow`. Only routes and fields of Dispatch are used, so an original coordinator is understood as
well; what it answers carelessly (a bad receipt, an error called completed) is not taken for an answer.
"""

from __future__ import annotations

import hashlib
import re
import time
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from cavvy import defaults
from cavvy.client import _protocol as protocol
from cavvy.client._flow import PATIENCE_S, Flow, Flows, Pause
from cavvy.client._protocol import Request
from cavvy.core.javascript import as_unicode
from cavvy.errors import ClientError, ComputeFailed, InvalidInput, RequestRefused

__all__ = ["Answer", "ComputeQuote", "Dialect", "Work", "llm_work", "task_work"]

POLICIES = ("AUTO", "CHEAP", "FAST")
PRIVACY = ("PUBLIC", "PRIVATE")
JOB_TYPES = ("LLM_INFER", "TASK")
_TIERS = {"LLM_INFER": "FAST", "TASK": "CHEAP"}
#: Stands for half a character, here and in what Cavvy shows: what is seen then is not, byte by byte, what was signed.
_MENDED = "\ufffd".encode()
_HALF = re.compile("[\ud800-\udfff]")
_JSON = {"Content-Type": "application/json"}


class Work(NamedTuple):
    """What is asked for."""

    job_type: str
    payload: dict[str, Any]
    user_id: str
    policy: str = "AUTO"
    privacy: str = "PUBLIC"

    @property
    def private(self) -> bool:
        return self.privacy == "PRIVATE"

    @property
    def patience_s(self) -> float:
        """How long its job may take from the commit on."""
        return defaults.COMMIT_LLM_TIMEOUT_S if self.job_type == "LLM_INFER" else defaults.COMMIT_TASK_TIMEOUT_S


class Answer(NamedTuple):
    """What a route gave: the output and, from a coordinator, price, receipt and job."""

    output: Any
    price: str | None = None
    receipt: dict[str, Any] | None = None
    job_id: str | None = None


class ComputeQuote(msgspec.Struct, frozen=True, kw_only=True):
    """A price as it is now. `policy_resolved` is FAST or CHEAP; `expires_at` is None where a price has no end."""

    price: str
    endpoint: str
    policy_resolved: str
    network: str | None = None
    expires_at: str | None = None


class _Committed(msgspec.Struct, frozen=True):
    job_id: str


class _Polled(msgspec.Struct, frozen=True):
    status: str
    result: msgspec.Raw = msgspec.Raw(b"null")
    receipt: dict[str, Any] | None = None


def llm_work(prompt: str, max_tokens: int | None, **fields: str) -> Work:
    """An LLM_INFER job. Raises InvalidInput."""
    _check_text("prompt", prompt)
    payload: dict[str, Any] = {"job_type": "LLM_INFER", "prompt": prompt}
    if max_tokens is not None:
        payload["max_tokens"] = max_tokens
    return _checked(Work("LLM_INFER", payload, **fields))


def task_work(task_type: str, given: str, **fields: str) -> Work:
    """A TASK job. Raises InvalidInput."""
    _check_text("task_type", task_type)
    _check_text("input", given)
    return _checked(Work("TASK", {"job_type": "TASK", "task_type": task_type, "input": given}, **fields))


def _checked(work: Work) -> Work:
    _check_text("user_id", work.user_id)
    _check_one_of("policy", work.policy, POLICIES)
    _check_one_of("privacy", work.privacy, PRIVACY)
    return work


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str) or not value:
        raise InvalidInput("invalid_field", f"{name} has to be text, and not empty", field=name)
    if _HALF.search(value):
        raise InvalidInput("invalid_field", f"{name} holds half a character, a lone surrogate", field=name)


def _check_one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    """Exactly: what is nearly PRIVATE must never be taken for PUBLIC."""
    if value not in allowed:
        raise InvalidInput("invalid_field", f"{name} is one of {', '.join(allowed)}, not {value!r}", field=name)


class Dialect:
    """Dispatch's REST routes at `url`. `clock` is monotonic, in seconds."""

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._flows = Flows(url)
        self._clock = clock

    def quote(self, job_type: str, policy: str) -> Flow[ComputeQuote]:
        """The price of a job. Raises InvalidInput, RequestRefused, NoCoordinator."""
        _check_one_of("job_type", job_type, JOB_TYPES)
        _check_one_of("policy", policy, POLICIES)
        return self._flows.fetch(protocol.get("/v1/quote", job_type=job_type, policy=policy), ComputeQuote)

    def run(self, work: Work) -> Flow[Answer]:
        """The completed job's answer. Raises ComputeFailed and other ClientErrors."""
        quote = yield from self.quote(work.job_type, work.policy)
        job_id = yield from self._commit(work, quote)
        polled = yield from self._ended(job_id, work.patience_s)
        return _answer(polled, job_id, quote.price)

    def _commit(self, work: Work, quote: ComputeQuote) -> Flow[str]:
        try:
            answer = yield from self._flows.fetch(_commit_request(work, quote), _Committed)
        except RequestRefused as refusal:
            raise _uncommitted(refusal) from refusal
        return answer.job_id

    def _ended(self, job_id: str, patience_s: float) -> Flow[_Polled]:
        """The job once it has ended; one that takes too long is cancelled, unless its end came before that."""
        deadline = self._clock() + patience_s
        while (remaining := deadline - self._clock()) > 0:
            asked_at = self._clock()
            polled = yield from self._poll(job_id, remaining)
            if polled.status in ("completed", "failed"):
                return polled
            pause_s = min(asked_at + defaults.ROUTER_POLL_S, deadline) - self._clock()
            if pause_s > 0:
                yield Pause(pause_s)  # whatever answers at once does not know how to wait
        return (yield from self._cancel(job_id, patience_s))

    def _poll(self, job_id: str, remaining_s: float) -> Flow[_Polled]:
        """Asks to be answered when the job has ended. A coordinator that is away for a moment is waited for."""
        request = protocol.job_request(job_id, min(int(remaining_s), defaults.MAX_WAIT_S))
        body = yield from self._flows.body(request, patience_s=min(PATIENCE_S, remaining_s))
        return _polled(body)

    def _cancel(self, job_id: str, patience_s: float) -> Flow[_Polled]:
        waited = f"job {job_id} had not ended after {patience_s:g} s"
        try:
            body = yield from self._flows.body(protocol.cancel_request(job_id, f"not done within {patience_s:g} s"))
            polled = _polled(body)
        except ClientError as error:
            raise ComputeFailed(
                f"{waited}; it could not be cancelled and may go on ({error})", code="timeout", job_id=job_id
            ) from error
        if polled.status == "completed":
            return polled
        raise ComputeFailed(f"{waited} and was cancelled", code="timeout", job_id=job_id)


def _tier(work: Work, quote: ComputeQuote) -> str:
    if quote.policy_resolved in ("CHEAP", "FAST"):
        return quote.policy_resolved
    return _TIERS[work.job_type] if work.policy == "AUTO" else work.policy


def _commit_request(work: Work, quote: ComputeQuote) -> Request:
    """Repeated at Cavvy's only, which knows the Idempotency-Key: an original coordinator would make two jobs of it."""
    body = {
        "job_type": work.job_type,
        "payload": work.payload,
        "user_id": work.user_id,
        "privacy_class": work.privacy,
    }
    headers = _JSON | {"Idempotency-Key": str(uuid.uuid4())}
    path = f"/v1/jobs/commit/{_tier(work, quote).lower()}"
    return Request("POST", path, headers, msgspec.json.encode(body), repeat=quote.network == defaults.DISPATCH_NETWORK)


def _uncommitted(refusal: RequestRefused) -> ComputeFailed:
    if refusal.status == 402:
        return ComputeFailed("the coordinator wants to be paid first (402), which is not supported", code="payment")
    code = str(refusal.problem.get("error") or refusal.code)
    job_id = refusal.problem.get("job_id")
    if "no_trusted_worker" in (code, refusal.code):
        return ComputeFailed(
            "Privacy enforcement: no_trusted_worker; no worker that this user trusts is there: pair one with"
            " `cavvy trust create`, or start it",
            code="no_trusted_worker",
            job_id=job_id,
        )
    if "stopped" in (code, refusal.code):
        return ComputeFailed(str(refusal), code="stopped")
    return ComputeFailed(str(refusal), code=refusal.code, job_id=job_id)


def _answer(polled: _Polled, job_id: str, price: str) -> Answer:
    """What the job answered. Raises ComputeFailed if that is nothing one may rely on."""
    output, receipt = protocol.decode(bytes(polled.result), Any), polled.receipt
    said = str(output["error"]) if isinstance(output, dict) and output.get("error") else None
    if polled.status == "failed":
        raise ComputeFailed(f"job {job_id} failed: {said or 'no reason given'}", code=said, job_id=job_id)
    if said is not None:
        raise ComputeFailed(f"job {job_id} answered with an error: {said}", code="worker_error", job_id=job_id)
    if isinstance(output, dict) and output.get("stub") is True:
        raise ComputeFailed(f"job {job_id} was answered by no model", code="worker_error", job_id=job_id)
    if receipt is not None:
        _check_receipt(receipt, bytes(polled.result), job_id)
    return Answer(output, price, receipt, job_id)


def _polled(body: bytes) -> _Polled:
    """Half a character is text in JavaScript, so in what an original coordinator says it is one: it is mended."""
    try:
        body = as_unicode(body)
    except (ValueError, RecursionError) as error:
        raise ClientError("what answered does not speak Dispatch's dialect; check the URL") from error
    return protocol.decode(body, _Polled)


def _check_receipt(receipt: dict[str, Any], result: bytes, job_id: str) -> None:
    wrong = None
    if receipt.get("verified") is not True:
        wrong = "does not verify"
    elif receipt.get("job_id") != job_id:
        wrong = "is of another job"
    elif _MENDED not in result and receipt.get("output_hash") != hashlib.sha256(result).hexdigest():
        wrong = "is of another output"
    if wrong:
        raise ComputeFailed(f"the receipt of job {job_id} {wrong}", code="rejected_receipt", job_id=job_id)
