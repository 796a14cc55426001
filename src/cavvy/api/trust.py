"""Whom a user trusts with what is PRIVATE, over HTTP: codes, claims, confirmations, pairings."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from litestar import Response, Router, delete, get, post
from litestar.params import FromPath

from cavvy import defaults, logs
from cavvy.api import examples_trust as examples
from cavvy.api.auth import ANONYMOUS, OPERATES, READS, SUBMITS, Caller, Role
from cavvy.api.bodies import read_object
from cavvy.api.documented import documented, query
from cavvy.api.fields import checked_name, refuse
from cavvy.api.jobs import AnyRequest, Name, known_query
from cavvy.api.problems import ProblemError
from cavvy.api.services import Services, services
from cavvy.api.submission import parse_body
from cavvy.api.views import iso
from cavvy.coordinator.trust_codes import code_hash, new_code
from cavvy.core.commands import ClaimTrust, ConfirmTrust, CreateTrustCode, EndTrust, PairWorker
from cavvy.core.effects import Reply, ReplyCode
from cavvy.core.trust import Trust, TrustStatus
from cavvy.protocol.fingerprint import same_fingerprint, worker_fingerprint
from cavvy.protocol.rest_trust import (
    ClaimBody,
    Claimed,
    ConfirmBody,
    NewTrustCode,
    PairBody,
    TrustCodeBody,
    TrustList,
    TrustView,
)
from cavvy.store.base import WorkerRecord

__all__ = ["trust_router"]

log = logs.get_logger()

#: What Dispatch says in `error`.
NO_USER, NO_USER_IN_QUERY = "Missing user_id", "Missing user_id query param"
NO_CODE = "Missing pairing_code or provider_pubkey"

_KEY = re.compile("[0-9a-f]{64}")
_USER = query("user_id", "Whose, for a key that may act for users and for the operator's.", Name, "alice")
_REFUSALS = {
    ReplyCode.CODE_REFUSED: (
        "invalid_code",
        "No such code can be claimed here. One that was made with a key is claimed on the worker's machine:"
        " `cavvy trust claim CODE`.",
    ),
    ReplyCode.CODE_CLAIMED: ("already_claimed", "A code is good for one worker; let its user make another."),
    ReplyCode.CODE_EXPIRED: ("expired", "A code is good for an hour; let its user make another."),
    ReplyCode.TOO_MANY_CLAIMS: (
        "too_many_claims",
        "Too many wrong codes came; no code is looked at for up to an hour. `cavvy trust pair` needs none.",
    ),
    ReplyCode.NOT_CLAIMED: (
        "not_claimed",
        "There is no claim of a worker with this fingerprint to confirm; `cavvy trust list` shows what there is.",
    ),
    ReplyCode.NOT_FOUND: ("not_found", "There is nothing of this id; `cavvy trust list` shows what there is."),
    ReplyCode.WORKER_WAITS: ("worker_not_approved", "This worker waits for approval: approve it first."),
    ReplyCode.WORKER_REVOKED: ("worker_revoked", "This worker was revoked, which is for good."),
}
_RETRY = {ReplyCode.TOO_MANY_CLAIMS: {"Retry-After": str(defaults.WRONG_CLAIMS_WINDOW_S)}}


class _User(NamedTuple):
    """Whose trust a request is about, and who asks."""

    tenant: str
    user_id: str
    caller: Caller

    @property
    def named(self) -> dict[str, str]:
        return {"tenant": self.tenant, "user_id": self.user_id}


@post(
    "/v1/trust/create",
    operation_class=documented(
        "Make a code by which a worker asks for trust",
        body=TrustCodeBody,
        body_required=False,
        request_example=TrustCodeBody(user_id="owner"),
        answers={201: ("Shown once", NewTrustCode)},
        example=examples.TRUST_CODE,
        errors=("invalid_request",),
        words={"invalid_request": NO_USER},
    ),
)
async def create_trust_code(request: AnyRequest) -> Response[bytes]:
    """Good for one worker and one hour; a user has at most three, a fourth takes the place of the oldest. Who has
    claimed it is trusted only when its user has confirmed. Needs no key where Dispatch's clients are served without.
    """
    here = services(request)
    caller = here.caller_or_anonymous(request, *SUBMITS, *OPERATES)
    known_query(request)
    body = parse_body(await read_object(request, optional=True), TrustCodeBody)
    if caller is ANONYMOUS and not body.user_id:
        raise _missing(NO_USER)
    user = _user(here, caller, body.user_id)
    while True:
        code, ref = new_code(), here.engine.next_ref()
        command = CreateTrustCode(
            ref=ref,
            id=_new_id(),
            code_hash=code_hash(here.sessions.seed, code),
            keyed=caller is not ANONYMOUS,
            **user.named,
        )
        reply = await here.engine.ask(command, ref)
        if reply.code is ReplyCode.OK:
            break
    trust = _trust(reply)
    made = NewTrustCode(pairing_code=code, expires_at=iso(trust.expires_at_ms), id=trust.id, user_id=trust.user_id)
    return _json(made, 201)


@post(
    "/v1/trust/claim",
    status_code=200,
    operation_class=documented(
        "Claim a code that was made without a key",
        body=ClaimBody,
        request_example=ClaimBody(pairing_code="3FA9C1", provider_pubkey=examples.CLAIM.provider_pubkey),
        answers={200: ("Its user is asked to confirm", Claimed)},
        example=examples.CLAIMED,
        errors=("invalid_request", "invalid_code", "already_claimed", "expired", "too_many_claims"),
        words={"invalid_request": NO_CODE},
    ),
)
async def claim_trust_code(request: AnyRequest) -> Response[bytes]:
    """As Dispatch's workers do, which prove no key here. A code made with a key is claimed over a worker's own
    connection only. Wrong codes are counted; whoever sends too many is refused for an hour.
    """
    here = services(request)
    here.caller_or_anonymous(request, *SUBMITS)
    known_query(request)
    body = parse_body(await read_object(request), ClaimBody)
    if not body.pairing_code or not body.provider_pubkey:
        raise _missing(NO_CODE)
    if _KEY.fullmatch(body.provider_pubkey) is None:
        refuse("provider_pubkey", "must be 64 hex digits in lower case")
    ref, client = here.engine.next_ref(), request.scope.get("client")
    command = ClaimTrust(
        ref=ref,
        code_hash=code_hash(here.sessions.seed, body.pairing_code[: defaults.MAX_TRUST_CODE_CHARS]),
        worker=body.provider_pubkey,
        address=client[0] if client else "",
    )
    trust = _trust(await here.engine.ask(command, ref))
    return _json(Claimed(user_id=trust.user_id, paired_at=iso(here.clock().wall_ms), status=trust.status))


@get(
    "/v1/trust/list",
    operation_class=documented(
        "Whom a user trusts",
        answers={200: ("Pairings, claims and codes, oldest first", TrustList)},
        example=TrustList(providers=[examples.PAIRING], waiting=[examples.CLAIM]),
        words={"invalid_request": NO_USER_IN_QUERY},
        parameters=(_USER,),
    ),
)
async def list_trust(request: AnyRequest) -> Response[bytes]:
    """Never a code. Needs no key where Dispatch's clients are served without."""
    here = services(request)
    caller = here.caller_or_anonymous(request, *READS, *OPERATES)
    known_query(request, "user_id")
    given = request.query_params.get("user_id")
    if caller is ANONYMOUS and not given:
        raise _missing(NO_USER_IN_QUERY)
    user = _user(here, caller, given)
    workers = await _workers(here, user.tenant)
    shown = [_view(one, workers) for one in await here.store.trusts(user.tenant, user.user_id)]
    paired = [one for one in shown if one.status is TrustStatus.PAIRED]
    return _json(TrustList(providers=paired, waiting=[one for one in shown if one not in paired]))


@post(
    "/v1/trust/confirm",
    status_code=200,
    operation_class=documented(
        "Confirm a claim",
        body=ConfirmBody,
        request_example=ConfirmBody(id=examples.PAIRING.id, fingerprint=examples.PAIRING.fingerprint or ""),
        answers={200: ("They are paired", TrustView)},
        example=examples.PAIRING,
        errors=("not_found", "not_claimed", "worker_revoked"),
    ),
)
async def confirm_trust(request: AnyRequest) -> Response[bytes]:
    """The user has compared the fingerprint with what the worker shows. From now on the worker is given his PRIVATE
    jobs. The operator's key, or one of the tenant `dispatch`, confirms for those who send no key.
    """
    here = services(request)
    caller = here.caller(request, *SUBMITS, *OPERATES)
    known_query(request)
    body = parse_body(await read_object(request), ConfirmBody)
    user = _user(here, caller, body.user_id)
    mine = await here.store.trusts(user.tenant, user.user_id)
    trust = next((one for one in mine if one.id == body.id), None)
    if trust is None:
        raise _refusal(ReplyCode.NOT_FOUND)
    if trust.worker is None or not same_fingerprint(trust.worker, body.fingerprint):
        raise _refusal(ReplyCode.NOT_CLAIMED)
    ref = here.engine.next_ref()
    command = ConfirmTrust(ref=ref, id=trust.id, worker=trust.worker, **user.named)
    return await _changed(here, user, "worker_paired", await here.engine.ask(command, ref))


@post(
    "/v1/trust/pair",
    status_code=200,
    operation_class=documented(
        "Pair with a worker, without a code",
        body=PairBody,
        request_example=PairBody(worker="wrk_5e0b135c002eab7228e2"),
        answers={200: ("They are paired", TrustView)},
        example=examples.PAIRING,
        errors=("not_found", "worker_not_approved", "worker_revoked"),
    ),
)
async def pair_worker(request: AnyRequest) -> Response[bytes]:
    """With one that was let in and serves the tenant. From now on it is given the user's PRIVATE jobs. Twice is as
    once.
    """
    here = services(request)
    caller = here.caller(request, *SUBMITS, *OPERATES)
    known_query(request)
    body = parse_body(await read_object(request), PairBody)
    user = _user(here, caller, body.user_id)
    workers = (await _workers(here, user.tenant)).values()
    worker = next((one for one in workers if body.worker in (one.id, one.key)), None)
    if worker is None:
        raise ProblemError("not_found", "There is no worker of this id; `cavvy workers list` shows them.")
    ref = here.engine.next_ref()
    command = PairWorker(ref=ref, id=_new_id(), worker=worker.key, **user.named)
    return await _changed(here, user, "worker_paired", await here.engine.ask(command, ref))


@delete(
    "/v1/trust/{trust_id:str}",
    status_code=200,
    operation_class=documented(
        "End a pairing, refuse a claim, withdraw a code",
        answers={200: ("What has ended", TrustView)},
        example=examples.PAIRING,
        parameters=(_USER,),
    ),
)
async def end_trust(request: AnyRequest, trust_id: FromPath[str]) -> Response[bytes]:
    """At once: what waits goes to others, and what the worker runs of this user's PRIVATE jobs is stopped and given to
    another one that he trusts.
    """
    here = services(request)
    caller = here.caller(request, *SUBMITS, *OPERATES)
    known_query(request, "user_id")
    user = _user(here, caller, request.query_params.get("user_id"))
    ref = here.engine.next_ref()
    command = EndTrust(ref=ref, id=trust_id, **user.named)
    return await _changed(here, user, "trust_ended", await here.engine.ask(command, ref))


def _user(here: Services, caller: Caller, given: str | None) -> _User:
    """Whose trust it is. The operator's key is for those who send none. Raises ProblemError, InvalidInput."""
    checked_name(given, "user_id")
    if caller.role is Role.OPERATOR:
        if not here.dispatch:
            detail = "The operator's key is for the users of --dispatch, who send none; use a key of the user's tenant."
            raise ProblemError("forbidden", detail)
        if given is None:
            refuse("user_id", "must be given: which of those who send no key it is about")
        return _User(defaults.DISPATCH_TENANT, given, caller)
    if given not in (None, caller.user_id) and not caller.act_for_users:
        detail = "This key may not act for users: leave 'user_id' out, or use one made with --act-for-users."
        raise ProblemError("forbidden", detail, field="user_id")
    return _User(caller.tenant, given or caller.user_id, caller)


async def _workers(here: Services, tenant: str) -> dict[str, WorkerRecord]:
    """Those that may serve the tenant, by key; see core.matching.serves."""
    owners = (tenant, defaults.TENANT) if tenant == defaults.DISPATCH_TENANT else (tenant,)
    return {one.key: one for owner in owners for one in await here.store.workers(owner)}


async def _changed(here: Services, user: _User, event: str, reply: object) -> Response[bytes]:
    trust = _trust(reply)
    log.info(event, trust=trust.id, status=trust.status.value, by=user.caller.key_id)
    return _json(_view(trust, await _workers(here, user.tenant)))


def _view(trust: Trust, workers: Mapping[str, WorkerRecord]) -> TrustView:
    """`workers`, by key, are those whose names its user may see."""
    worker = workers.get(trust.worker or "")
    return TrustView(
        id=trust.id,
        status=trust.status,
        user_id=trust.user_id,
        created_at=iso(trust.created_at_ms),
        expires_at=None if trust.status is TrustStatus.PAIRED else iso(trust.expires_at_ms),
        provider_pubkey=trust.worker,
        fingerprint=worker_fingerprint(trust.worker) if trust.worker else None,
        worker_id=worker.id if worker else None,
        name=worker.name if worker else None,
        address=trust.address or None,
        paired_at=None if trust.paired_at_ms is None else iso(trust.paired_at_ms),
    )


def _trust(reply: object) -> Trust:
    """What the core answers. Raises ProblemError when it refused."""
    assert isinstance(reply, Reply)
    if reply.code is not ReplyCode.OK or reply.trust is None:
        raise _refusal(reply.code)
    return reply.trust


def _refusal(code: ReplyCode) -> ProblemError:
    return ProblemError(*_REFUSALS[code], headers=_RETRY.get(code))


def _missing(error: str) -> ProblemError:
    return ProblemError("invalid_request", f"{error}.", error=error)


def _new_id() -> str:
    return f"tru_{secrets.token_hex(10)}"


def _json(body: Any, status: int = 200) -> Response[bytes]:
    headers = {"Cache-Control": "no-store"}
    return Response(msgspec.json.encode(body), status_code=status, media_type="application/json", headers=headers)


trust_router = Router(
    "/",
    route_handlers=[create_trust_code, claim_trust_code, list_trust, confirm_trust, pair_worker, end_trust],
)
