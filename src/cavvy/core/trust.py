"""Trust, as data: one user's word that a worker may run his PRIVATE jobs, from the code to the pairing."""

from __future__ import annotations

from enum import StrEnum

import msgspec

__all__ = ["Trust", "TrustStatus"]


class TrustStatus(StrEnum):
    OPEN = "open"  # a code that nobody has claimed
    CLAIMED = "awaiting_confirmation"
    PAIRED = "paired"


class Trust(msgspec.Struct, frozen=True, kw_only=True):
    """`code_hash` claims it, and what is claimed may be confirmed, before `expires_at_ms`; a pairing does not expire.

    `worker` (key, hex) has claimed it, from `address`; before `paired_at_ms` that means nothing. `keyed`: its user has
    sent a key for the code, so only a worker that has proven its own may claim it, and the user confirms.
    """

    id: str
    tenant: str
    user_id: str
    created_at_ms: int
    expires_at_ms: int
    code_hash: bytes = b""
    keyed: bool = True
    worker: str | None = None
    address: str = ""
    paired_at_ms: int | None = None

    @property
    def status(self) -> TrustStatus:
        if self.worker is None:
            return TrustStatus.OPEN
        return TrustStatus.CLAIMED if self.paired_at_ms is None else TrustStatus.PAIRED

    @property
    def pairs(self) -> str | None:
        """The worker that its user trusts; None before he has confirmed it."""
        return None if self.paired_at_ms is None else self.worker
