"""What `ComputeRouter` says to a coordinator, in Dispatch's dialect: quote, commit, poll, cancel.

Flows like those of `_flow`. Only routes and fields of Dispatch are used, so an original coordinator is understood as
well; what it answers carelessly (a bad receipt, an error called completed) is not taken for an answer.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from cavvy import defaults
from cavvy.client import _protocol as protocol
from cavvy.client._flow import RETRIED, Flow, Flows, Pause, Send
from cavvy.client._protocol import Lost, Request
from cavvy.client._work import JOB_TYPES, POLICIES, Work, check_one_of
from cavvy.core.javascript import as_unicode
from cavvy.errors import CertificateRefused, ClientError, ComputeFailed, RequestRefused

__all__ = ["Answer", "ComputeQuote", "Dialect", "code_of"]

_TIERS = {"LLM_INFER": "FAST", "TASK": "CHEAP"}
#: Stands for half a character, here and in what Cavvy shows: what is seen then is not, byte by byte, what was signed.
_MENDED = "\ufffd".encode()
_JSON = {"Content-Type": "application/json"}


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


class Dialect:
    """Dispatch's REST routes at `url`. `clock` is monotonic, in seconds."""

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._flows = Flows(url)
        self._clock = clock

    def quote(self, job_type: str, policy: str) -> Flow[ComputeQuote]:
        """The price of a job. Raises InvalidInput, RequestRefused, NoCoordinator."""
        check_one_of("job_type", job_type, JOB_TYPES)
        check_one_of("policy", policy, POLICIES)
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
        """The job once it has ended. One that is given up is cancelled: nobody but this caller knows of it."""
        try:
            return (yield from self._awaited(job_id, patience_s))
        except ClientError as error:
            return (yield from self._cancelled(job_id, error))
        except GeneratorExit:
            raise
        except BaseException:  # Ctrl-C, or the caller's task is cancelled
            yield Send(_cancel_request(job_id, "its client has left"))
            raise

    def _awaited(self, job_id: str, patience_s: float) -> Flow[_Polled]:
        """A coordinator that is away is waited for: it may be starting again."""
        deadline = self._clock() + patience_s
        while (remaining := deadline - self._clock()) > 0:
            asked_at = self._clock()
            polled = yield from self._poll(job_id, remaining)
            if polled is not None and polled.status in ("completed", "failed"):
                return polled
            pause_s = min(asked_at + defaults.ROUTER_POLL_S, deadline) - self._clock()
            if pause_s > 0:
                yield Pause(pause_s)  # whatever answers at once does not know how to wait
        raise ComputeFailed(f"job {job_id} had not ended after {patience_s:g} s", code="timeout")

    def _poll(self, job_id: str, remaining_s: float) -> Flow[_Polled | None]:
        """Asks to be answered when the job has ended; None when no answer comes."""
        request = protocol.job_request(job_id, min(int(remaining_s), defaults.MAX_WAIT_S))
        reply = yield Send(request._replace(within_s=remaining_s + defaults.ROUTER_ANSWER_S))
        if isinstance(reply, Lost) or reply.status in RETRIED:
            return None
        return _polled(protocol.expect_ok(reply))

    def _cancelled(self, job_id: str, given_up: ClientError) -> Flow[_Polled]:
        """Its end, if that came before the cancel. Raises ComputeFailed if not."""
        late, code = isinstance(given_up, ComputeFailed), code_of(given_up)
        why = str(given_up) if late else f"job {job_id} is out of sight ({given_up})"
        try:
            body = yield from self._flows.body(_cancel_request(job_id, "its client gave it up"))
            polled = _polled(body)
        except ClientError as error:
            told = f"{why}; it could not be cancelled and may go on ({error})"
            raise ComputeFailed(told, code=code, job_id=job_id) from given_up
        if polled.status == "completed":
            return polled
        raise ComputeFailed(f"{why} and was cancelled", code=code, job_id=job_id) from given_up


def code_of(error: ClientError) -> str | None:
    """The documented code behind `error`, where it has one."""
    if isinstance(error, CertificateRefused):
        return "certificate_refused"
    code: str | None = getattr(error, "code", None)
    return code


def _cancel_request(job_id: str, reason: str) -> Request:
    return protocol.cancel_request(job_id, reason)._replace(within_s=defaults.ROUTER_ANSWER_S)


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
    output: Any = protocol.decode(bytes(polled.result), Any)
    said = output.get("error") if isinstance(output, dict) else None
    if polled.status == "failed":
        code = str(said) if said else None
        raise ComputeFailed(f"job {job_id} failed: {code or 'no reason given'}", code=code, job_id=job_id)
    wrong: str | None = None
    if said not in (None, False):
        wrong = f"answered with an error: {said}"
    elif output is None:
        wrong = "answered nothing"
    elif isinstance(output, dict) and output.get("stub") is True:
        wrong = "was answered by no model"
    if wrong:
        raise ComputeFailed(f"job {job_id} {wrong}", code="worker_error", job_id=job_id)
    if polled.receipt is not None:
        _check_receipt(polled.receipt, bytes(polled.result), job_id)
    return Answer(output, price, polled.receipt, job_id)


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
