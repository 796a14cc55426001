"""Workers of Dispatch's in the core: what counts of what they say, and what their leaving means."""

from __future__ import annotations

import base64
import json
from itertools import count

import msgspec
import pytest

from cavvy import defaults
from cavvy.core.canonical import sha256_hex
from cavvy.core.commands import Heartbeat, JobCompleted, JobStarted, RegisterWorker, SessionClosed
from cavvy.core.ed25519 import public_key, sign
from cavvy.core.effects import Assign, CloseSession, Registered, ReplyCode
from cavvy.core.job import AttemptEnd, AttemptRef, FailureCode, JobStatus, JobType, Policy
from cavvy.core.legacy_receipt import seal_as_sent
from cavvy.core.matching import Profile
from cavvy.store.base import JobRecord
from cavvy.testing import FakeWorker, Stack

_sessions = count(10_000)
DISPATCH = defaults.DISPATCH_TENANT


class LegacyWorker:
    """What its socket tells the core."""

    def __init__(self, stack: Stack, seed: bytes = bytes([7] * 32)) -> None:
        self.stack = stack
        self.seed = seed
        self.key = public_key(seed).hex()
        self.session = 0

    async def join(self) -> Registered:
        self.session = next(_sessions)
        command = RegisterWorker(
            ref=self.stack.next_ref(),
            session=self.session,
            worker=self.key,
            worker_id=f"wrk_{self.key[:8]}",
            name="legacy",
            instance=f"socket-{self.session}",
            profile=Profile(tenant="", job_types=frozenset(JobType), models=frozenset(), legacy=True),
            slots=1,
        )
        effects = await self.stack.do(command)
        return next(one for one in effects if isinstance(one, Registered))

    def started(self, grant: Assign) -> JobStarted:
        return JobStarted(session=self.session, job_id=grant.job_id, epoch=grant.epoch)

    def beat(self, *held: AttemptRef) -> Heartbeat:
        return Heartbeat(session=self.session, held=held, free=1 - len(held))

    def completed(self, grant: Assign, result: bytes = b'{"text":"hi","model":"m"}', **wrong: str) -> JobCompleted:
        receipt = {
            "job_id": grant.job_id,
            "provider_pubkey": self.key,
            "output_hash": sha256_hex(result),
            "completed_at": "2026-01-01T00:00:01.000Z",
            "payment_ref": None,
        } | wrong
        message = json.dumps(receipt, separators=(",", ":")).encode()
        return JobCompleted(
            session=self.session,
            job_id=grant.job_id,
            epoch=grant.epoch,
            result=result,
            receipt=seal_as_sent(receipt, base64.b64encode(sign(self.seed, message)).decode()),
            input_hash=None,
            params_hash=None,
        )


@pytest.fixture
async def worker(stack: Stack) -> LegacyWorker:
    worker = LegacyWorker(stack)
    await worker.join()
    return worker


async def committed(stack: Stack) -> str:
    """A job as it comes over Dispatch's routes."""
    command = stack.submission(tenant=DISPATCH)
    needs = msgspec.structs.replace(command.needs, policy=Policy.FAST)
    await stack.do(msgspec.structs.replace(command, needs=needs))
    return command.id


async def granted(stack: Stack, worker: LegacyWorker) -> Assign:
    grant = stack.assigned(await committed(stack))
    assert grant.session == worker.session
    await stack.do(worker.started(grant))
    return grant


async def stored(stack: Stack, job_id: str) -> JobRecord:
    record = await stack.store.job(DISPATCH, job_id)
    assert record is not None
    return record


async def test_p15_its_receipt_completes_the_job_and_is_kept_as_it_came(stack: Stack, worker: LegacyWorker) -> None:
    grant = await granted(stack, worker)
    said = worker.completed(grant)
    await stack.do(said)
    record = await stored(stack, grant.job_id)
    assert (record.status, record.result, record.receipt) == (JobStatus.COMPLETED, said.result, said.receipt)
    assert (record.output_hash, record.served_model) == (sha256_hex(said.result), "m")


@pytest.mark.parametrize("wrong", [{"job_id": "another"}, {"output_hash": "ab" * 32}, {"provider_pubkey": "cd" * 32}])
async def test_p15_a_receipt_that_is_not_about_this_result_fails_the_attempt(
    stack: Stack, worker: LegacyWorker, wrong: dict[str, str]
) -> None:
    grant = await granted(stack, worker)
    await stack.do(worker.completed(grant, **wrong))
    record = await stored(stack, grant.job_id)
    assert (record.status, record.attempts[0].code) == (JobStatus.PENDING, FailureCode.REJECTED_RECEIPT)


async def test_p15_a_native_receipt_is_none_of_a_legacy_worker_and_the_other_way_round(
    stack: Stack, worker: LegacyWorker
) -> None:
    grant = await granted(stack, worker)
    native = FakeWorker(stack, "native")
    await native.join()
    honest = await native.completed(grant)
    await stack.do(msgspec.structs.replace(worker.completed(grant), receipt=honest.receipt))
    assert (await stored(stack, grant.job_id)).attempts[0].code is FailureCode.REJECTED_RECEIPT
    own = stack.assigned(await stack.submit())
    forged = msgspec.structs.replace(worker.completed(own), session=native.session)
    await stack.do(forged)
    assert (await stack.job(own.job_id)).attempts[0].code is FailureCode.REJECTED_RECEIPT


@pytest.mark.parametrize(
    ("result", "code"),
    [
        (b'{"error":"no"}', FailureCode.WORKER_ERROR),
        (b'{"text":"x","stub":true}', FailureCode.WORKER_ERROR),
        (b"null", FailureCode.INVALID_OUTPUT),
    ],
)
async def test_what_only_looks_like_a_result_fails_the_attempt_though_it_is_signed(
    stack: Stack, worker: LegacyWorker, result: bytes, code: FailureCode
) -> None:
    grant = await granted(stack, worker)
    await stack.do(worker.completed(grant, result))
    record = await stored(stack, grant.job_id)
    assert (record.status, record.attempts[0].code) == (JobStatus.PENDING, code)


async def test_it_gets_no_job_that_its_dialect_cannot_tell(stack: Stack, worker: LegacyWorker) -> None:
    await stack.submit(tenant=DISPATCH)
    assert stack.all(Assign) == []


async def test_the_job_of_one_that_is_gone_is_granted_again_in_the_same_moment(
    stack: Stack, worker: LegacyWorker
) -> None:
    grant = await granted(stack, worker)
    other = LegacyWorker(stack, bytes([8] * 32))
    await other.join()
    await stack.do(SessionClosed(session=worker.session))
    again = stack.assigned(grant.job_id)
    assert (again.session, again.epoch) == (other.session, 2)
    attempt = (await stored(stack, grant.job_id)).attempts[0]
    assert (attempt.end, attempt.counted) == (AttemptEnd.LOST, True)


async def test_one_that_comes_again_takes_its_own_place_and_its_job_begins_anew(
    stack: Stack, worker: LegacyWorker
) -> None:
    grant, old = await granted(stack, worker), worker.session
    await worker.join()
    assert stack.last(CloseSession).session == old
    again = stack.assigned(grant.job_id)
    assert (again.session, again.epoch) == (worker.session, 2)
    late = msgspec.structs.replace(worker.completed(grant), session=old)
    await stack.do(late)
    assert (await stored(stack, grant.job_id)).status is JobStatus.ASSIGNED


async def test_what_its_socket_holds_is_renewed_with_each_beat(stack: Stack, worker: LegacyWorker) -> None:
    grant = await granted(stack, worker)
    for _ in range(10):
        await stack.later(defaults.HEARTBEAT_S, worker.beat(AttemptRef(grant.job_id, grant.epoch)))
    assert (await stored(stack, grant.job_id)).attempts[0].ended_at_ms is None


async def test_a_key_that_only_came_as_one_of_dispatchs_joins_with_a_token_like_any_other(
    stack: Stack, worker: LegacyWorker
) -> None:
    native = FakeWorker(stack, "native")
    legacy = LegacyWorker(stack, native.seed)
    await legacy.join()
    assert (await native.connect()).code is ReplyCode.WORKER_UNKNOWN
    joined = await native.connect(token_hash=await stack.token())
    assert (joined.code, joined.tenant) == (ReplyCode.OK, defaults.TENANT)
    assert [one.key for one in await stack.store.workers(defaults.TENANT)] == [native.key]
    assert (await legacy.join()).code is ReplyCode.WORKER_NATIVE


async def test_no_more_keys_enrol_themselves_than_that_and_who_is_known_still_comes(
    stack: Stack, worker: LegacyWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defaults, "MAX_LEGACY_WORKERS", 1)
    assert (await worker.join()).code is ReplyCode.OK
    assert (await LegacyWorker(stack, bytes([8] * 32)).join()).code is ReplyCode.TOO_MANY_WORKERS
    assert (await worker.join()).code is ReplyCode.OK


async def test_a_revoked_one_does_not_come_back_with_a_token(stack: Stack, worker: LegacyWorker) -> None:
    from cavvy.core.worker_status import WorkerAction

    native = FakeWorker(stack, "native")
    legacy = LegacyWorker(stack, native.seed)
    await legacy.join()
    await stack.do(stack.management(legacy.key, WorkerAction.REVOKE, tenant=DISPATCH))
    assert (await native.connect(token_hash=await stack.token())).code is ReplyCode.WORKER_REVOKED
    assert (await legacy.join()).code is ReplyCode.WORKER_REVOKED
