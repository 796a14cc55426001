"""Trust between users and workers, as the native API shows it; `pairing_code`, `provider_pubkey` and so on are
Dispatch's names.
"""

from __future__ import annotations

import msgspec

from cavvy.core.trust import TrustStatus

__all__ = [
    "ClaimBody",
    "Claimed",
    "ConfirmBody",
    "NewTrustCode",
    "PairBody",
    "TrustCodeBody",
    "TrustList",
    "TrustView",
]


class TrustCodeBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`POST /v1/trust/create`. Whose code it is: the key's user, unless the key may act for users."""

    user_id: str | None = None


class ClaimBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`POST /v1/trust/claim`."""

    pairing_code: str | None = None
    provider_pubkey: str | None = None


class ConfirmBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`POST /v1/trust/confirm`: `fingerprint` is what the worker shows on its own screen."""

    id: str
    fingerprint: str
    user_id: str | None = None


class PairBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`POST /v1/trust/pair`: `worker` is its id or its key."""

    worker: str
    user_id: str | None = None


class NewTrustCode(msgspec.Struct, frozen=True, kw_only=True):
    """A code, shown once: one worker may claim it before `expires_at`, and `id` is to be confirmed then."""

    pairing_code: str
    expires_at: str
    id: str
    user_id: str


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """What Dispatch's worker reads. `paired_at` is when it claimed: nobody is paired before `user_id` has confirmed."""

    user_id: str
    paired_at: str
    status: TrustStatus


class TrustView(msgspec.Struct, frozen=True, kw_only=True):
    """A code (`open`), a claim of it (`awaiting_confirmation`, with the worker that claimed, and where from), or a
    pairing (`paired`). `fingerprint` is that of the worker's key, which the worker shows, too.
    """

    id: str
    status: TrustStatus
    user_id: str
    created_at: str
    expires_at: str | None = None
    provider_pubkey: str | None = None
    fingerprint: str | None = None
    worker_id: str | None = None
    name: str | None = None
    address: str | None = None
    paired_at: str | None = None


class TrustList(msgspec.Struct, frozen=True, kw_only=True):
    """`providers` are those the user is paired with; `waiting` are claims to be confirmed, and codes nobody claimed."""

    providers: list[TrustView]
    waiting: list[TrustView]
