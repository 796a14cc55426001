"""What the API's description shows of trust."""

from __future__ import annotations

import msgspec

from cavvy.api import examples
from cavvy.core.trust import TrustStatus
from cavvy.protocol.fingerprint import worker_fingerprint
from cavvy.protocol.rest_trust import Claimed, NewTrustCode, TrustView

__all__ = ["CLAIM", "CLAIMED", "PAIRING", "TRUST_CODE", "TRUST_ID"]

TRUST_ID = "tru_5d1f0c9a37be42e68817"
_CREATED, _CLAIMED = "2026-11-22T00:24:47.599Z", "2026-11-22T00:25:31.014Z"
_CONFIRMED, _EXPIRES = "2026-11-22T00:25:58.733Z", "2026-11-22T01:24:47.599Z"

TRUST_CODE = NewTrustCode(pairing_code="3FA9C1", expires_at=_EXPIRES, id=TRUST_ID, user_id="owner")
CLAIMED = Claimed(user_id="alice", paired_at=_CLAIMED, status=TrustStatus.CLAIMED)
CLAIM = TrustView(
    id=TRUST_ID,
    status=TrustStatus.CLAIMED,
    user_id="owner",
    created_at=_CREATED,
    expires_at=_EXPIRES,
    provider_pubkey=examples.WORKER.key,
    fingerprint=worker_fingerprint(examples.WORKER.key),
    worker_id=examples.WORKER_ID,
    name=examples.WORKER.name,
    address="192.0.2.7",
)
PAIRING = msgspec.structs.replace(CLAIM, status=TrustStatus.PAIRED, expires_at=None, paired_at=_CONFIRMED)
