"""The receipt as a job shows it."""

from __future__ import annotations

from typing import Any

import msgspec

from cavvy.core.writes import Usage

__all__ = ["ReceiptView"]


class ReceiptView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a worker signed, its five oldest fields first, then `signature` (base64) and whether the coordinator
    `verified` it, without which no job completes.

    `v` 2 signs the RFC 8785 bytes of everything but these last two, in DSSE's encoding; `/receipt` has that envelope.
    """

    job_id: str
    provider_pubkey: str
    output_hash: str
    completed_at: str
    payment_ref: str | None
    v: int | None = None
    coordinator: str | None = None
    attempt: int | None = None
    status: str | None = None
    input_hash: str | None = None
    params_hash: str | None = None
    model: str | None = None
    privacy_class: str | None = None
    started_at: str | None = None
    usage: Usage | None = None
    signature: str
    verified: bool

    def signed(self) -> dict[str, Any]:
        """Everything but `signature` and `verified`, with the names the worker signed."""
        fields = msgspec.structs.asdict(self)
        return {name: value for name, value in fields.items() if name not in ("signature", "verified")}
