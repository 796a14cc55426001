"""The coordinator's key, clocks and limits."""

from __future__ import annotations

import msgspec

from cavvy import defaults

__all__ = ["Settings"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The coordinator's key (hex) and its clocks and limits (lifecycle.md).

    `legacy_private`: Dispatch's workers may be paired, though their proof of key could be relayed. `dispatch_commands`:
    jobs that come without a key may reach workers that run commands.
    """

    coordinator_key: str
    legacy_private: bool = False
    dispatch_commands: bool = False
    lease_ttl_s: float = defaults.LEASE_TTL_S
    sweep_s: float = defaults.SWEEP_S
    requeue_after_s: float = defaults.REQUEUE_AFTER_S
    accept_timeout_s: float = defaults.ACCEPT_TIMEOUT_S
    restart_grace_s: float = defaults.RESTART_GRACE_S
    stop_ack_timeout_s: float = defaults.STOP_ACK_TIMEOUT_S
    stop_slice: int = defaults.STOP_SLICE
    lazy_write_s: float = defaults.LAZY_WRITE_S
    idempotency_ttl_s: int = defaults.IDEMPOTENCY_TTL_S
    idempotency_live_s: float = defaults.IDEMPOTENCY_LIVE_S
    max_pending: int = defaults.MAX_PENDING
    max_pending_per_tenant: int = defaults.MAX_PENDING_PER_TENANT
