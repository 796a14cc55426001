"""Commands, effects and writes are data: every kind survives a wire, and a recording of commands is the whole story."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, get_args

import msgspec
import pytest

from cavvy.core.commands import (
    CancelJob,
    CancelThread,
    ClaimTrust,
    Command,
    ConfirmTrust,
    CreateApiKey,
    CreateTenant,
    CreateTrustCode,
    CreateWorkerToken,
    EndTrust,
    EraseJob,
    Heartbeat,
    JobCompleted,
    JobFailed,
    JobRejected,
    JobStarted,
    JobStopped,
    ManageWorker,
    PairWorker,
    Progress,
    RegisterWorker,
    ReleaseStop,
    Retain,
    RevokeApiKey,
    RotateApiKey,
    RunAgain,
    SessionClosed,
    SessionDraining,
    SessionResumed,
    StopTenant,
    SubmitJob,
    Undelivered,
)
from cavvy.core.coordinator import Coordinator
from cavvy.core.effects import (
    Assign,
    CloseSession,
    CompletionAnswered,
    Effect,
    FrameRefused,
    HeartbeatAnswered,
    JobChanged,
    JobEnded,
    KeyChanged,
    Registered,
    Reply,
    ReplyCode,
    Resume,
    StopAttempt,
    StopChanged,
    StopUnanswered,
    TrustAnswered,
    Verdict,
    WorkerChanged,
    WorkerCooled,
)
from cavvy.core.identity import ApiKey, Role, Tenant
from cavvy.core.job import (
    AttemptEnd,
    AttemptRef,
    CancelRequest,
    Effort,
    Failure,
    FailureCode,
    JobHeader,
    JobStatus,
    JobType,
    Needs,
    Now,
    Policy,
    PrivacyClass,
    RejectReason,
    Terms,
    WorkerStatus,
)
from cavvy.core.latch import StopLatch, Stopped
from cavvy.core.matching import Profile
from cavvy.core.reading import Reading, ResultForm
from cavvy.core.retention import Due, DueJob, Horizons
from cavvy.core.trust import Trust
from cavvy.core.worker_status import WorkerAction
from cavvy.core.writes import (
    AddApiKey,
    AddTenant,
    AddWorkerToken,
    BookUsage,
    CompleteJob,
    DropExpiredTokens,
    DropIdempotencyKeys,
    DropJobs,
    DropRevokedKeys,
    DropStop,
    DropTrust,
    DropUsedTokens,
    EnrolWorker,
    EraseJobs,
    FailJob,
    GrantJob,
    Idempotency,
    InsertJob,
    PutTrust,
    ReplaceApiKey,
    RequestCancel,
    RequeueJob,
    RetryJob,
    ReviveAttempt,
    SetStop,
    SetWorkerStatus,
    StartAttempt,
    Usage,
    Write,
)
from cavvy.store.base import header_of
from cavvy.testing import FakeWorker, Stack, dice

BYTES = bytes(range(256))
TEXT = "ünï\0code \U0001f40e \u2028"
REF, OTHER_REF = AttemptRef("job-1", 3), AttemptRef("job-2", 1)
NEEDS = Needs(
    tenant="t", job_type=JobType.TASK, privacy_class=PrivacyClass.PRIVATE, model="m", owner="u", policy=Policy.FAST
)
TERMS = Terms(
    timeout_s=1.5,
    first_token_timeout_s=2.5,
    stall_timeout_s=3.5,
    match_window_s=4.5,
    max_attempts=5,
    deadline_at_ms=7,
    not_before_ms=6,
)
URGENT: dict[str, Any] = {
    "effort": Effort.DEEP, "thread_id": TEXT, "terms": TERMS, "estimated_tokens": 8, "payment_ref": TEXT
}  # fmt: skip
PROFILE = Profile(tenant="t", job_types=frozenset(JobType), models=frozenset({"m", "n"}))
READING = Reading(
    result=BYTES,
    form=ResultForm(JobType.TASK, legacy=True),
    output_hash="ab" * 32,
    size=256,
    model="m",
    flaw="none",
    failure=FailureCode.WORKER_ERROR,
    message=TEXT,
)
USAGE = Usage(input_tokens=7, output_tokens=2**53 - 1)
KEYED = Idempotency(key="k", fingerprint=BYTES)
ASKED = CancelRequest(by="owner", reason=TEXT, at_ms=5)
FAILURE = Failure(code=FailureCode.ABORTED, message=TEXT, at_ms=6, by="owner", reason="no", attempt=3, stop_ms=9)
KEY = ApiKey(
    key_id="k",
    secret_hash=BYTES,
    role="admin",
    tenant="t",
    user_id="u",
    created_at_ms=1,
    name=TEXT,
    created_by="o",
    act_for_users=True,
    expires_at_ms=2,
    revoked_at_ms=3,
    old_secret_hash=BYTES,
    old_until_ms=4,
)
TENANT = Tenant(id="t", created_at_ms=1)
LATCH = StopLatch(tenant="t", stop_seq=7, by="owner", reason=TEXT, at_ms=5, latched=True)
TRUST = Trust(
    id="tr",
    tenant="t",
    user_id="u",
    created_at_ms=1,
    expires_at_ms=2,
    code_hash=BYTES,
    keyed=False,
    worker="aa" * 32,
    address="::1",
    paired_at_ms=3,
)
HEADER = JobHeader(
    id="job-1", seq=1, number=2, user_id="u", needs=NEEDS, status=JobStatus.FAILED, created_at_ms=3, cancel=ASKED
)
ATTEMPT: dict[str, Any] = {"job_id": "job-1", "epoch": 3}

COMMANDS: list[Command] = [
    SubmitJob(
        ref=1,
        id="job-1",
        user_id="u",
        needs=NEEDS,
        input=BYTES,
        params=BYTES,
        metadata=BYTES,
        idempotency=KEYED,
        waits_untrusted=True,
        **URGENT,
    ),
    CancelJob(ref=2, tenant="t", job_id="job-1", by="owner", reason=TEXT),
    CancelThread(ref=2, tenant="t", thread="chat", by="owner", reason=TEXT),
    RunAgain(ref=2, job=HEADER),
    StopTenant(ref=2, tenant="t", by="owner", reason=TEXT, latch=False),
    ReleaseStop(ref=2, tenant="t"),
    EraseJob(ref=2, job_id="job-1", seq=3),
    Retain(ref=2, due=Due(erase=(DueJob("job-1", 3, 99),)), horizons=Horizons(texts_ms=4)),
    CreateWorkerToken(
        ref=3, token_hash=BYTES, tenant="t", created_by="owner", ttl_s=900, needs_approval=True, pairs_with="u"
    ),
    ManageWorker(ref=4, tenant="t", worker="aa" * 32, action=WorkerAction.DRAIN),
    CreateTrustCode(ref=4, id="tr", tenant="t", user_id="u", code_hash=BYTES, keyed=False),
    ClaimTrust(ref=4, code_hash=BYTES, worker="aa" * 32, address="::1", session=9),
    ConfirmTrust(ref=4, id="tr", tenant="t", user_id="u", worker="aa" * 32),
    PairWorker(ref=4, id="tr", tenant="t", user_id="u", worker="aa" * 32),
    EndTrust(ref=4, id="tr", tenant="t", user_id="u"),
    CreateTenant(ref=5, by="o", tenant=TENANT, key=KEY),
    CreateApiKey(ref=6, by="o", key=KEY),
    RevokeApiKey(ref=7, by="o", tenant="t", key_id="k"),
    RotateApiKey(ref=8, by="o", tenant="t", key_id="k", secret_hash=BYTES, grace_s=9),
    RegisterWorker(
        ref=4,
        session=9,
        worker="aa" * 32,
        worker_id="wrk_1",
        name=TEXT,
        instance="i",
        profile=PROFILE,
        slots=4,
        held=(REF, OTHER_REF),
        finished=(OTHER_REF,),
        token_hash=BYTES,
    ),
    SessionResumed(session=9, worker="aa" * 32, instance="i", profile=PROFILE, slots=4, held=(REF,), draining=True),
    SessionClosed(session=9),
    SessionDraining(session=9),
    Heartbeat(session=9, held=(REF, OTHER_REF), free=2),
    Progress(session=9, refs=(REF, OTHER_REF)),
    JobStarted(session=9, **ATTEMPT),
    JobCompleted(session=9, result=BYTES, receipt=BYTES, input_hash="aa", params_hash="bb", reading=READING, **ATTEMPT),
    JobFailed(session=9, code="worker_error", message=TEXT, retryable=True, usage=USAGE, **ATTEMPT),
    JobStopped(session=9, usage=USAGE, stopped_ms=7, **ATTEMPT),
    JobRejected(session=9, reason=RejectReason.BUSY, message=TEXT, **ATTEMPT),
    Undelivered(session=9, code="input_too_large", **ATTEMPT),
]
EFFECTS: list[Effect] = [
    Reply(
        ref=1,
        code=ReplyCode.REPLAYED,
        job_id="job-1",
        status=JobStatus.RUNNING,
        cancel=ASKED,
        stop=LATCH,
        stopped=Stopped(running=1, pending=2),
        trust=TRUST,
    ),
    Registered(
        ref=4,
        session=9,
        code=ReplyCode.OK,
        tenant="t",
        status=WorkerStatus.PAUSED,
        resume=(Resume(job_id="job-1", epoch=3, verdict=Verdict.GO_ON),),
    ),
    Assign(
        session=9,
        job_type="TASK",
        privacy_class="PRIVATE",
        salt=BYTES,
        tenant="t",
        user_id="u",
        policy=Policy.CHEAP,
        payment_ref=TEXT,
        input=BYTES,
        params=BYTES,
        **ATTEMPT,
    ),
    StopAttempt(session=9, reason=TEXT, **ATTEMPT),
    CompletionAnswered(session=9, verdict=Verdict.UNKNOWN, **ATTEMPT),
    FrameRefused(session=9, code="not_yours", message=TEXT, **ATTEMPT),
    HeartbeatAnswered(session=9, lost=(REF, OTHER_REF)),
    CloseSession(session=9, code=4409, reason=TEXT),
    TrustAnswered(session=9, code=ReplyCode.OK, trust=TRUST),
    WorkerChanged(session=9, status=WorkerStatus.DRAINING),
    WorkerCooled(session=9, until_ms=7),
    JobChanged(job=HEADER, started_at_ms=8, end=AttemptEnd.LOST),
    JobEnded(job=HEADER, result=BYTES, failure=FAILURE, usage=USAGE, end=AttemptEnd.COMPLETED),
    KeyChanged(key=KEY),
    StopUnanswered(session=9, **ATTEMPT),
    StopChanged(latch=LATCH),
]
WRITES: list[Write] = [
    InsertJob(
        id="job-1",
        seq=1,
        number=2,
        user_id="u",
        needs=NEEDS,
        created_at_ms=3,
        input=BYTES,
        params=BYTES,
        metadata=BYTES,
        idempotency=KEYED,
        expired_before_ms=4,
        **URGENT,
    ),
    GrantJob(worker="aa" * 32, salt=BYTES, granted_at_ms=1, **ATTEMPT),
    StartAttempt(started_at_ms=1, **ATTEMPT),
    RequeueJob(
        end=AttemptEnd.FAILED,
        counted=True,
        ended_at_ms=1,
        code=FailureCode.WORKER_ERROR,
        message=TEXT,
        usage=USAGE,
        **ATTEMPT,
    ),
    ReviveAttempt(counted=True, started_at_ms=1, **ATTEMPT),
    RequestCancel(cancel=ASKED, **ATTEMPT),
    CompleteJob(result=BYTES, receipt=BYTES, output_hash="aa", model="m", usage=USAGE, ended_at_ms=1, **ATTEMPT),
    FailJob(failure=FAILURE, end=AttemptEnd.ABORTED, counted=True, cancel=ASKED, usage=USAGE, **ATTEMPT),
    BookUsage(worker="aa" * 32, usage=USAGE, **ATTEMPT),
    RetryJob(retried_at_ms=9, terms=Terms(timeout_s=60.0), **ATTEMPT),
    AddWorkerToken(
        token_hash=BYTES,
        tenant="t",
        created_by="owner",
        created_at_ms=1,
        expires_at_ms=2,
        needs_approval=True,
        pairs_with="u",
    ),
    DropExpiredTokens(now_ms=3),
    EnrolWorker(
        worker="aa" * 32,
        id="wrk_1",
        name=TEXT,
        tenant="t",
        token_hash=BYTES,
        enrolled_at_ms=1,
        status=WorkerStatus.WAITING_APPROVAL,
    ),
    SetWorkerStatus(worker="aa" * 32, status=WorkerStatus.PAUSED, before=WorkerStatus.APPROVED),
    AddApiKey(key=KEY),
    ReplaceApiKey(key=KEY, secret_hash_before=BYTES),
    AddTenant(tenant=TENANT),
    SetStop(latch=LATCH),
    DropStop(tenant="t", stop_seq=7),
    PutTrust(trust=TRUST),
    DropTrust(id="tr"),
    EraseJobs(seqs=(1, 2), at_ms=3),
    DropJobs(seqs=(1, 2)),
    DropIdempotencyKeys(before_ms=1, limit=2),
    DropUsedTokens(before_ms=1, limit=2),
    DropRevokedKeys(before_ms=1, limit=2),
]
OPERATOR = ApiKey(key_id="op", secret_hash=b"", role=Role.OPERATOR, tenant="", user_id="owner", created_at_ms=0)
FIRST = ApiKey(key_id="first", secret_hash=b"1", role=Role.ADMIN, tenant="t", user_id="owner", created_at_ms=0)
UNIONS: list[tuple[Any, list[Any]]] = [(Command, COMMANDS), (Effect, EFFECTS), (Write, WRITES)]
SAMPLES = [(union, sample) for union, samples in UNIONS for sample in samples]


class Wire(NamedTuple):
    encode: Callable[[Any], bytes]
    decode: Callable[..., Any]


WIRES = [
    pytest.param(Wire(msgspec.json.encode, msgspec.json.decode), id="json"),
    pytest.param(Wire(msgspec.msgpack.encode, msgspec.msgpack.decode), id="msgpack"),
]


@pytest.mark.parametrize(("union", "samples"), UNIONS, ids=["commands", "effects", "writes"])
def test_there_is_a_sample_of_every_kind(union: Any, samples: list[Any]) -> None:
    assert [type(one) for one in samples] == list(get_args(union))


@pytest.mark.parametrize("sample", [sample for _, sample in SAMPLES], ids=lambda sample: type(sample).__name__)
def test_a_sample_fills_every_optional_field(sample: msgspec.Struct) -> None:
    fields = msgspec.structs.fields(sample)
    idle = [field.name for field in fields if not field.required and getattr(sample, field.name) == field.default]
    assert idle == []


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(("union", "sample"), SAMPLES, ids=lambda one: type(one).__name__)
def test_every_kind_survives_a_wire(union: Any, sample: msgspec.Struct, wire: Wire) -> None:
    """Also with nothing but what it must have."""
    fields = msgspec.structs.fields(sample)
    bare = type(sample)(**{field.name: getattr(sample, field.name) for field in fields if field.required})
    for one in (sample, bare):
        back = wire.decode(wire.encode(one), type=union)
        assert (type(back), back) == (type(one), one)


class Step(NamedTuple):
    """One batch: its time, what went in, what came out."""

    now: Now
    commands: tuple[Command, ...]
    writes: list[Write]
    effects: list[Effect]


class Recorder(Stack):
    """A stack that keeps every batch."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Step] = []

    async def do(self, *commands: Command) -> list[Effect]:
        already = len(self.writes)
        effects = await super().do(*commands)
        self.steps.append(Step(self.clock(), commands, self.writes[already:], list(effects)))
        return effects


async def recorded_session() -> Recorder:
    """Everything that can happen to a coordinator, in one afternoon."""
    stack = Recorder()
    await stack.start()
    await stack.know(OPERATOR)
    worker, other = FakeWorker(stack, "worker", slots=2), FakeWorker(stack, "other")
    await worker.join()

    done = stack.assigned(await stack.submit("one", key="k"))
    await stack.do(stack.submission("one", key="k"), stack.submission("two", model="unheard-of"))
    await stack.do(worker.started(done))
    await stack.later(3.0, worker.beat(worker.ref(done)), worker.progress(done))
    await stack.do(await worker.completed(done, TEXT.replace("\0", "")))
    await stack.do(await worker.completed(done))

    stopped = stack.assigned(await stack.submit())
    await stack.do(worker.started(stopped), stack.cancellation(stopped.job_id, "enough"))
    await stack.do(worker.stopped(stopped))
    broken = stack.assigned(await stack.submit())
    await stack.do(worker.failed(broken))
    await stack.do(RunAgain(ref=899, job=header_of(await stack.job(broken.job_id))))
    await stack.do(stack.cancellation(broken.job_id), worker.stopped(stack.assigned(broken.job_id)))
    forged = stack.assigned(await stack.submit())
    await stack.do(await worker.completed(forged, output_hash="0" * 64))
    undelivered = stack.assigned(await stack.submit())
    await stack.do(Undelivered(session=undelivered.session, job_id=undelivered.job_id, epoch=1, code="input_too_large"))

    lost = stack.assigned(await stack.submit())
    await stack.do(worker.started(lost))
    await worker.disconnect()
    await stack.later(6.0)
    await worker.connect(held=(worker.ref(lost),))
    await stack.do(resumed(worker, worker.ref(lost)))
    await worker.disconnect()
    await stack.later(6.0)
    await other.join()
    await stack.do(other.beat())
    picky = FakeWorker(stack, "picky", slots=16, models=("p",))
    await picky.join()
    for _ in range(5):
        await stack.do(picky.rejected(stack.assigned(await stack.submit(model="p"))))
    deaf = FakeWorker(stack, "deaf", models=("d",))
    await deaf.join()
    unheard = stack.assigned(await stack.submit(model="d"))
    await stack.do(deaf.started(unheard), stack.cancellation(unheard.job_id))
    await stack.later(5.0)
    await stack.do(deaf.stopped(unheard))
    await stack.do(other.draining())
    await stack.token(ttl_s=20)
    await stack.do(stack.management(other.key, WorkerAction.PAUSE))
    await stack.later(30.0)

    await stack.do(EraseJob(ref=901, job_id="00000000-0000-7000-8000-000000000001", seq=1))
    old = Due(drop=(DueJob("long ago", 999, 9),), idempotency=1, api_keys=1, tokens=1)
    await stack.do(Retain(ref=902, due=old, horizons=Horizons(idempotency_ms=1, api_keys_ms=1, tokens_ms=1)))
    await stack.do(CancelThread(ref=899, tenant="default", thread="chat", by="owner"))
    await stack.do(StopTenant(ref=900, tenant="default", by="owner"), stack.submission())
    await stack.do(ReleaseStop(ref=900, tenant="default"))
    await stack.do(CreateTenant(ref=901, by=OPERATOR.key_id, tenant=TENANT, key=FIRST))
    mine = {"tenant": "default", "user_id": "owner"}
    await picky.join()
    await stack.do(CreateTrustCode(ref=905, id="code", code_hash=b"code", keyed=True, **mine))
    await stack.do(ClaimTrust(ref=906, code_hash=b"code", worker=picky.key, address="", session=picky.session))
    await stack.do(ConfirmTrust(ref=907, id="code", worker=picky.key, **mine))
    await stack.do(PairWorker(ref=908, id="pair", worker=other.key, **mine), EndTrust(ref=909, id="code", **mine))
    second = msgspec.structs.replace(FIRST, key_id="second")
    await stack.do(CreateApiKey(ref=902, by="first", key=second))
    await stack.do(
        RotateApiKey(ref=903, by="first", tenant="t", key_id="second", secret_hash=b"new", grace_s=9),
        RevokeApiKey(ref=904, by="first", tenant="t", key_id="second"),
    )
    return stack


def resumed(worker: FakeWorker, *held: AttemptRef) -> SessionResumed:
    """What the shell says of a worker's socket after a rebuild."""
    return SessionResumed(
        session=worker.session,
        worker=worker.key,
        instance=worker.instance,
        profile=Profile(tenant="", job_types=frozenset({JobType.LLM_INFER}), models=frozenset(worker.models)),
        slots=worker.slots,
        held=held,
    )


async def test_the_recorded_session_has_every_command_and_effect_and_write_of_a_running_coordinator() -> None:
    stack = await recorded_session()
    assert {type(one) for step in stack.steps for one in step.commands} == set(get_args(Command))
    assert {type(one) for one in stack.effects} == set(get_args(Effect))
    assert {type(one) for one in stack.writes} == set(get_args(Write))


@pytest.mark.parametrize("wire", WIRES)
async def test_the_same_commands_decoded_again_lead_to_the_same_writes_and_effects(wire: Wire) -> None:
    stack = await recorded_session()
    core = Coordinator(stack.settings, dice())
    core.restore([OPERATOR], seq=0, numbers={}, now=stack.steps[0].now, grace_until_s=0.0)
    for step in stack.steps:
        for command in step.commands:
            core.handle(wire.decode(wire.encode(command), type=Command), step.now)
        core.tick(step.now)
        batch = core.take(step.now)
        assert (batch.writes, batch.effects) == (step.writes, step.effects)
