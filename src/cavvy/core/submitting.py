"""New jobs: what is taken, and what is refused."""

from __future__ import annotations

from typing import NamedTuple

from cavvy.core.board import Board
from cavvy.core.commands import SubmitJob
from cavvy.core.effects import Reply, ReplyCode
from cavvy.core.job import JobHeader, JobStatus, Now, PrivacyClass, WorkerStatus
from cavvy.core.lifecycle import Event
from cavvy.core.matching import refusal
from cavvy.core.outbox import Outbox
from cavvy.core.settings import Settings
from cavvy.core.stopping import Stopping
from cavvy.core.writes import InsertJob

__all__ = ["Submitting"]


_NOBODY_TRUSTED = (
    "No worker that its user trusts is online and could run it. `cavvy trust create` makes a code for one, "
    "`cavvy trust pair` trusts one that is enrolled."
)


class _LiveKey(NamedTuple):
    fingerprint: bytes
    job_id: str
    at_s: float


class Submitting:
    """Numbers jobs, and knows the idempotency keys that the store may not have yet."""

    def __init__(self, settings: Settings, board: Board, stopping: Stopping, out: Outbox) -> None:
        self._settings = settings
        self._board = board
        self._stopping = stopping
        self._out = out
        self._keys: dict[tuple[str, str], _LiveKey] = {}
        self.seq = 0
        self.numbers: dict[str, int] = {}

    def submit(self, command: SubmitJob, now: Now) -> None:
        tenant, key = command.needs.tenant, command.idempotency
        if key is not None and (live := self._keys.get((tenant, key.key))) is not None:
            same = live.fingerprint == key.fingerprint
            code = ReplyCode.REPLAYED if same else ReplyCode.KEY_REUSED
            self._out.reply(command.ref, code, job_id=live.job_id)
            return
        if (latch := self._stopping.refusal(tenant)) is not None:
            self._out.effect(Reply(ref=command.ref, code=ReplyCode.STOPPED, stop=latch))
            return
        deadline_ms = command.terms.deadline_at_ms
        if deadline_ms is not None and deadline_ms <= now.wall_ms:
            self._out.reply(command.ref, ReplyCode.DEADLINE_PASSED)
            return
        if self._board.backlog.full(tenant):
            self._out.reply(command.ref, ReplyCode.QUEUE_FULL)
            return
        self.seq += 1
        number = self.numbers[tenant] = self.numbers.get(tenant, 0) + 1
        job = JobHeader(
            id=command.id,
            seq=self.seq,
            number=number,
            user_id=command.user_id,
            needs=command.needs,
            status=JobStatus.PENDING,
            created_at_ms=now.wall_ms,
            effort=command.effort,
            thread_id=command.thread_id,
            terms=command.terms,
            estimated_tokens=command.estimated_tokens,
            payment_ref=command.payment_ref,
        )
        self._out.write(
            InsertJob(
                id=job.id,
                seq=job.seq,
                number=number,
                user_id=job.user_id,
                needs=job.needs,
                created_at_ms=now.wall_ms,
                input=command.input,
                params=command.params,
                metadata=command.metadata,
                idempotency=key,
                expired_before_ms=now.wall_ms - self._settings.idempotency_ttl_s * 1000,
                effort=job.effort,
                thread_id=job.thread_id,
                terms=job.terms,
                estimated_tokens=job.estimated_tokens,
                payment_ref=job.payment_ref,
            )
        )
        if key is not None:
            self._keys[tenant, key.key] = _LiveKey(key.fingerprint, job.id, now.mono_s)
        self._board.add(job, command, now)
        code = ReplyCode.OK
        if job.needs.privacy_class is PrivacyClass.PRIVATE and not command.waits_untrusted and not self._trusted(job):
            self._board.event(job, Event.UNTRUSTED, now, message=_NOBODY_TRUSTED)
            code = ReplyCode.NO_TRUSTED
        self._out.reply(command.ref, code, job_id=job.id, status=job.status)

    def _trusted(self, job: JobHeader) -> bool:
        """Whether a worker is here that will run it, now or when it is less busy."""
        return any(
            one.status is WorkerStatus.APPROVED and not one.draining and refusal(job.needs, one.profile) is None
            for one in self._board.fleet
        )

    def forget_old_keys(self, now: Now) -> None:
        horizon_s = now.mono_s - self._settings.idempotency_live_s
        while self._keys and next(iter(self._keys.values())).at_s < horizon_s:
            del self._keys[next(iter(self._keys))]
