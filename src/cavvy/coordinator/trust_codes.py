"""Codes by which a worker asks for a user's trust: how they are made and kept, and what its socket says of them."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING, Literal

from cavvy.core.commands import ClaimTrust
from cavvy.core.effects import ReplyCode, TrustAnswered
from cavvy.core.trust import TrustStatus
from cavvy.protocol import messages as wire
from cavvy.protocol.fingerprint import worker_fingerprint

if TYPE_CHECKING:
    from cavvy.coordinator.session import Session

__all__ = ["claim_of", "code_hash", "new_code", "no_result", "trust_result"]


def new_code() -> str:
    """Six digits (hex, upper case), as Dispatch's are."""
    return secrets.token_hex(3).upper()


def code_hash(seed: bytes, code: str) -> bytes:
    """What is kept of a code; without the coordinator's seed nobody finds the code by trying all there are."""
    pepper = hmac.digest(seed, b"cavvy/trust-code/v1", hashlib.sha256)
    return hmac.digest(pepper, code.strip().upper().encode(), hashlib.sha256)


def claim_of(session: Session, code: str) -> ClaimTrust:
    """The command behind a `trust_claim` frame on this socket, which has proven its key."""
    return ClaimTrust(
        ref=session.engine.next_ref(),
        code_hash=code_hash(session.all.seed, code),
        worker=session.worker,
        address=session.address,
        session=session.id,
    )


def trust_result(effect: TrustAnswered) -> wire.TrustResult:
    if effect.code is not ReplyCode.OK or effect.trust is None or effect.trust.worker is None:
        return wire.TrustResult(status="refused", code=effect.code.value)
    paired = effect.trust.status is TrustStatus.PAIRED
    status: Literal["paired", "awaiting_confirmation"] = "paired" if paired else "awaiting_confirmation"
    return wire.TrustResult(status=status, fingerprint=worker_fingerprint(effect.trust.worker))


def no_result() -> wire.TrustResult:
    """While the store takes no writes."""
    return wire.TrustResult(status="refused", code="store_unavailable")
