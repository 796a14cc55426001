"""What the store holds, as the core takes it up."""

from __future__ import annotations

from cavvy.core.coordinator import KnownToken, KnownWorker
from cavvy.core.identity import ApiKey, Tenant
from cavvy.core.job import JobHeader
from cavvy.core.latch import StopLatch
from cavvy.core.trust import Trust
from cavvy.store.base import LoadRow, TokenRecord, WorkerRecord

__all__ = ["known"]


def known(row: LoadRow) -> JobHeader | KnownWorker | KnownToken | ApiKey | Tenant | StopLatch | Trust:
    """A row of the store as the core takes it up."""
    match row:
        case WorkerRecord():
            return KnownWorker(key=row.key, id=row.id, tenant=row.tenant, status=row.status)
        case TokenRecord():
            return KnownToken(
                token_hash=row.token_hash,
                tenant=row.tenant,
                expires_at_ms=row.expires_at_ms,
                needs_approval=row.needs_approval,
                pairs_with=row.pairs_with,
            )
        case _:
            return row
