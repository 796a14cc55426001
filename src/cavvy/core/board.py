"""The board: every live job, its lease and its place in the queue, and each transition between them."""

from __future__ import annotations

from collections.abc import Callable

from cavvy.core.backlog import Backlog
from cavvy.core.commands import SubmitJob
from cavvy.core.effects import Assign, StopUnanswered
from cavvy.core.fairness import Ages, place
from cavvy.core.fleet import Fleet, Session
from cavvy.core.job import AttemptEnd, AttemptRef, CancelRequest, Failure, FailureCode, JobHeader, JobStatus, Now
from cavvy.core.lease import Lapse
from cavvy.core.leases import Leases
from cavvy.core.lifecycle import Event, Step, phase_of, step
from cavvy.core.matching import Profile
from cavvy.core.outbox import Outbox
from cavvy.core.pairings import Pairings
from cavvy.core.ready import Ready, favourite
from cavvy.core.resting import DueTimes
from cavvy.core.settings import Settings
from cavvy.core.threads import Threads
from cavvy.core.tries import last_chance, pause_s
from cavvy.core.writes import CompleteJob, FailJob, GrantJob, RequestCancel, RequeueJob, ReviveAttempt, Usage

__all__ = ["Board"]


class Board:
    """Jobs that are not terminal. Whoever changes one does it here, so that job, lease, queue and writes agree."""

    def __init__(self, settings: Settings, dice: Callable[[int], bytes], out: Outbox) -> None:
        self.settings = settings
        self.out = out
        self.jobs: dict[str, JobHeader] = {}
        self.leases = Leases(settings)
        self.backlog = Backlog(settings)
        self.deadlines = DueTimes()
        self.fleet = Fleet()
        self.fresh: dict[str, SubmitJob] = {}
        self.threads = Threads()
        self.pairings = Pairings()
        self.grace_until_s = 0.0
        self._ages = Ages()
        self._dice = dice

    # -- coming and going

    def restore_job(self, job: JobHeader, now: Now, grace_until_s: float) -> None:
        self.jobs[job.id] = job
        job.place = place(job.effort, self._ages.restored(job.created_at_ms, now), job.seq)
        self.threads.add(job)
        self.out.census.see(job)
        self._watch_deadline(job)
        if job.active:
            self.leases.restore(job, now, grace_until_s)
        else:
            self._enqueue(job, now)

    def add(self, job: JobHeader, submission: SubmitJob, now: Now) -> None:
        """A new pending job; its texts are kept until the batch ends, in case it is granted at once."""
        self.jobs[job.id] = job
        self.threads.add(job)
        self.fresh[job.id] = submission
        self._watch_deadline(job)
        job.place = place(job.effort, self._ages.submitted(now), job.seq)
        self._enqueue(job, now)
        self.out.changed(job)

    def reopen(self, job: JobHeader, now: Now) -> None:
        """A job that had failed is pending again."""
        self.restore_job(job, now, self.grace_until_s)
        self.out.changed(job)

    def drop(self, job: JobHeader) -> None:
        """The job is about to be terminal: nothing of it stays here."""
        self.out.flush_start(job.id)
        del self.jobs[job.id]
        self.threads.discard(job)
        self.leases.pop(job.id, None)
        if job.terms.deadline_at_ms is not None:
            self.deadlines.discard(job.id)
        if job.status is JobStatus.PENDING:
            self.backlog.remove(job)

    def _watch_deadline(self, job: JobHeader) -> None:
        if job.terms.deadline_at_ms is not None:
            self.deadlines.put(job.id, job.terms.deadline_at_ms)

    def wake_resting(self, now: Now) -> None:
        """Queues the jobs that have rested long enough."""
        for job_id in self.backlog.resting.due(now):
            self._enqueue(self.jobs[job_id], now)

    def _enqueue(self, job: JobHeader, now: Now) -> None:
        self.backlog.add(job, now, self.grace_until_s)

    # -- transitions

    def event(
        self,
        job: JobHeader,
        event: Event,
        now: Now,
        *,
        message: str,
        code: FailureCode | None = None,
        usage: Usage | None = None,
        cancel: CancelRequest | None = None,
        stop_ms: int | None = None,
    ) -> None:
        """Applies the transition table to an attempt that ends or a job that is cancelled; where it has no row,
        nothing.
        """
        change = step(phase_of(job.status, job.cancel), event)
        if change is None or change.status is None:
            return
        change = last_chance(change, job)
        if change.status is JobStatus.PENDING:
            self._requeue(job, change, now, message=message, code=code, usage=usage)
        else:
            if event is not Event.STOP_UNANSWERED and (request := cancel or job.cancel) is not None:
                message = f"Stopped by {request.by}." if change.failure is FailureCode.ABORTED else message
            self._fail(job, change, now, message=message, code=code, usage=usage, cancel=cancel, stop_ms=stop_ms)

    def _requeue(
        self, job: JobHeader, change: Step, now: Now, *, message: str, code: FailureCode | None, usage: Usage | None
    ) -> None:
        assert change.end is not None
        lease = self.leases.pop(job.id)
        if lease.profile is not None and not change.counted:
            self.backlog.waiting.refund(job, lease.profile)
        self.out.flush_start(job.id)
        self.out.write(
            RequeueJob(
                job_id=job.id,
                epoch=job.epoch,
                end=change.end,
                counted=change.counted,
                ended_at_ms=now.wall_ms,
                code=_reason(change, code) if change.counted else None,
                message=message,
                usage=usage,
            )
        )
        job.status = JobStatus.PENDING
        job.lost, job.lost_counted = change.end == "lost", change.counted
        job.tries += change.counted
        self._enqueue(job, now)
        if (rest_s := pause_s(change, job)) > 0:
            self.backlog.rest(job, now.mono_s + rest_s)
        self.out.changed(job, end=change.end)

    def _fail(
        self,
        job: JobHeader,
        change: Step,
        now: Now,
        *,
        message: str,
        code: FailureCode | None,
        usage: Usage | None,
        cancel: CancelRequest | None,
        stop_ms: int | None,
    ) -> None:
        reason = _reason(change, code)
        assert reason is not None
        if reason is FailureCode.DEADLINE and job.needs.policy is not None:
            reason = FailureCode.TIMEOUT  # as Dispatch calls it
        request = cancel or job.cancel
        aborted = request if reason is FailureCode.ABORTED else None
        failure = Failure(
            code=reason,
            message=message,
            at_ms=now.wall_ms,
            by=aborted.by if aborted else None,
            reason=aborted.reason if aborted else None,
            attempt=job.epoch or None,
            stop_ms=stop_ms if aborted else None,
        )
        self.drop(job)
        job.status = JobStatus.FAILED
        job.cancel = request
        self.out.write(
            FailJob(
                job_id=job.id,
                epoch=job.epoch,
                failure=failure,
                end=change.end,
                counted=change.counted,
                cancel=request,
                usage=usage,
            )
        )
        self.out.ended(job, failure=failure, usage=usage, end=change.end)

    def revive(self, job: JobHeader, session: Session, now: Now) -> None:
        """A lost attempt whose worker turns up while nobody else has the job goes on where it was."""
        self.backlog.remove(job)
        self.out.write(
            ReviveAttempt(job_id=job.id, epoch=job.epoch, counted=job.lost_counted, started_at_ms=now.wall_ms)
        )
        job.tries -= job.lost_counted
        job.lost = job.lost_counted = False
        job.status = JobStatus.RUNNING
        lease = self.leases.grant(job, session, now, taken=True)
        lease.clock.start(now.mono_s)
        session.occupied.add(AttemptRef(job.id, job.epoch))
        self.out.changed(job)

    def ask_to_stop(self, job: JobHeader, request: CancelRequest, now: Now) -> None:
        lease = self.leases[job.id]
        job.cancel = request
        lease.stop_by_s = now.mono_s + self.settings.stop_ack_timeout_s
        self.out.write(RequestCancel(job_id=job.id, epoch=job.epoch, cancel=request))
        self.out.changed(job)
        if lease.session is not None:
            self.out.stop(lease.session, job.id, job.epoch, request.reason or f"cancelled by {request.by}")

    def complete(self, job: JobHeader, write: CompleteJob) -> None:
        """The one accepted completion."""
        self.out.flush_start(job.id)
        self.out.write(write)
        self.drop(job)
        job.status = JobStatus.COMPLETED
        self.out.ended(job, result=write.result, usage=write.usage, end=AttemptEnd.COMPLETED)

    def reprofile(self, session: Session, profile: Profile) -> None:
        """A worker that is here is another kind of worker from now on."""
        self.leave_fleet(session)
        session.profile = profile
        self.join_fleet(session)

    def join_fleet(self, session: Session) -> None:
        self.fleet.add(session)
        self.backlog.waiting.know(session.profile)

    def leave_fleet(self, session: Session) -> None:
        self.fleet.remove(session)
        if not self.fleet.has_profile(session.profile):
            self.backlog.waiting.forget(session.profile)

    # -- clocks

    def forgive(self, gap_s: float) -> None:
        """If this loop was away (suspend, a long commit), nobody else is to blame for the silence."""
        self.backlog.windows.forgive(gap_s)
        self.leases.forgive(gap_s)
        for session in self.fleet:
            session.last_heard_s += gap_s

    @property
    def lapse_s(self) -> float:
        """When the first lease without a socket ends; infinity for never. The others end with the next sweep."""
        return max(self.leases.first_s, self.grace_until_s)

    def sweep_leases(self, now: Now) -> None:
        """Ends what time has ended, except during the restart grace."""
        if now.mono_s < self.grace_until_s:
            return
        for job_id, what in self.leases.lapsed(now):
            self._lapse(self.jobs[job_id], what, now)
        self.leases.look_ahead()

    def _lapse(self, job: JobHeader, what: Lapse, now: Now) -> None:
        match what:
            case Lapse.STOP_UNANSWERED:
                self._stop_unanswered(job, now)
            case Lapse.LEASE_END:
                self.event(job, Event.LEASE_END, now, message="Its worker was not heard of for a lease.")
            case Lapse.NOT_TAKEN:
                self.event(job, Event.UNDELIVERED, now, message="Its worker never took it.")

    def _stop_unanswered(self, job: JobHeader, now: Now) -> None:
        """Its worker is marked, and its slot stays taken until the worker says that it is free."""
        lease, request = self.leases[job.id], job.cancel
        if lease.session is not None:
            self.out.effect(StopUnanswered(session=lease.session, job_id=job.id, epoch=job.epoch))
        within = f"within {self.settings.stop_ack_timeout_s:g} s"
        by = request.by if request is not None else "somebody"
        self.event(
            job, Event.STOP_UNANSWERED, now, message=f"Stopped by {by}. Its worker did not answer the stop {within}."
        )

    # -- grants

    def match(self, now: Now) -> None:
        """Gives each free slot, the best first, the job whose turn it is there; one synchronous step for each."""
        waiting = self.backlog.waiting
        if not waiting.total:
            return
        waiting.unbar(self.jobs, now.mono_s)
        ready = Ready(self.fleet.with_room(waiting.wants))
        while (session := ready.best()) is not None:
            job = waiting.first(session.profile, session.worker)
            if job is None:
                ready.drop(session)
                continue
            if job.needs.policy is not None:
                session = self._favoured(job, session, ready)
            self._grant(job, session, now)
            ready.given(session)

    def _favoured(self, job: JobHeader, session: Session, ready: Ready) -> Session:
        """Who gets the job whose turn it is at `session`: another one only if its policy likes that better, it is as
        free, and it is the job's turn there, too.
        """
        other = ready.as_good(session, favourite(job.needs))
        if other is None or self.backlog.waiting.first(other.profile, other.worker) is not job:
            return session
        return other

    def _grant(self, job: JobHeader, session: Session, now: Now) -> None:
        self.backlog.grant(job, session.profile, now)
        job.epoch += 1
        job.status, job.worker, job.lost, job.lost_counted = JobStatus.ASSIGNED, session.worker, False, False
        lease = self.leases.grant(job, session, now, taken=False)
        lease.profile = session.profile
        session.occupied.add(AttemptRef(job.id, job.epoch))
        session.idle_since_s = now.mono_s
        salt = self._dice(32)
        self.out.write(
            GrantJob(job_id=job.id, epoch=job.epoch, worker=session.worker, salt=salt, granted_at_ms=now.wall_ms)
        )
        self.out.changed(job)
        self.assign(job, session.id, salt)

    def assign(self, job: JobHeader, session: int, salt: bytes) -> None:
        """`salt` is empty when it is in the store only (an attempt that is sent again)."""
        fresh = self.fresh.get(job.id)
        self.out.effect(
            Assign(
                session=session,
                job_id=job.id,
                epoch=job.epoch,
                job_type=job.needs.job_type.value,
                privacy_class=job.needs.privacy_class.value,
                salt=salt,
                tenant=job.needs.tenant,
                user_id=job.user_id,
                policy=job.needs.policy,
                payment_ref=job.payment_ref,
                input=fresh.input if fresh else None,
                params=fresh.params if fresh else None,
            )
        )


def _reason(change: Step, code: FailureCode | None) -> FailureCode | None:
    """Why an attempt ended, with the code its worker gave, if any."""
    return code if code is not None and change.failure is FailureCode.WORKER_ERROR else change.failure
