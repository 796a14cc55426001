"""The roster: which workers are connected, and what becomes of what they hold when they come and go."""

from __future__ import annotations

import msgspec

from cavvy.core.board import Board
from cavvy.core.commands import (
    Heartbeat,
    ManageWorker,
    RegisterWorker,
    SessionClosed,
    SessionDraining,
    SessionResumed,
)
from cavvy.core.effects import (
    CloseSession,
    HeartbeatAnswered,
    Registered,
    ReplyCode,
    Resume,
    Verdict,
    WorkerChanged,
)
from cavvy.core.enrolment import Enrolment, KnownWorker
from cavvy.core.fleet import Session
from cavvy.core.job import AttemptRef, JobHeader, JobStatus, Now, WorkerStatus
from cavvy.core.lease import Resumption, resumption
from cavvy.core.lifecycle import Event
from cavvy.core.matching import Profile
from cavvy.core.outbox import Outbox
from cavvy.core.settings import Settings
from cavvy.core.worker_status import REVOKED_REASON, status_after

__all__ = ["Roster"]


class Roster:
    """Sessions, the resume table, and what a change of a worker's status does to both."""

    def __init__(self, settings: Settings, board: Board, enrolment: Enrolment, out: Outbox) -> None:
        self._settings = settings
        self._board = board
        self._enrolment = enrolment
        self._out = out

    def sweep(self, now: Now) -> None:
        """A socket that says nothing for a lease is closed."""
        silent = [one for one in self._board.fleet if now.mono_s - one.last_heard_s > self._settings.lease_ttl_s]
        for session in silent:
            self._out.effect(CloseSession(session=session.id, code=4408, reason="no heartbeat for a lease"))
            self._detach(session, now)

    def register(self, command: RegisterWorker, now: Now) -> None:
        code = self._enrolment.admit(command, now)
        known = self._enrolment.worker(command.worker)
        if known is None or code is not ReplyCode.OK:
            self._out.effect(Registered(ref=command.ref, session=command.session, code=code))
            return
        session = self._attach(known, command, now)
        session.occupied.update(command.held)  # what it has to drop, too, until its first heartbeat says otherwise
        held = [self._resume(session, ref, now, finished=False) for ref in command.held]
        finished = [self._resume(session, ref, now, finished=True) for ref in command.finished]
        self._settle_not_held(session, {*command.held, *command.finished}, now, same_process=False)
        self._out.effect(
            Registered(
                ref=command.ref,
                session=session.id,
                code=ReplyCode.OK,
                tenant=session.profile.tenant,
                status=session.status,
                resume=(*held, *finished),
            )
        )

    def manage(self, command: ManageWorker, now: Now) -> None:
        known = self._enrolment.worker(command.worker)
        if known is None or known.tenant != command.tenant:
            self._out.reply(command.ref, ReplyCode.NOT_FOUND)
            return
        status = status_after(known.status, command.action)
        if status is None:
            self._out.reply(command.ref, ReplyCode.WORKER_REVOKED if known.revoked else ReplyCode.WORKER_WAITS)
            return
        if status is not known.status:
            self._change(known, status, now)
        self._out.reply(command.ref, ReplyCode.OK)

    def _change(self, known: KnownWorker, status: WorkerStatus, now: Now) -> None:
        self._enrolment.set_status(known, status)
        session = self._board.fleet.of_worker(known.key)
        if session is not None:
            session.status = status
        if status is WorkerStatus.REVOKED:
            self._take_everything(known.key, session, now)
        elif session is not None:
            self._out.effect(WorkerChanged(session=session.id, status=status))

    def _take_everything(self, worker: str, session: Session | None, now: Now) -> None:
        """Ends what a revoked worker holds, connected or not, and its socket."""
        mine = [job_id for job_id, lease in self._board.leases.items() if lease.worker == worker]
        for job_id in mine:
            self._board.event(self._board.jobs[job_id], Event.REVOKED, now, message="Its worker was revoked.")
        if session is not None:
            self._out.effect(CloseSession(session=session.id, code=4403, reason=REVOKED_REASON))
            self._detach(session, now)

    def session_resumed(self, command: SessionResumed, now: Now) -> None:
        known = self._enrolment.worker(command.worker)
        if known is None or known.revoked:
            self._out.effect(CloseSession(session=command.session, code=4403, reason=REVOKED_REASON))
            return
        session = self._attach(known, command, now)
        session.draining = command.draining
        for ref in command.held:
            session.occupied.add(ref)  # until its next heartbeat says otherwise
            entry = self._resume(session, ref, now, finished=False)
            if entry.verdict is not Verdict.GO_ON:
                self._out.stop(session.id, ref.job_id, ref.epoch, "no longer this worker's")
        self._settle_not_held(session, set(command.held), now, same_process=True)

    def session_closed(self, command: SessionClosed, now: Now) -> None:
        session = self._board.fleet.get(command.session)
        if session is not None:
            self._detach(session, now)

    def session_draining(self, command: SessionDraining, now: Now) -> None:
        session = self._board.fleet.get(command.session)
        if session is not None:
            session.draining = True

    def heartbeat(self, command: Heartbeat, now: Now) -> None:
        session = self._board.fleet.get(command.session)
        if session is None:
            return
        session.last_heard_s = now.mono_s
        lost = []
        for ref in command.held:
            entry = self._resume(session, ref, now, finished=False)
            if entry.verdict in (Verdict.STALE, Verdict.UNKNOWN):
                lost.append(ref)
            elif entry.verdict is Verdict.STOP:
                self._out.stop(session.id, ref.job_id, ref.epoch, "it was asked to stop")
        held = set(command.held)
        session.occupied = {ref for ref in session.occupied if ref in held or self._is_leased(session, ref)}
        session.unavailable = max(0, session.slots - command.free - len(held))
        self._out.effect(HeartbeatAnswered(session=session.id, lost=tuple(lost)))

    def _attach(self, known: KnownWorker, command: RegisterWorker | SessionResumed, now: Now) -> Session:
        old = self._board.fleet.of_worker(command.worker)
        if old is not None:
            self._out.effect(CloseSession(session=old.id, code=4409, reason="the worker connected again"))
            old.draining = old.draining and old.instance != command.instance  # the same process has not left
            self._detach(old, now)
        session = Session(
            id=command.session,
            worker=command.worker,
            instance=command.instance,
            status=known.status,
            profile=self.profile_of(known, command.profile),
            slots=command.slots,
            last_heard_s=now.mono_s,
            idle_since_s=now.mono_s,
        )
        self._board.join_fleet(session)
        return session

    def profile_of(self, known: KnownWorker, said: Profile) -> Profile:
        """What the worker says of itself, with what only the coordinator may say."""
        trusts_it = self._settings.legacy_private or not said.legacy
        return msgspec.structs.replace(
            said,
            tenant=known.tenant,
            commands=said.commands and not self._settings.dispatch_commands,
            pairs=self._board.pairings.of(known.key) if trusts_it else frozenset(),
        )

    def _resume(self, session: Session, ref: AttemptRef, now: Now, *, finished: bool) -> Resume:
        """One row of the resume table; what goes on is leased to this session from now."""
        job = self._board.jobs.get(ref.job_id)
        answer = resumption(job, session.worker, ref.epoch)
        if job is not None and answer is not Resumption.STALE and not session.profile.may_see(job.needs):
            self._take_back(job, now)
            answer = Resumption.STALE
        if answer is Resumption.STOP and finished:
            answer = Resumption.GO_ON  # first committed wins: a result that is ready may still complete
        if job is not None and answer is Resumption.REVIVE:
            self._board.revive(job, session, now)
            answer = Resumption.GO_ON
        if job is not None and answer in (Resumption.GO_ON, Resumption.STOP):
            lease = self._board.leases[job.id]
            lease.session, lease.instance, lease.taken = session.id, session.instance, True
            lease.until_s = now.mono_s + self._settings.lease_ttl_s
            session.occupied.add(ref)
        return Resume(job_id=ref.job_id, epoch=ref.epoch, verdict=Verdict[answer.name])

    def _take_back(self, job: JobHeader, now: Now) -> None:
        """This worker may not have it any more: neither what it runs counts, nor what it lost can come back."""
        job.lost = False
        self._board.event(job, Event.REVOKED, now, message="Its worker may not run it any more.")

    def _settle_not_held(self, session: Session, held: set[AttemptRef], now: Now, *, same_process: bool) -> None:
        """What was granted to this worker and it does not have: sent again if it cannot have started and the worker may
        still have it, else lost.

        After a restart nobody knows to which process it was granted. Another one would answer with other text under the
        same epoch, so it is sent again only to the process known to be the same.
        """
        mine = [job_id for job_id, lease in self._board.leases.items() if lease.worker == session.worker]
        for job_id in mine:
            job, lease = self._board.jobs[job_id], self._board.leases[job_id]
            ref = AttemptRef(job_id, lease.epoch)
            if ref in held:
                continue
            same = same_process or lease.instance == session.instance
            fresh = same and job.status is JobStatus.ASSIGNED and job.cancel is None
            fresh = fresh and session.profile.may_see(job.needs)
            if fresh and not session.serving:
                self._board.event(job, Event.UNDELIVERED, now, message="It never reached its worker.")
            elif fresh:
                lease.session, lease.instance, lease.granted_s = session.id, session.instance, now.mono_s
                lease.until_s = now.mono_s + self._settings.lease_ttl_s
                session.occupied.add(ref)
                self._board.assign(job, lease.session, b"")
            else:
                self._board.event(job, Event.LEASE_END, now, message="Its worker came back without it.")

    def _detach(self, session: Session, now: Now) -> None:
        """A lost socket keeps its attempts for `requeue_after_s`, so that the same instance can take them up. Nobody
        comes for those of a worker that was leaving, or speaks Dispatch's dialect, which has no word for it.
        """
        self._board.leave_fleet(session)
        for ref in session.occupied:
            lease = self._board.leases.get(ref.job_id)
            if lease is None or not self._is_leased(session, ref):
                continue  # a worker may have said that it holds what is somebody else's
            self._board.leases.orphan(lease, now)
            if session.profile.legacy:
                self._board.event(self._board.jobs[ref.job_id], Event.LEASE_END, now, message="Its worker has gone.")
            elif session.draining:
                self._board.event(self._board.jobs[ref.job_id], Event.DRAINED, now, message="Its worker has left.")

    def _is_leased(self, session: Session, ref: AttemptRef) -> bool:
        lease = self._board.leases.get(ref.job_id)
        return lease is not None and lease.epoch == ref.epoch and lease.session == session.id
