"""P16: a PRIVATE job is shown to workers that its user trusts, and to nobody else, whatever happens to either."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from msgspec.structs import replace

from cavvy import defaults
from cavvy.core.commands import CreateWorkerToken, RunAgain
from cavvy.core.effects import Assign, CompletionAnswered, Reply, ReplyCode, StopAttempt, Verdict
from cavvy.core.job import AttemptEnd, FailureCode, JobStatus, RejectReason, Terms
from cavvy.core.worker_status import WorkerAction
from cavvy.core.writes import DropTrust
from cavvy.store.base import header_of
from cavvy.testing import FakeWorker, Stack


class Scene(Stack):
    """A worker that the owner trusts, and a stranger, who has room for everything."""

    friend: FakeWorker
    stranger: FakeWorker

    async def open(self, **friend: int) -> None:
        await self.start()
        self.friend, self.stranger = FakeWorker(self, "friend", **friend), FakeWorker(self, "stranger", slots=100)
        await self.friend.join()
        await self.stranger.join()
        await self.pair()

    async def pair(self) -> None:
        await self.do(self.pairing(self.friend.key))

    async def unpair(self) -> None:
        await self.do(self.unpairing(self.friend.key))

    async def private(self, **fields: object) -> Assign:
        """A PRIVATE job that the friend is granted at once."""
        job_id = await self.submit(private=True, **fields)  # type: ignore[arg-type]
        return self.assigned(job_id)

    async def beats(self, seconds: float) -> None:
        """Time passes in which both are there and hold nothing."""
        for _ in range(int(seconds / 2)):
            await self.later(2.0, self.friend.beat(), self.stranger.beat())

    def seen_by(self, worker: FakeWorker) -> list[str]:
        """The jobs it was sent."""
        return [one.job_id for one in self.all(Assign) if one.session == worker.session]


@pytest.fixture
async def scene() -> Scene:
    scene = Scene()
    await scene.open()
    return scene


# -- who gets it


async def test_p16_only_the_trusted_worker_gets_it_however_busy_it_is(scene: Scene) -> None:
    jobs = [await scene.submit(private=True) for _ in range(5)]
    for job_id in jobs:
        await scene.do(await scene.friend.completed(scene.assigned(job_id)))
    assert scene.seen_by(scene.friend) == jobs
    assert scene.seen_by(scene.stranger) == []


@pytest.mark.parametrize("user", ["Owner", "owner ", " owner", "owne", "owner2", "", "OWNER", "öwner"])
async def test_p16_names_match_exactly(scene: Scene, user: str) -> None:
    command = scene.submission(private=True, user_id=user)
    await scene.do(command)
    assert scene.last(Reply).code is ReplyCode.NO_TRUSTED
    assert scene.all(Assign) == []


async def test_p16_a_user_of_the_same_name_in_another_tenant_is_another_one(scene: Scene) -> None:
    shared = FakeWorker(scene, "shared")
    await shared.join(tenant=defaults.SHARED)
    await scene.do(scene.pairing(shared.key, tenant="acme"))
    await scene.unpair()
    assert await scene.submit(private=True, waits_untrusted=True)
    await scene.submit(private=True, tenant="acme")
    assert [one.tenant for one in scene.all(Assign)] == ["acme"]


async def test_p16_one_worker_may_be_trusted_by_many_and_each_is_asked_for(scene: Scene) -> None:
    await scene.do(scene.pairing(scene.friend.key, "ann"))
    await scene.do(scene.pairing(scene.stranger.key, "bob"))
    sent = {}
    for user in ("ann", "bob"):
        grant = await scene.private(user_id=user)
        sent[user] = grant.session
        worker = scene.friend if grant.session == scene.friend.session else scene.stranger
        await scene.do(await worker.completed(grant))
    assert sent == {"ann": scene.friend.session, "bob": scene.stranger.session}


async def test_p16_a_worker_that_is_enrolled_by_a_private_token_is_trusted_by_its_user_only(scene: Scene) -> None:
    token_hash = scene.core_dice_hash()
    await scene.do(
        CreateWorkerToken(
            ref=scene.next_ref(),
            token_hash=token_hash,
            tenant=defaults.TENANT,
            created_by="ann",
            ttl_s=900,
            pairs_with="ann",
        )
    )
    laptop = FakeWorker(scene, "laptop")
    await laptop.connect(token_hash=token_hash)
    assert (await scene.private(user_id="ann")).session == laptop.session
    assert (await scene.private()).session == scene.friend.session


# -- nobody is trusted


async def test_p16_without_a_trusted_worker_it_fails_at_once_and_is_stored_so(scene: Scene) -> None:
    await scene.unpair()
    job_id = await scene.submit(private=True)
    job = await scene.job(job_id)
    assert job.failure is not None
    assert (scene.last(Reply).code, job.status, job.failure.code, job.epoch) == (
        ReplyCode.NO_TRUSTED, JobStatus.FAILED, FailureCode.NO_TRUSTED_WORKER, 0,
    )  # fmt: skip
    assert scene.all(Assign) == []


@pytest.mark.parametrize("action", [WorkerAction.PAUSE, WorkerAction.DRAIN, WorkerAction.REVOKE])
async def test_p16_a_trusted_worker_that_takes_nothing_is_as_good_as_none(scene: Scene, action: WorkerAction) -> None:
    await scene.do(scene.management(scene.friend.key, action))
    await scene.submit(private=True)
    assert scene.last(Reply).code is ReplyCode.NO_TRUSTED


async def test_p16_a_trusted_worker_that_cannot_run_it_is_as_good_as_none(scene: Scene) -> None:
    await scene.submit(private=True, model="another")
    assert scene.last(Reply).code is ReplyCode.NO_TRUSTED


async def test_p16_a_job_that_may_wait_is_granted_in_the_very_batch_that_pairs(scene: Scene) -> None:
    await scene.unpair()
    job_id = await scene.submit(private=True, waits_untrusted=True)
    await scene.beats(10)
    assert (await scene.job(job_id)).status is JobStatus.PENDING
    await scene.pair()
    assert scene.seen_by(scene.friend) == [job_id]


async def test_p16_who_pairs_and_submits_in_one_batch_is_not_refused(scene: Scene) -> None:
    await scene.unpair()
    await scene.do(scene.pairing(scene.friend.key), scene.submission(private=True))
    assert scene.last(Reply).code is ReplyCode.OK


async def test_p16_a_job_that_waits_too_long_for_a_trusted_worker_ends_as_its_window_says(scene: Scene) -> None:
    await scene.unpair()
    job_id = await scene.submit(private=True, waits_untrusted=True, terms=Terms(match_window_s=30.0))
    await scene.beats(40)
    job = await scene.job(job_id)
    assert job.failure is not None
    assert (job.failure.code, "paired" in job.failure.message) == (FailureCode.NO_ELIGIBLE_WORKER, True)


async def test_p16_a_job_run_again_waits_for_a_trusted_worker(scene: Scene) -> None:
    await scene.unpair()
    job_id = await scene.submit(private=True)
    await scene.do(RunAgain(ref=scene.next_ref(), job=header_of(await scene.job(job_id))))
    await scene.beats(10)
    assert (await scene.job(job_id)).status is JobStatus.PENDING
    await scene.pair()
    assert scene.seen_by(scene.friend) == [job_id]


# -- another try

Ending = Callable[[Scene, Assign], Awaitable[object]]


async def fails_for_now(scene: Scene, grant: Assign) -> None:
    await scene.do(scene.friend.started(grant), scene.friend.failed(grant, retryable=True))


async def rejects(scene: Scene, grant: Assign) -> None:
    await scene.do(scene.friend.rejected(grant, RejectReason.BUSY))


async def lies(scene: Scene, grant: Assign) -> None:
    await scene.do(await scene.friend.completed(grant, job_id="another"))


async def leaves(scene: Scene, grant: Assign) -> None:
    await scene.do(scene.friend.draining())
    await scene.friend.disconnect()


async def dies(scene: Scene, grant: Assign) -> None:
    await scene.do(scene.friend.started(grant))
    await scene.friend.disconnect()
    await scene.later(defaults.REQUEUE_AFTER_S + 2)


async def falls_silent(scene: Scene, grant: Assign) -> None:
    for _ in range(int(defaults.LEASE_TTL_S) + 4):
        await scene.later(1.0, scene.stranger.beat())


async def is_revoked(scene: Scene, grant: Assign) -> None:
    await scene.do(scene.management(scene.friend.key, WorkerAction.REVOKE))


@pytest.mark.parametrize("ends", [fails_for_now, rejects, lies, leaves, dies, falls_silent, is_revoked])
async def test_p16_what_comes_back_goes_to_nobody_else(scene: Scene, ends: Ending) -> None:
    grant = await scene.private()
    await ends(scene, grant)
    for _ in range(60):
        await scene.later(2.0, scene.stranger.beat())
    assert (await scene.job(grant.job_id)).status is JobStatus.PENDING, "an accepted one waits"
    assert scene.seen_by(scene.stranger) == []


@pytest.mark.parametrize("ends", [fails_for_now, dies])
async def test_p16_what_comes_back_goes_to_another_that_is_trusted(scene: Scene, ends: Ending) -> None:
    second = FakeWorker(scene, "second")
    await second.join()
    grant = await scene.private()
    await scene.do(scene.pairing(second.key))
    await ends(scene, grant)
    for _ in range(10):
        await scene.later(1.0, second.beat(), scene.stranger.beat())
    assert set(scene.seen_by(second)) == {grant.job_id}
    assert scene.seen_by(scene.stranger) == []


# -- a restart


async def test_p16_after_a_restart_it_goes_to_the_trusted_worker_only(scene: Scene) -> None:
    await scene.do(scene.management(scene.friend.key, WorkerAction.PAUSE))
    job_id = await scene.submit(private=True, waits_untrusted=True)
    await scene.restart()
    await scene.stranger.connect()
    await scene.later(defaults.RESTART_GRACE_S + 2)
    assert scene.all(Assign) == []
    await scene.stranger.connect()
    await scene.friend.connect()
    await scene.do(scene.management(scene.friend.key, WorkerAction.RESUME))
    assert scene.seen_by(scene.friend) == [job_id]


async def test_p16_what_ran_and_was_unpaired_before_a_restart_does_not_come_back(scene: Scene) -> None:
    grant = await scene.private()
    done = await scene.friend.completed(grant)
    await scene.unpair()
    await scene.restart()
    await scene.friend.connect(finished=(scene.friend.ref(grant),))
    await scene.do(replace(done, session=scene.friend.session))
    assert scene.last(CompletionAnswered).verdict is Verdict.STALE
    assert (await scene.job(grant.job_id)).status is JobStatus.PENDING
    assert scene.seen_by(scene.friend) == []


async def test_p16_who_is_unpaired_while_it_is_away_during_the_grace_gets_nothing_again(scene: Scene) -> None:
    grant = await scene.private()
    await scene.restart()
    await scene.unpair()
    answer = await scene.friend.connect(held=(scene.friend.ref(grant),))
    assert [one.verdict for one in answer.resume] == [Verdict.STALE]
    assert (await scene.job(grant.job_id)).attempts[-1].end is AttemptEnd.REVOKED
    assert scene.seen_by(scene.friend) == []


async def test_p16_a_grant_that_is_sent_again_is_asked_for_again(scene: Scene) -> None:
    """After a rebuild what a worker does not hold yet is sent again, unless it is not trusted any more."""
    grant = await scene.private()
    await scene.rebuild()
    await scene.do(scene.unpairing(scene.friend.key), scene.friend.resumed(), scene.stranger.resumed())
    assert [one.session for one in scene.all(Assign)] == [grant.session], "the first one"
    assert (await scene.job(grant.job_id)).status is JobStatus.PENDING


async def test_p16_a_grant_is_not_sent_again_to_a_worker_that_lost_its_trust_unnoticed(scene: Scene) -> None:
    """The store knows no pairing any more, and nobody has taken the attempt back."""
    grant = await scene.private()
    (trust,) = await scene.store.trusts(defaults.TENANT, defaults.USER)
    await scene.store.commit([DropTrust(id=trust.id)], term=1)
    await scene.rebuild()
    await scene.do(scene.friend.resumed(), scene.stranger.resumed())
    assert scene.all(Assign) == [grant]
    assert (await scene.job(grant.job_id)).status is JobStatus.PENDING


async def test_p16_what_runs_at_a_worker_that_lost_its_trust_unnoticed_is_taken_back_when_it_says_so(
    scene: Scene,
) -> None:
    grant = await scene.private()
    done = await scene.friend.completed(grant)
    (trust,) = await scene.store.trusts(defaults.TENANT, defaults.USER)
    await scene.store.commit([DropTrust(id=trust.id)], term=1)
    await scene.rebuild()
    await scene.do(scene.friend.resumed(scene.friend.ref(grant)))
    assert (await scene.job(grant.job_id)).attempts[-1].end is AttemptEnd.REVOKED
    assert scene.last(StopAttempt).job_id == grant.job_id
    await scene.do(done)
    assert scene.last(CompletionAnswered).verdict is Verdict.STALE


async def test_p16_who_is_not_trusted_takes_nothing_from_who_is_by_saying_that_he_has_it(scene: Scene) -> None:
    grant = await scene.private()
    ref = scene.friend.ref(grant)
    await scene.do(scene.stranger.beat(ref))
    await scene.stranger.connect(held=(ref,), finished=(ref,))
    assert (await scene.job(grant.job_id)).status is JobStatus.ASSIGNED
    await scene.do(await scene.friend.completed(grant))
    assert scene.last(CompletionAnswered).verdict is Verdict.ACCEPTED


# -- trust ends


async def test_p16_what_a_worker_holds_is_taken_back_when_trust_ends(scene: Scene) -> None:
    grant = await scene.private()
    await scene.do(scene.friend.started(grant))
    await scene.unpair()
    job = await scene.job(grant.job_id)
    assert (job.status, job.attempts[-1].end, job.tries) == (JobStatus.PENDING, AttemptEnd.REVOKED, 0)
    assert (scene.last(StopAttempt).session, scene.last(StopAttempt).job_id) == (grant.session, grant.job_id)


async def test_p16_a_grant_that_is_under_way_when_trust_ends_is_not_sent(scene: Scene) -> None:
    grant = await scene.private()
    assert scene.core.stands(grant.session, grant.job_id, grant.epoch)
    scene.core.handle(scene.unpairing(scene.friend.key), scene.clock())
    assert not scene.core.stands(grant.session, grant.job_id, grant.epoch)


async def test_p16_the_send_asks_by_itself_and_trusts_no_grant(scene: Scene) -> None:
    """Whoever forgot to take it back: nothing that may not be seen is sent."""
    grant = await scene.private()
    session = scene.core._board.fleet.get(grant.session)
    assert session is not None
    scene.core._board.reprofile(session, replace(session.profile, pairs=frozenset()))
    assert not scene.core.stands(grant.session, grant.job_id, grant.epoch)


async def test_p16_a_job_submitted_before_the_trust_ends_in_the_same_batch_is_not_granted(scene: Scene) -> None:
    submission = scene.submission(private=True)
    await scene.do(submission, scene.unpairing(scene.friend.key))
    assert (await scene.job(submission.id)).status is JobStatus.PENDING
    assert scene.all(Assign) == []


async def test_p16_a_result_that_comes_after_the_end_of_trust_is_not_taken(scene: Scene) -> None:
    grant = await scene.private()
    await scene.do(scene.unpairing(scene.friend.key), await scene.friend.completed(grant))
    assert scene.last(CompletionAnswered).verdict is Verdict.STALE
    assert (await scene.job(grant.job_id)).result is None


async def test_p16_a_result_that_came_before_the_end_of_trust_is_taken(scene: Scene) -> None:
    grant = await scene.private()
    await scene.do(await scene.friend.completed(grant), scene.unpairing(scene.friend.key))
    assert scene.last(CompletionAnswered).verdict is Verdict.ACCEPTED


async def lost(scene: Scene) -> Assign:
    """An attempt whose worker is not heard of any more, but may come back with it."""
    grant = await scene.private()
    await scene.do(scene.friend.started(grant), scene.friend.beat(free=0))
    for _ in range(int(defaults.LEASE_TTL_S) + 4):
        await scene.later(1.0, scene.stranger.beat())
        scene.core._board.fleet.get(scene.friend.session).last_heard_s = scene.clock().mono_s  # type: ignore[union-attr]
    assert (await scene.job(grant.job_id)).attempts[-1].end is AttemptEnd.LOST
    return grant


@pytest.mark.parametrize("way", ["beat", "started", "completed", "held", "finished"])
async def test_p16_a_lost_attempt_does_not_come_back_to_a_worker_that_is_not_trusted_any_more(
    scene: Scene, way: str
) -> None:
    grant = await lost(scene)
    done = await scene.friend.completed(grant)
    await scene.unpair()
    ref = scene.friend.ref(grant)
    match way:
        case "beat":
            await scene.do(scene.friend.beat(ref))
        case "started":
            await scene.do(scene.friend.started(grant))
        case "completed":
            await scene.do(done)
        case _:
            await scene.friend.connect(**{way: (ref,)})  # type: ignore[arg-type]
            await scene.do(replace(done, session=scene.friend.session))
    job = await scene.job(grant.job_id)
    assert (job.status, job.epoch, job.result) == (JobStatus.PENDING, 1, None)


async def test_p16_a_lost_attempt_that_was_refused_for_want_of_trust_does_not_come_back_with_it(scene: Scene) -> None:
    grant = await lost(scene)
    await scene.unpair()
    await scene.do(scene.friend.beat(scene.friend.ref(grant), free=0))
    await scene.pair()
    await scene.do(await scene.friend.completed(grant))
    assert scene.last(CompletionAnswered).verdict is Verdict.STALE
    assert (await scene.job(grant.job_id)).result is None


async def test_p16_the_end_of_one_trust_touches_nothing_else_the_worker_holds() -> None:
    scene = Scene()
    await scene.open(slots=3)
    await scene.do(scene.pairing(scene.friend.key, "ann"))
    await scene.do(scene.management(scene.stranger.key, WorkerAction.PAUSE))
    mine, anns, public = await scene.private(), await scene.private(user_id="ann"), await scene.submit()
    await scene.unpair()
    statuses = [(await scene.job(one)).status for one in (mine.job_id, anns.job_id, public)]
    assert statuses == [JobStatus.PENDING, JobStatus.ASSIGNED, JobStatus.ASSIGNED]
    assert [one.job_id for one in scene.all(StopAttempt)] == [mine.job_id]


async def test_p16_the_end_of_one_trust_leaves_what_another_trusted_worker_runs(scene: Scene) -> None:
    second = FakeWorker(scene, "second")
    await second.join()
    await scene.do(scene.pairing(second.key))
    grants = {one.session: one for one in (await scene.private(), await scene.private())}
    await scene.unpair()
    kept, ended = grants[second.session], grants[scene.friend.session]
    assert (await scene.job(kept.job_id)).status is JobStatus.ASSIGNED
    assert [one.job_id for one in scene.all(StopAttempt)] == [ended.job_id]


async def test_p16_what_was_asked_to_stop_ends_with_the_trust(scene: Scene) -> None:
    grant = await scene.private()
    await scene.do(scene.cancellation(grant.job_id))
    await scene.unpair()
    job = await scene.job(grant.job_id)
    assert job.failure is not None
    assert job.failure.code is FailureCode.ABORTED


async def test_p16_a_worker_that_is_away_when_trust_ends_loses_what_it_holds(scene: Scene) -> None:
    grant = await scene.private()
    await scene.friend.disconnect()
    await scene.unpair()
    assert (await scene.job(grant.job_id)).attempts[-1].end is AttemptEnd.REVOKED


async def test_p16_who_is_trusted_again_gets_it_in_a_new_attempt(scene: Scene) -> None:
    grant = await scene.private()
    await scene.unpair()
    await scene.pair()
    await scene.do(scene.friend.beat())
    assert [(one.job_id, one.epoch) for one in scene.all(Assign)] == [(grant.job_id, 1), (grant.job_id, 2)]
    await scene.do(await scene.friend.completed(grant))
    assert scene.last(CompletionAnswered).verdict is Verdict.STALE


async def test_p16_a_worker_says_in_vain_that_it_is_trusted(scene: Scene) -> None:
    """Who is paired with whom is the coordinator's word."""
    await scene.unpair()
    command = scene.stranger.registration()
    liar = replace(command.profile, pairs=frozenset({(defaults.TENANT, defaults.USER)}), tenant=defaults.SHARED)
    await scene.do(replace(command, profile=liar))
    await scene.submit(private=True)
    assert scene.last(Reply).code is ReplyCode.NO_TRUSTED


async def test_p16_a_receipt_says_what_the_job_was(scene: Scene) -> None:
    """A worker that signs PUBLIC for what was PRIVATE, or another payment, has signed something else."""
    grant = await scene.private(payment_ref="pay_1")
    assert grant.payment_ref == "pay_1"
    for wrong in ({"privacy_class": "PUBLIC"}, {"payment_ref": None}, {"payment_ref": "pay_2"}):
        await scene.do(await scene.friend.completed(grant, **wrong))
        assert scene.last(CompletionAnswered).verdict is Verdict.STALE
        await scene.beats(80)
        grant = scene.assigned(grant.job_id)
    assert (await scene.job(grant.job_id)).result is None
