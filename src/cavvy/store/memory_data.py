"""What the store in memory holds.

Every value in a table is immutable and is replaced, never changed; a transaction keeps what it replaced and can put it
back.
"""

from __future__ import annotations

from typing import Any

from cavvy.core.identity import ApiKey, Tenant
from cavvy.core.latch import StopLatch
from cavvy.core.trust import Trust
from cavvy.core.writes import Write
from cavvy.errors import Refused
from cavvy.store.base import IdempotencyRecord, JobRecord, TokenRecord, WorkerRecord

__all__ = ["Data", "KeyRecord", "StoredToken", "Transaction", "require"]

_ABSENT: Any = object()


class Transaction:
    """What one commit replaced, so that it can be taken back."""

    def __init__(self) -> None:
        self._undo: list[tuple[dict[Any, Any], Any, Any]] = []

    def put(self, table: dict[Any, Any], key: Any, value: Any) -> None:
        self._undo.append((table, key, table.get(key, _ABSENT)))
        table[key] = value

    def delete(self, table: dict[Any, Any], key: Any) -> None:
        self._undo.append((table, key, table.pop(key)))

    def roll_back(self) -> None:
        for table, key, before in reversed(self._undo):
            if before is _ABSENT:
                del table[key]
            else:
                table[key] = before


class KeyRecord(IdempotencyRecord, frozen=True, kw_only=True):
    created_at_ms: int


class StoredToken(TokenRecord, frozen=True, kw_only=True):
    used: bool = False


def require(condition: bool, write: Write, why: str) -> None:
    if not condition:
        raise Refused(f"{type(write).__name__}: {why}")


class Data:
    """Every table. What is due is told the oldest first."""

    def __init__(self) -> None:
        self.jobs: dict[str, JobRecord] = {}
        self.by_seq: dict[int, str] = {}
        self.by_number: dict[tuple[str, int], str] = {}
        self.keys: dict[tuple[str, str], KeyRecord] = {}
        self.workers: dict[str, WorkerRecord] = {}
        self.worker_ids: dict[str, str] = {}
        self.tokens: dict[bytes, StoredToken] = {}
        self.api_keys: dict[str, ApiKey] = {}
        self.tenants: dict[str, Tenant] = {}
        self.stops: dict[str, StopLatch] = {}
        self.trusts: dict[str, Trust] = {}
        self.dropped: dict[str, tuple[int, int]] = {}

    def ended_jobs(self, before_ms: int, since_ms: int = 0) -> list[JobRecord]:
        found = [(job.completed_at_ms, job.seq) for job in self.jobs.values() if job.completed_at_ms is not None]
        return [self.jobs[self.by_seq[seq]] for ended_ms, seq in sorted(found) if since_ms <= ended_ms < before_ms]

    def expired_keys(self, before_ms: int) -> list[tuple[str, str]]:
        found = [(one.created_at_ms, name) for name, one in self.keys.items() if one.created_at_ms < before_ms]
        return [name for _, name in sorted(found)]

    def used_tokens(self, before_ms: int) -> list[bytes]:
        found = [one for one in self.tokens.values() if one.used and one.expires_at_ms < before_ms]
        return [one.token_hash for one in sorted(found, key=lambda one: one.expires_at_ms)]

    def revoked_keys(self, before_ms: int) -> list[str]:
        found = [(one.revoked_at_ms, one.key_id) for one in self.api_keys.values() if one.revoked_at_ms is not None]
        return [key_id for revoked_at_ms, key_id in sorted(found) if revoked_at_ms < before_ms]
