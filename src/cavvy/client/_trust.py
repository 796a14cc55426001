"""What both clients ask about trust: each request, and what the answer is."""

from __future__ import annotations

from urllib.parse import quote

import msgspec

from cavvy.client._protocol import Request, get
from cavvy.protocol.rest_trust import ConfirmBody, PairBody, TrustCodeBody

__all__ = ["code_request", "confirm_request", "end_request", "list_request", "pair_request"]

_JSON = {"Content-Type": "application/json"}


def code_request(user: str | None) -> Request:
    """Not repeated: each answer is a code more."""
    return _post("/v1/trust/create", TrustCodeBody(user_id=user), repeat=False)


def list_request(user: str | None) -> Request:
    return get("/v1/trust/list", user_id=user)


def confirm_request(trust_id: str, fingerprint: str, user: str | None) -> Request:
    """Not repeated: there is nothing left to confirm when the first one was carried out."""
    body = ConfirmBody(id=trust_id, fingerprint=fingerprint, user_id=user)
    return _post("/v1/trust/confirm", body, repeat=False)


def pair_request(worker: str, user: str | None) -> Request:
    """Repeated: twice is as once."""
    return _post("/v1/trust/pair", PairBody(worker=worker, user_id=user), repeat=True)


def end_request(trust_id: str, user: str | None) -> Request:
    """Not repeated: it is gone when the first one was carried out."""
    path = get(f"/v1/trust/{quote(trust_id, safe='')}", user_id=user).path
    return Request("DELETE", path, repeat=False)


def _post(path: str, body: msgspec.Struct, *, repeat: bool) -> Request:
    return Request("POST", path, _JSON, msgspec.json.encode(body), repeat=repeat)
