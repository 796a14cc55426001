"""Enrolment: which workers are known, which tokens let another one in, and what each may do."""

from __future__ import annotations

import msgspec

from cavvy import defaults
from cavvy.core.commands import CreateWorkerToken, RegisterWorker
from cavvy.core.effects import ReplyCode
from cavvy.core.job import Now, WorkerStatus
from cavvy.core.outbox import Outbox
from cavvy.core.trust import Trust
from cavvy.core.trust_book import TrustBook
from cavvy.core.writes import AddWorkerToken, DropExpiredTokens, EnrolWorker, SetWorkerStatus

__all__ = ["Enrolment", "KnownToken", "KnownWorker"]


class KnownWorker(msgspec.Struct, frozen=True, kw_only=True):
    key: str
    id: str
    tenant: str
    status: WorkerStatus

    @property
    def legacy(self) -> bool:
        """Enrolled itself by Dispatch's proof of its key, without a token."""
        return self.tenant == defaults.DISPATCH_TENANT

    @property
    def revoked(self) -> bool:
        return self.status is WorkerStatus.REVOKED


class KnownToken(msgspec.Struct, frozen=True, kw_only=True):
    token_hash: bytes
    tenant: str
    expires_at_ms: int
    needs_approval: bool = False
    pairs_with: str | None = None


class Enrolment:
    """Workers stay known for good, whatever becomes of them; a token goes when it was used or is too old."""

    def __init__(self, book: TrustBook, out: Outbox) -> None:
        self._book = book
        self._out = out
        self._workers: dict[str, KnownWorker] = {}
        self._tokens: dict[bytes, KnownToken] = {}

    def know(self, row: KnownWorker | KnownToken) -> None:
        """Takes up what the store holds."""
        if isinstance(row, KnownWorker):
            self._workers[row.key] = row
        else:
            self._tokens[row.token_hash] = row

    def worker(self, key: str) -> KnownWorker | None:
        """Who is enrolled with this key (hex)."""
        return self._workers.get(key)

    def sweep(self, now: Now) -> None:
        """Expired tokens go."""
        dead = [key for key, token in self._tokens.items() if token.expires_at_ms <= now.wall_ms]
        for token_hash in dead:
            del self._tokens[token_hash]
        if dead:
            self._out.write(DropExpiredTokens(now_ms=now.wall_ms))

    def create_token(self, command: CreateWorkerToken, now: Now) -> None:
        token = KnownToken(
            token_hash=command.token_hash,
            tenant=command.tenant,
            expires_at_ms=now.wall_ms + command.ttl_s * 1000,
            needs_approval=command.needs_approval,
            pairs_with=command.pairs_with,
        )
        self._tokens[token.token_hash] = token
        self._out.write(
            AddWorkerToken(
                token_hash=token.token_hash,
                tenant=token.tenant,
                created_by=command.created_by,
                created_at_ms=now.wall_ms,
                expires_at_ms=token.expires_at_ms,
                needs_approval=token.needs_approval,
                pairs_with=token.pairs_with,
            )
        )
        self._out.reply(command.ref, ReplyCode.OK)

    def set_status(self, known: KnownWorker, status: WorkerStatus) -> None:
        self._workers[known.key] = msgspec.structs.replace(known, status=status)
        self._out.write(SetWorkerStatus(worker=known.key, status=status, before=known.status))

    def admit(self, command: RegisterWorker, now: Now) -> ReplyCode:
        """Whether this key may serve; enrols it when it brings a good token. Having come as one of Dispatch's, without
        a token, opens nothing here and stands in nobody's way.
        """
        known = self._workers.get(command.worker)
        if command.profile.legacy:
            return self._admit_legacy(command, known, now)
        if known is not None and known.revoked:
            return ReplyCode.WORKER_REVOKED
        if known is not None and not known.legacy:
            return ReplyCode.OK
        if command.token_hash is None:
            return ReplyCode.WORKER_UNKNOWN
        token = self._tokens.get(command.token_hash)
        if token is None or token.expires_at_ms <= now.wall_ms:
            return ReplyCode.TOKEN_REFUSED
        del self._tokens[token.token_hash]
        self._enrol(command, token, now)
        return ReplyCode.OK

    def _admit_legacy(self, command: RegisterWorker, known: KnownWorker | None, now: Now) -> ReplyCode:
        """Whoever proves a key may serve those who send none. A proof of that kind could be relayed, so it is not good
        for a key that was enrolled with a token.
        """
        if known is not None:
            if not known.legacy:
                return ReplyCode.WORKER_NATIVE
            return ReplyCode.WORKER_REVOKED if known.revoked else ReplyCode.OK
        if sum(one.legacy for one in self._workers.values()) >= defaults.MAX_LEGACY_WORKERS:
            return ReplyCode.TOO_MANY_WORKERS
        self._enrol(command, None, now)
        return ReplyCode.OK

    def _enrol(self, command: RegisterWorker, token: KnownToken | None, now: Now) -> None:
        waits = token is not None and token.needs_approval
        known = KnownWorker(
            key=command.worker,
            id=command.worker_id,
            tenant=token.tenant if token is not None else defaults.DISPATCH_TENANT,
            status=WorkerStatus.WAITING_APPROVAL if waits else WorkerStatus.APPROVED,
        )
        self._workers[known.key] = known
        self._out.write(
            EnrolWorker(
                worker=known.key,
                id=known.id,
                name=command.name,
                tenant=known.tenant,
                token_hash=token.token_hash if token is not None else None,
                enrolled_at_ms=now.wall_ms,
                status=known.status,
            )
        )
        if token is not None and token.pairs_with is not None:
            self._book.put(_pairing(known, token.pairs_with, now))


def _pairing(worker: KnownWorker, user_id: str, now: Now) -> Trust:
    """A worker that has just been enrolled, with a token by which this user trusts it: there was none before."""
    return Trust(
        id=f"tru_{worker.key[:20]}",
        tenant=worker.tenant,
        user_id=user_id,
        created_at_ms=now.wall_ms,
        expires_at_ms=now.wall_ms,
        worker=worker.key,
        paired_at_ms=now.wall_ms,
    )
