"""The tables of the store in memory, and what each write asks of them; `memory_jobs` has those to jobs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from msgspec.structs import replace

from cavvy import defaults
from cavvy.core.job import WorkerStatus
from cavvy.core.writes import (
    AddApiKey,
    AddTenant,
    AddWorkerToken,
    DropExpiredTokens,
    DropIdempotencyKeys,
    DropRevokedKeys,
    DropStop,
    DropTrust,
    DropUsedTokens,
    EnrolWorker,
    PutTrust,
    ReplaceApiKey,
    SetStop,
    SetWorkerStatus,
    Write,
)
from cavvy.errors import Refused
from cavvy.store.base import WorkerRecord
from cavvy.store.memory_data import Data, StoredToken, Transaction, require
from cavvy.store.memory_jobs import JOB_WRITES

__all__ = ["Tables"]


class Tables(Data):
    """`apply` changes it for one write, or raises Refused; the transaction then has to be rolled back."""

    def __init__(self) -> None:
        super().__init__()
        self._methods: dict[type, Callable[[Transaction, Any], None]] = {
            **{kind: partial(method, self) for kind, method in JOB_WRITES.items()},
            AddWorkerToken: self._add_worker_token,
            DropExpiredTokens: self._drop_expired_tokens,
            EnrolWorker: self._enrol_worker,
            SetWorkerStatus: self._set_worker_status,
            AddApiKey: self._add_api_key,
            ReplaceApiKey: self._replace_api_key,
            AddTenant: self._add_tenant,
            SetStop: self._set_stop,
            DropStop: self._drop_stop,
            PutTrust: self._put_trust,
            DropTrust: self._drop_trust,
            DropIdempotencyKeys: self._drop_idempotency_keys,
            DropUsedTokens: self._drop_used_tokens,
            DropRevokedKeys: self._drop_revoked_keys,
        }

    def apply(self, transaction: Transaction, write: Write) -> None:
        self._methods[type(write)](transaction, write)

    def _add_worker_token(self, transaction: Transaction, write: AddWorkerToken) -> None:
        require(write.token_hash not in self.tokens, write, "the token is known")
        token = StoredToken(
            token_hash=write.token_hash,
            tenant=write.tenant,
            expires_at_ms=write.expires_at_ms,
            needs_approval=write.needs_approval,
            pairs_with=write.pairs_with,
        )
        transaction.put(self.tokens, write.token_hash, token)

    def _drop_expired_tokens(self, transaction: Transaction, write: DropExpiredTokens) -> None:
        dead = [one for one in self.tokens.values() if not one.used and one.expires_at_ms <= write.now_ms]
        for token in dead:
            transaction.delete(self.tokens, token.token_hash)

    def _enrol_worker(self, transaction: Transaction, write: EnrolWorker) -> None:
        if write.token_hash is not None:
            token = self.tokens.get(write.token_hash)
            if token is None or token.used:
                raise Refused("EnrolWorker: the token is unknown or used up")
            transaction.put(self.tokens, write.token_hash, replace(token, used=True))
        known = self.workers.get(write.worker)
        moves = known is not None and known.tenant == defaults.DISPATCH_TENANT != write.tenant
        moves = moves and known is not None and known.status is not WorkerStatus.REVOKED
        require(known is None or moves, write, "the worker is known")
        require(moves or write.id not in self.worker_ids, write, "the worker's id is taken")
        worker = WorkerRecord(
            key=write.worker,
            id=write.id,
            name=write.name,
            tenant=write.tenant,
            status=write.status,
            enrolled_at_ms=write.enrolled_at_ms,
        )
        transaction.put(self.workers, write.worker, worker)
        transaction.put(self.worker_ids, write.id, write.worker)

    def _put_trust(self, transaction: Transaction, write: PutTrust) -> None:
        transaction.put(self.trusts, write.trust.id, write.trust)

    def _drop_trust(self, transaction: Transaction, write: DropTrust) -> None:
        require(write.id in self.trusts, write, "there is no such trust")
        transaction.delete(self.trusts, write.id)

    def _set_worker_status(self, transaction: Transaction, write: SetWorkerStatus) -> None:
        worker = self.workers.get(write.worker)
        if worker is None or worker.status is not write.before:
            raise Refused("SetWorkerStatus: the worker is unknown or has another status")
        transaction.put(self.workers, write.worker, replace(worker, status=write.status))

    def _add_api_key(self, transaction: Transaction, write: AddApiKey) -> None:
        require(write.key.key_id not in self.api_keys, write, "the key's id is taken")
        transaction.put(self.api_keys, write.key.key_id, write.key)

    def _replace_api_key(self, transaction: Transaction, write: ReplaceApiKey) -> None:
        key = self.api_keys.get(write.key.key_id)
        if key is None or key.revoked_at_ms is not None or key.secret_hash != write.secret_hash_before:
            raise Refused("ReplaceApiKey: there is no such key, or it was changed meanwhile")
        changed = replace(
            key,
            secret_hash=write.key.secret_hash,
            old_secret_hash=write.key.old_secret_hash,
            old_until_ms=write.key.old_until_ms,
            revoked_at_ms=write.key.revoked_at_ms,
        )
        transaction.put(self.api_keys, key.key_id, changed)

    def _add_tenant(self, transaction: Transaction, write: AddTenant) -> None:
        require(write.tenant.id not in self.tenants, write, "the tenant's id is taken")
        transaction.put(self.tenants, write.tenant.id, write.tenant)

    def _set_stop(self, transaction: Transaction, write: SetStop) -> None:
        before = self.stops.get(write.latch.tenant)
        require(before is None or before.stop_seq <= write.latch.stop_seq, write, "a stop reaches further")
        transaction.put(self.stops, write.latch.tenant, write.latch)

    def _drop_stop(self, transaction: Transaction, write: DropStop) -> None:
        before = self.stops.get(write.tenant)
        over = before is not None and before.stop_seq == write.stop_seq and not before.latched
        require(over, write, "there is no such stop, or it is latched")
        transaction.delete(self.stops, write.tenant)

    def _drop_idempotency_keys(self, transaction: Transaction, write: DropIdempotencyKeys) -> None:
        for name in self.expired_keys(write.before_ms)[: write.limit]:
            transaction.delete(self.keys, name)

    def _drop_used_tokens(self, transaction: Transaction, write: DropUsedTokens) -> None:
        for token_hash in self.used_tokens(write.before_ms)[: write.limit]:
            transaction.delete(self.tokens, token_hash)

    def _drop_revoked_keys(self, transaction: Transaction, write: DropRevokedKeys) -> None:
        for key_id in self.revoked_keys(write.before_ms)[: write.limit]:
            transaction.delete(self.api_keys, key_id)
