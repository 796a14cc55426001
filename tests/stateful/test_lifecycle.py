"""P17: the life of jobs on every store, in any order Hypothesis thinks of; EXAMPLES is how many lives (make stateful).

Three workers, one of them Dispatch's, and one coordinator do what the rules say. After each commit every job in the
store is what the model says.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from cavvy import defaults
from cavvy.core.commands import Command, RunAgain, SessionClosed, SubmitJob
from cavvy.core.effects import (
    CompletionAnswered,
    Registered,
    Reply,
    ReplyCode,
    Verdict,
)
from cavvy.core.job import AttemptRef, Policy, RejectReason, TaskType
from cavvy.store.base import header_of
from tests.stateful.model import Job
from tests.stateful.play import LegacyPlayer, Player
from tests.stateful.trust_rules import MAX_JOBS, TrustRules

EXAMPLES = int(os.environ.get("EXAMPLES", "40"))
STEPS = 30
#: Long enough for every clock that may take an attempt from a worker that is not there.
LONG_S = int(defaults.RESTART_GRACE_S + defaults.LEASE_TTL_S) + 5
FINAL_CODES = ("input_too_large", "output_too_large")


class Lifecycle(TrustRules):
    """The rules; each store makes a machine of its own of it."""

    @precondition(lambda self: len(self.model.jobs) < MAX_JOBS)
    @rule(key=st.sampled_from([None, "a", "b"]), twice=st.booleans())
    def submit(self, key: str | None, twice: bool) -> None:
        """P11: whatever its key has made before is its job."""
        self.run(self._submit([self.stack.submission(key=key) for _ in range(1 + (twice and key is not None))]))

    @precondition(lambda self: len(self.model.jobs) < MAX_JOBS)
    @rule(committed=st.booleans(), task=st.sampled_from([None, *TaskType]))
    def submit_another_kind(self, committed: bool, task: TaskType | None) -> None:
        """A TASK, a job of somebody who sends no key, over Dispatch's routes, or both."""
        tenant = defaults.DISPATCH_TENANT if committed else defaults.TENANT
        command = self.stack.submission(tenant=tenant, policy=Policy.FAST if committed else None, task=task)
        self.model.jobs[command.id] = Job(command.id, task=task is not None, committed=committed)
        self.run(self.batch(command))

    async def _submit(self, commands: list[SubmitJob]) -> None:
        key = commands[0].idempotency and commands[0].idempotency.key
        expected = self.model.keys.get(key, commands[0].id) if key else commands[0].id
        known = await self.stack.store.idempotent(defaults.TENANT, [key] if key else [], not_before_ms=0)
        if key in known:
            assert known[key].job_id == expected
            return
        self.expect_submitted(commands)
        replies = [one for one in await self.batch(*commands) if isinstance(one, Reply)]
        assert {one.job_id for one in replies} == {expected}
        assert [one.code for one in replies] == [ReplyCode.OK, ReplyCode.REPLAYED][: len(commands)]

    def expect_submitted(self, commands: list[SubmitJob]) -> None:
        first = commands[0]
        self.model.jobs[first.id] = Job(first.id)
        if first.idempotency is not None:
            self.model.keys[first.idempotency.key] = first.id

    @precondition(lambda self: self.somebody_holds)
    @rule(data=st.data())
    def start(self, data: st.DataObject) -> None:
        player, ref = self.pick_held(data)
        job = self.model.mine(player.key, ref)
        if job is not None:
            job.start()
        player.started_here.add(ref)
        self.run(self.batch(player.started(player.holds[ref])))

    @precondition(lambda self: self.somebody_holds)
    @rule(data=st.data())
    def complete(self, data: st.DataObject) -> None:
        """P3, P4: the first result of whoever may speak for the job, and that one as often as it is sent."""
        player, ref = self.pick_held(data)
        self.run(self._complete(player, ref, again=data.draw(st.booleans(), "sent again")))

    async def _complete(self, player: Player, ref: AttemptRef, *, again: bool) -> None:
        done = await player.completed(player.holds[ref])
        player.drop(ref)
        for _ in range(1 + again):
            job = self.model.mine(player.key, ref)
            if job is not None:
                job.complete()
            effects = await self.batch(done)
            (answer,) = [one for one in effects if isinstance(one, CompletionAnswered)]
            assert await self.resolved(answer) == self.model.verdict(player.key, ref)

    async def resolved(self, answer: CompletionAnswered) -> str:
        if answer.verdict is not Verdict.UNKNOWN:
            return answer.verdict.value
        stored = await self.stack.store.accepted(answer.job_id, answer.epoch)
        worker = next(one.key for one in self.players if one.session == answer.session)
        return "accepted" if stored == (worker, True) else "stale"

    @precondition(lambda self: self.native_holds)
    @rule(data=st.data(), code=st.sampled_from(FINAL_CODES))
    def fail(self, data: st.DataObject, code: str) -> None:
        player, ref = self.pick_held(data, native=True)
        job = self.model.mine(player.key, ref)
        if job is not None and job.active:
            job.fail(code, "failed", counted=True)
        command = player.failed(player.holds[ref], code)
        player.drop(ref)
        self.run(self.batch(command))

    @precondition(lambda self: self.somebody_holds)
    @rule(data=st.data())
    def fail_for_now(self, data: st.DataObject) -> None:
        """P8: it is tried again after a while, three times in all. Dispatch's workers say so by an output."""
        player, ref = self.pick_held(data)
        job = self.model.mine(player.key, ref)
        if job is not None and job.active:
            job.fail_for_now()
        self.rejected = True
        command: Command = player.failed(player.holds[ref], retryable=True)
        if isinstance(player, LegacyPlayer):
            command = player.answered(player.holds[ref], {"error": "broken"})
        player.drop(ref)
        self.run(self.batch(command))

    @precondition(lambda self: any(job.status == "failed" for job in self.model.jobs.values()))
    @rule(data=st.data())
    def run_again(self, data: st.DataObject) -> None:
        jobs = [job for job in self.model.jobs.values() if job.status == "failed"]
        self.run(self._run_again(data.draw(st.sampled_from(jobs), "job")))

    async def _run_again(self, job: Job) -> None:
        command = RunAgain(ref=self.stack.next_ref(), job=header_of(await self.stored(job.id)))
        job.run_again()
        effects = await self.batch(command)
        assert [one.code for one in effects if isinstance(one, Reply)] == [ReplyCode.OK]

    @precondition(lambda self: self.native_holds)
    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        """A worker says that it has stopped it, asked or not."""
        player, ref = self.pick_held(data, native=True)
        job = self.model.mine(player.key, ref)
        if job is not None and job.active:
            job.fail("worker_lost", "lost", counted=True)
        command = player.stopped(player.holds[ref])
        player.drop(ref)
        self.run(self.batch(command))

    @precondition(lambda self: self.somebody_holds)
    @rule(data=st.data(), reason=st.sampled_from(RejectReason))
    def reject(self, data: st.DataObject, reason: RejectReason) -> None:
        """A worker does not take what it was granted, or says that it leaves."""
        player, ref = self.pick_held(data)
        reason = RejectReason.UNSUPPORTED if player.legacy else reason
        job = self.model.mine(player.key, ref)
        if job is not None and job.active:
            job.give_back("drained" if reason is RejectReason.DRAINING else "rejected")
        player.leaving = player.leaving or reason is RejectReason.DRAINING
        self.rejected = True
        command = player.rejected(player.holds[ref], reason)
        player.drop(ref)
        self.run(self.batch(command))

    @precondition(lambda self: self.native_online)
    @rule(data=st.data())
    def drain(self, data: st.DataObject) -> None:
        """P12: it takes nothing new; what it still has when it goes is given back at once."""
        player = self.pick_player(data, online=True, native=True)
        player.leaving = True
        self.run(self.batch(player.draining()))

    @precondition(lambda self: self.model.jobs)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job = self.pick_job(data)
        job.cancel()
        self.run(self.batch(self.stack.cancellation(job.id, tenant=job.tenant)))

    @precondition(lambda self: self.model.online)
    @rule(data=st.data(), dies=st.booleans())
    def disconnect(self, data: st.DataObject, dies: bool) -> None:
        """Its socket is gone; if the process died, so has what it held."""
        player = self.pick_player(data, online=True)
        self.gone(player)
        if player.leaving:
            self.expect_left(player)
        elif player.legacy:
            self.expect_registered(player, ())
        self.run(self.batch(SessionClosed(session=player.session)))
        if dies or player.leaving:
            self.reborn(player)

    def expect_left(self, player: Player) -> None:
        for job in self.model.jobs.values():
            if job.active and job.newest.worker == player.key:
                job.give_back("drained")

    @precondition(lambda self: len(self.model.online) < len(self.players))
    @rule(data=st.data())
    def connect(self, data: st.DataObject) -> None:
        self.run(self._connect(self.pick_player(data, online=False)))

    async def _connect(self, player: Player) -> None:
        """The resume table: what it holds goes on, is revived or is stale; what it does not hold is lost."""
        player.instance = f"{player.name}-{player.lives}"
        player.leaving = False  # it would have to say it again
        held = tuple(player.holds)
        command = player.registration(held=held)
        lost = self.expect_registered(player, held)
        player.online = True
        self.model.online.add(player.key)
        effects = await self.batch(command)
        (answer,) = [one for one in effects if isinstance(one, Registered)]
        for entry in answer.resume:
            ref = AttemptRef(entry.job_id, entry.epoch)
            job = self.model.mine(player.key, ref)
            expected = "gone" if job is None else "stop" if job.asked else "go_on"
            assert entry.verdict.value.replace("stale", "gone").replace("unknown", "gone") == expected
            if expected == "gone":
                player.drop(ref)
        assert not lost & player.holds.keys(), "what was lost came again under the same epoch"

    def expect_registered(self, player: Player, held: tuple[AttemptRef, ...]) -> set[AttemptRef]:
        """What it held and does not hold any more, unless it can be sent again to the very process."""
        self.revive(player, held)
        lost = set()
        for job in self.model.jobs.values():
            ref = AttemptRef(job.id, job.epoch)
            if job.active and job.newest.worker == player.key and ref not in held:
                if self.again(player, job):
                    continue
                job.lose()
                lost.add(ref)
        return lost

    def again(self, player: Player, job: Job) -> bool:
        lease = self.stack.core._board.leases[job.id]
        return lease.instance == player.instance and job.status == "assigned" and not job.asked

    @rule(seconds=st.sampled_from([1, 3, 7, LONG_S]))
    def wait(self, seconds: int) -> None:
        """P2, P6: in the long run no worker that is away holds anything, and nobody waits beside a free slot."""
        self.run(self.pass_time(seconds))
        if seconds < LONG_S or self.rejected:
            return  # who has turned a job down is not asked again for a while
        for job in self.model.jobs.values():
            assert not job.active or job.newest.worker in self.model.online, f"held by nobody: {job}"
            assert not (job.active and job.asked), f"stops for ever: {job}"
        waiting = [job for job in self.model.jobs.values() if job.status == "pending"]
        free = [one for one in self.players if one.online and not one.leaving and len(one.holds) < one.slots]
        for job in waiting:
            idle = [one.name for one in free if self.model.may_run(one.key, job)]
            assert not idle, f"{job} waits although {idle} is free"

    @rule(data=st.data())
    def restart(self, data: st.DataObject) -> None:
        """Killed between two batches. Workers stay away until they come back."""
        self.run(self.die())

    @precondition(lambda self: len(self.model.jobs) < MAX_JOBS)
    @rule(written=st.booleans())
    def killed_in_a_commit(self, written: bool) -> None:
        """Killed before or after the commit of a submit and of all it brings about; nobody hears of it."""
        self.run(self._killed(self.stack.submission(), written))

    async def _killed(self, command: SubmitJob, written: bool) -> None:
        if written:
            self.expect_submitted([command])
            await self.batch(command, release=False)
        else:
            self.decide_in_vain(command)
        await self.die()

    @precondition(lambda self: len(self.model.jobs) < MAX_JOBS)
    @rule()
    def commit_fails(self) -> None:
        """Refused, nothing written: the core is built anew, sockets say what they hold, the batch is done again."""
        self.run(self._commit_fails(self.stack.submission()))

    async def _commit_fails(self, command: SubmitJob) -> None:
        self.decide_in_vain(command)
        await self.stack.rebuild()
        await self.forget_unwritten_starts()
        resumed: list[Command] = []
        for player in self.players:
            if player.online:
                self.revive(player, player.holds)
                resumed.append(player.resumed(*player.holds, draining=player.leaving))
                resumed += self.started_again(player)
        await self.batch(*resumed)
        self.expect_submitted([command])
        await self.batch(command)


class MemoryLifecycle(Lifecycle):
    kind = "memory"


class SqliteLifecycle(Lifecycle):
    kind = "sqlite"


ROUGH = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestP17OnMemory = MemoryLifecycle.TestCase
TestP17OnSqlite = SqliteLifecycle.TestCase
TestP17OnMemory.settings = TestP17OnSqlite.settings = ROUGH
