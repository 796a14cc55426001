"""A worker that does as told, with a real key and real receipts."""

from __future__ import annotations

import hashlib
from itertools import count

from cavvy import defaults
from cavvy.core import javascript
from cavvy.core.canonical import canonical, canonical_flat, sha256_hex
from cavvy.core.commands import (
    Heartbeat,
    JobCompleted,
    JobFailed,
    JobRejected,
    JobStarted,
    JobStopped,
    Progress,
    RegisterWorker,
    SessionClosed,
    SessionDraining,
    SessionResumed,
)
from cavvy.core.ed25519 import public_key
from cavvy.core.effects import Assign, Effect, Registered
from cavvy.core.job import AttemptRef, JobType, RejectReason
from cavvy.core.matching import Profile
from cavvy.core.receipt import ReceiptPayload, input_hash, seal
from cavvy.core.results import Result
from cavvy.core.writes import Usage
from cavvy.testing.simulation.legacy_frames import LegacyVoice
from cavvy.testing.stack import Stack

__all__ = ["FakeLegacyWorker", "FakeWorker"]

_sessions = count(1)


class FakeWorker:
    """One worker of a Stack. What it sends is a command; nothing happens by itself."""

    legacy = False

    def __init__(
        self,
        stack: Stack,
        name: str = "worker",
        *,
        slots: int = 1,
        models: tuple[str, ...] = ("m",),
        job_types: frozenset[JobType] = frozenset({JobType.LLM_INFER}),
    ) -> None:
        self.stack = stack
        self.name = name
        self.slots = slots
        self.seed = hashlib.sha256(name.encode()).digest()
        self.key = public_key(self.seed).hex()
        self.instance = f"{name}-1"
        self.session = 0
        self.models = models
        self.profile = Profile(tenant="", job_types=job_types, models=frozenset(models), legacy=self.legacy)

    async def join(
        self, *, tenant: str = defaults.TENANT, needs_approval: bool = False, pairs_with: str | None = None
    ) -> None:
        """Enrols with a fresh token and connects."""
        token = await self.stack.token(tenant=tenant, needs_approval=needs_approval, pairs_with=pairs_with)
        await self.connect(token_hash=token)

    async def connect(
        self,
        *,
        held: tuple[AttemptRef, ...] = (),
        finished: tuple[AttemptRef, ...] = (),
        token_hash: bytes | None = None,
        instance: str | None = None,
    ) -> Registered:
        """Opens a session; what the coordinator answers."""
        self.instance = instance or self.instance
        command = self.registration(held=held, finished=finished, token_hash=token_hash)
        effects = await self.stack.do(command)
        return next(one for one in effects if isinstance(one, Registered) and one.ref == command.ref)

    def registration(
        self,
        *,
        held: tuple[AttemptRef, ...] = (),
        finished: tuple[AttemptRef, ...] = (),
        token_hash: bytes | None = None,
    ) -> RegisterWorker:
        """The command that opens a session."""
        self.session = next(_sessions)
        return RegisterWorker(
            ref=self.stack.next_ref(),
            session=self.session,
            worker=self.key,
            worker_id=f"wrk_{self.name}",
            name=self.name,
            instance=self.instance,
            profile=self.profile,
            slots=self.slots,
            held=held,
            finished=finished,
            token_hash=token_hash,
        )

    def resumed(self, *held: AttemptRef, draining: bool = False) -> SessionResumed:
        """What its socket tells a rebuilt core."""
        return SessionResumed(
            session=self.session,
            worker=self.key,
            instance=self.instance,
            profile=self.profile,
            slots=self.slots,
            held=held,
            draining=draining,
        )

    async def disconnect(self) -> list[Effect]:
        return await self.stack.do(SessionClosed(session=self.session))

    def beat(self, *held: AttemptRef, free: int | None = None) -> Heartbeat:
        left = self.slots - len(held) if free is None else free
        return Heartbeat(session=self.session, held=held, free=left)

    def started(self, grant: Assign) -> JobStarted:
        return JobStarted(session=self.session, job_id=grant.job_id, epoch=grant.epoch)

    def stopped(self, grant: Assign) -> JobStopped:
        return JobStopped(session=self.session, job_id=grant.job_id, epoch=grant.epoch, usage=Usage(output_tokens=3))

    def failed(self, grant: Assign, code: str = "worker_error", *, retryable: bool = False) -> JobFailed:
        return JobFailed(
            session=self.session,
            job_id=grant.job_id,
            epoch=grant.epoch,
            code=code,
            message="broken",
            retryable=retryable,
            usage=Usage(output_tokens=2),
        )

    def progress(self, *grants: Assign) -> Progress:
        return Progress(session=self.session, refs=tuple(self.ref(grant) for grant in grants))

    def rejected(self, grant: Assign, reason: RejectReason = RejectReason.BUSY) -> JobRejected:
        return JobRejected(session=self.session, job_id=grant.job_id, epoch=grant.epoch, reason=reason, message="no")

    def draining(self) -> SessionDraining:
        return SessionDraining(session=self.session)

    async def completed(self, grant: Assign, text: str = "hello", **wrong: object) -> JobCompleted:
        """A completion with its receipt; `wrong` replaces fields of the receipt's payload before it is signed."""
        stored = (await self.stack.store.inputs([grant.job_id]))[grant.job_id]
        result = canonical_flat(Result(text=text, model="m", finish_reason="stop"))
        if grant.job_type == JobType.TASK:
            result = canonical({"method": text})
        hashed = input_hash(stored.salt, stored.input)
        payload = ReceiptPayload(
            **{  # type: ignore[arg-type]
                "v": 2,
                "coordinator": self.stack.settings.coordinator_key,
                "job_id": grant.job_id,
                "provider_pubkey": self.key,
                "attempt": grant.epoch,
                "status": "completed",
                "input_hash": hashed,
                "output_hash": sha256_hex(result),
                "params_hash": sha256_hex(stored.params),
                "model": "m",
                "privacy_class": grant.privacy_class,
                "started_at": "2026-01-01T00:00:00.000Z",
                "completed_at": "2026-01-01T00:00:01.000Z",
                "usage": Usage(input_tokens=2, output_tokens=1),
                "payment_ref": grant.payment_ref,
                **wrong,
            }
        )
        return JobCompleted(
            session=self.session,
            job_id=grant.job_id,
            epoch=grant.epoch,
            result=result,
            receipt=seal(payload, self.seed),
            input_hash=hashed,
            params_hash=sha256_hex(stored.params),
        )

    def ref(self, grant: Assign) -> AttemptRef:
        return AttemptRef(grant.job_id, grant.epoch)


class FakeLegacyWorker(FakeWorker):
    """One that speaks Dispatch's dialect, as its socket tells the core: it has one slot, and holds nothing that it was
    given over another socket.
    """

    legacy = True

    @property
    def _voice(self) -> LegacyVoice:
        return LegacyVoice(self.seed)

    async def join(self, **_: object) -> None:
        """By the proof of its key alone."""
        await self.connect()

    async def completed(self, grant: Assign, text: str = "hello", **wrong: object) -> JobCompleted:
        return self.answered(grant, {"text": text, "model": "m"}, **wrong)

    def answered(self, grant: Assign, output: dict[str, str], **wrong: object) -> JobCompleted:
        """Any output; `wrong` replaces fields of the receipt before it is signed."""
        frame = self._voice.completion(grant.job_id, output, **wrong)
        return JobCompleted(
            session=self.session,
            job_id=grant.job_id,
            epoch=grant.epoch,
            result=javascript.stringify(output),
            receipt=self._voice.envelope(frame),
            input_hash=None,
            params_hash=None,
        )
