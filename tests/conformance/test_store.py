"""What every store promises, one sentence a test."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from cavvy import defaults
from cavvy.core.identity import ApiKey
from cavvy.core.job import (
    DEFAULT_TERMS,
    AttemptEnd,
    Effort,
    Failure,
    FailureCode,
    JobHeader,
    JobStatus,
    JobType,
    Needs,
    PrivacyClass,
    Terms,
    WorkerStatus,
)
from cavvy.core.writes import AddApiKey, Usage, Write
from cavvy.errors import Fenced, Refused
from cavvy.store.base import (
    AssignInput,
    AttemptRecord,
    IdempotencyRecord,
    JobRecord,
    Store,
    TokenRecord,
    WorkerRecord,
)
from tests.conformance.samples import (
    ABORTED,
    CANCEL,
    DAY_MS,
    KEY,
    TENANT,
    WORKER,
    OpenStore,
    api_key,
    became,
    cancelled,
    completed,
    enrolled,
    expired,
    failed,
    granted,
    inserted,
    job_id,
    key,
    latch,
    requeued,
    retried,
    revived,
    revoked,
    rotated,
    started,
    stop_dropped,
    stopped,
    tenant,
    token,
)


async def read(opened: OpenStore, number: int = 1) -> JobRecord:
    job = await opened.store.job(TENANT, job_id(number))
    assert job is not None
    return job


# Opening


async def test_a_new_store_is_empty_and_its_counters_are_at_zero(closed: Store) -> None:
    opened = await closed.open()
    assert (opened.last_seq, opened.last_number, opened.term) == (0, {}, 1)
    assert [row async for page in closed.load() for row in page] == []


async def test_reopening_keeps_everything_and_raises_the_term(opened: OpenStore) -> None:
    await opened.commit(inserted(1), granted(1), inserted(2, idempotency=key()), token(), api_key())
    await opened.commit(started(1), inserted(3, tenant="other", seq=7, number=1))
    before = await opened.everything((TENANT, "other"))
    await opened.store.close()
    again = await opened.store.open()
    assert again.term > opened.term
    assert (again.last_seq, again.last_number) == (7, {TENANT: 2, "other": 1})
    assert await opened.everything((TENANT, "other")) == before


async def test_reopening_keeps_the_store_id(closed: Store) -> None:
    first = await closed.open()
    await closed.close()
    assert (await closed.open()).store_id == first.store_id


async def test_closing_twice_is_closing_once(closed: Store) -> None:
    await closed.open()
    await closed.close()
    await closed.close()


async def test_a_closed_store_refuses_to_work(closed: Store) -> None:
    with pytest.raises(RuntimeError, match="not open"):
        await closed.commit([], term=1)
    with pytest.raises(RuntimeError, match="not open"):
        await closed.job(TENANT, "x")


async def test_a_stale_term_is_fenced_and_writes_nothing(opened: OpenStore) -> None:
    await opened.store.close()
    term = (await opened.store.open()).term
    with pytest.raises(Fenced):
        await opened.store.commit([inserted(1)], term=opened.term)
    with pytest.raises(Fenced):
        await opened.store.commit([], term=opened.term)
    await opened.store.commit([inserted(1)], term=term)
    assert await opened.header(1) is not None


async def test_being_fenced_wins_over_a_conflict(opened: OpenStore) -> None:
    await opened.commit(inserted(1))
    with pytest.raises(Fenced):
        await opened.store.commit([inserted(1)], term=opened.term - 1)


# What each write does


async def test_an_inserted_job_is_pending_and_has_its_texts(opened: OpenStore) -> None:
    await opened.commit(inserted(1))
    job = await read(opened)
    assert job == JobRecord(
        id=job_id(1),
        seq=1,
        number=1,
        tenant=TENANT,
        user_id="owner",
        job_type=JobType.LLM_INFER,
        privacy_class=PrivacyClass.PUBLIC,
        model="tiny",
        effort=Effort.STANDARD,
        thread_id=None,
        terms=DEFAULT_TERMS,
        estimated_tokens=0,
        status=JobStatus.PENDING,
        epoch=0,
        tries=0,
        created_at_ms=1_001,
        completed_at_ms=None,
        cancel=None,
        failure=None,
        accepted_epoch=None,
        params=b'{"max_tokens":16}',
        metadata=b'{"from":"test"}',
        input=b'"hello"',
        result=None,
        receipt=None,
        output_hash=None,
        served_model=None,
        attempts=(),
    )
    assert await opened.loaded() == [
        JobHeader(
            id=job_id(1),
            seq=1,
            number=1,
            user_id="owner",
            needs=Needs(tenant=TENANT, model="tiny"),
            status=JobStatus.PENDING,
            created_at_ms=1_001,
        )
    ]


async def test_a_job_may_have_no_model_and_no_metadata_and_keeps_its_needs(opened: OpenStore) -> None:
    needs = Needs(tenant=TENANT, job_type=JobType.TASK, privacy_class=PrivacyClass.PRIVATE, model=None, owner="owner")
    await opened.commit(inserted(1, needs=needs, metadata=None, input=b"", params=b""))
    job = await read(opened)
    header = await opened.header(1)
    assert (job.model, job.metadata, job.input, job.params) == (None, None, b"", b"")
    assert (job.job_type, job.privacy_class) == (JobType.TASK, PrivacyClass.PRIVATE)
    assert header is not None
    assert header.needs == needs


TERMS = Terms(
    timeout_s=0.1,
    first_token_timeout_s=1e-9,
    stall_timeout_s=604800.0,
    match_window_s=2.5,
    max_attempts=7,
    deadline_at_ms=2**53 - 1,
    not_before_ms=0,
)


@pytest.mark.parametrize("terms", [TERMS, Terms(max_attempts=1), Terms(match_window_s=30.0)])
async def test_a_job_keeps_its_effort_its_thread_and_its_terms(opened: OpenStore, terms: Terms) -> None:
    urgent = {"effort": Effort.DEEP, "thread_id": "ünï\0", "terms": terms, "estimated_tokens": 512}
    await opened.commit(inserted(1, **urgent))
    job, header = await read(opened), await opened.header(1)
    assert header is not None
    for each in (job, header, (await opened.store.jobs(TENANT, before=None, limit=1))[0]):
        assert (each.effort, each.thread_id, each.terms, each.estimated_tokens) == tuple(urgent.values())


async def test_jobs_with_equal_terms_share_them(opened: OpenStore) -> None:
    await opened.commit(inserted(1), inserted(2), inserted(3, terms=TERMS), inserted(4, terms=replace(TERMS)))
    headers = [await opened.header(number) for number in (1, 2, 3, 4)]
    terms = [header.terms for header in headers if header is not None]
    assert terms[0] is terms[1] is DEFAULT_TERMS
    assert terms[2] is terms[3]


@pytest.mark.parametrize("together", [True, False])
async def test_a_grant_makes_the_job_assigned_and_opens_its_attempt(opened: OpenStore, together: bool) -> None:
    writes: list[Write] = [inserted(1), granted(1)]
    for batch in [writes] if together else [[write] for write in writes]:
        await opened.commit(*batch)
    job = await read(opened)
    assert (job.status, job.epoch, job.tries) == (JobStatus.ASSIGNED, 1, 0)
    assert job.attempts == (
        AttemptRecord(
            epoch=1,
            worker=WORKER,
            worker_id=None,
            salt=b"salt1",
            granted_at_ms=2_000,
            started_at_ms=None,
            ended_at_ms=None,
            end=None,
            counted=False,
            usage=None,
        ),
    )
    header = await opened.header(1)
    assert header is not None
    assert (header.status, header.epoch, header.worker, header.lost) == (JobStatus.ASSIGNED, 1, WORKER, False)


async def test_a_started_attempt_runs(opened: OpenStore) -> None:
    await opened.commit(inserted(1), granted(1))
    await opened.commit(started(1))
    job = await read(opened)
    assert (job.status, job.attempts[0].started_at_ms) == (JobStatus.RUNNING, 3_000)


async def test_a_requeued_job_waits_again_and_its_attempt_has_ended(opened: OpenStore) -> None:
    await opened.commit(inserted(1), granted(1), started(1))
    await opened.commit(requeued(1, end=AttemptEnd.LOST, counted=True))
    job = await read(opened)
    assert (job.status, job.epoch, job.tries) == (JobStatus.PENDING, 1, 1)
    attempt = job.attempts[0]
    assert (attempt.end, attempt.ended_at_ms, attempt.counted) == (AttemptEnd.LOST, 4_000, True)
    header = await opened.header(1)
    assert header is not None
    assert (header.worker, header.lost, header.lost_counted, header.tries) == (WORKER, True, True, 1)


WHY = {"code": FailureCode.WORKER_ERROR, "message": "out of memory \0 ü", "usage": Usage(input_tokens=3)}


async def test_an_attempt_keeps_why_it_ended_and_what_it_had_used_when_its_job_waits_again(opened: OpenStore) -> None:
    await opened.commit(inserted(1), granted(1), started(1), requeued(1, end=AttemptEnd.FAILED, **WHY))
    await opened.commit(granted(1, 2), completed(1, 2))
    first, second = (await read(opened)).attempts
    assert {name: getattr(first, name) for name in WHY} == WHY
    assert (second.code, second.message) == (None, None)


async def test_a_lost_attempt_that_goes_on_or_delivers_after_all_has_not_failed(opened: OpenStore) -> None:
    why = {"code": FailureCode.WORKER_LOST, "message": "gone"}
    await opened.commit(inserted(1), granted(1), started(1), requeued(1, **why))
    await opened.commit(inserted(2), granted(2), started(2), requeued(2, **why))
    await opened.commit(revived(1), completed(2))
    for number in (1, 2):
        attempt = (await read(opened, number)).attempts[0]
        assert (attempt.code, attempt.message) == (None, None)


async def test_a_loss_that_was_not_counted_is_told_so(opened: OpenStore) -> None:
    await opened.commit(inserted(1), granted(1), requeued(1, counted=False))
    header = await opened.header(1)
    assert header is not None
    assert (header.lost, header.lost_counted, header.tries) == (True, False, 0)


async def test_an_undelivered_attempt_is_not_lost(opened: OpenStore) -> None:
    await opened.commit(inserted(1), granted(1), requeued(1, end=AttemptEnd.UNDELIVERED, counted=False))
    header = await opened.header(1)
    assert header is not None
    assert (header.status, header.lost, header.lost_counted) == (JobStatus.PENDING, False, False)


async def test_the_next_grant_opens_the_next_epoch_and_the_loss_is_history(opened: OpenStore) -> None:
    await opened.commit(inserted(1), granted(1), started(1), requeued(1), granted(1, 2, "cd" * 32))
    job = await read(opened)
    assert [(attempt.epoch, attempt.end) for attempt in job.attempts] == [(1, AttemptEnd.LOST), (2, None)]
    header = await opened.header(1)
    assert header is not None
    assert (header.epoch, header.worker, header.lost, header.tries) == (2, "cd" * 32, False, 1)


async def test_a_revived_attempt_runs_on_as_if_never_lost(opened: OpenStore) -> None:
    await opened.commit(inserted(1), granted(1), started(1), requeued(1))
    await opened.commit(revived(1))
    job = await read(opened)
    assert (job.status, job.epoch, job.tries) == (JobStatus.RUNNING, 1, 0)
    attempt = job.attempts[0]
    assert (attempt.started_at_ms, attempt.ended_at_ms, attempt.end, attempt.counted) == (4_500, None, None, False)


async def test_a_revival_of_an_uncounted_loss_leaves_the_tries_alone(opened: OpenStore) -> None:
    await opened.commit(inserted(1), granted(1), started(1), requeued(1), granted(1, 2), requeued(1, 2, counted=False))
    await opened.commit(revived(1, 2, counted=False))
    assert (await read(opened)).tries == 1


async def test_a_cancel_request_is_kept_and_the_job_is_not_terminal(opened: OpenStore) -> None:
    await opened.commit(inserted(1), granted(1), started(1))
    await opened.commit(cancelled(1))
    job = await read(opened)
    header = await opened.header(1)
    assert (job.status, job.cancel) == (JobStatus.RUNNING, CANCEL)
    assert header is not None
    assert header.cancel == CANCEL


@pytest.mark.parametrize("before", [[], [started(1)], [requeued(1)], [started(1), requeued(1)], [cancelled(1)]])
async def test_a_completion_is_accepted_from_the_highest_attempt(opened: OpenStore, before: list[Write]) -> None:
    await opened.commit(inserted(1), granted(1))
    await opened.commit(*before)
    await opened.commit(completed(1))
    job = await read(opened)
    assert (job.status, job.completed_at_ms, job.accepted_epoch) == (JobStatus.COMPLETED, 7_000, 1)
    assert (job.result, job.receipt) == (b'{"text":"hi"}', b'{"payload":"..."}')
    assert (job.output_hash, job.served_model) == ("cd" * 32, "tiny-q4")
    attempt = job.attempts[0]
    assert (attempt.end, attempt.ended_at_ms) == (AttemptEnd.COMPLETED, 7_000)
    assert attempt.usage == Usage(input_tokens=3, output_tokens=2)
    assert await opened.loaded() == []


async def test_a_failed_job_says_why_and_its_attempt_how(opened: OpenStore) -> None:
    failure = Failure(code=FailureCode.WORKER_ERROR, message="out of memory", at_ms=6_500, attempt=1)
    await opened.commit(inserted(1), granted(1), started(1))
    usage = Usage(input_tokens=9)
    await opened.commit(failed(1, end=AttemptEnd.FAILED, failure=failure, counted=True, usage=usage))
    job = await read(opened)
    assert (job.status, job.completed_at_ms, job.failure, job.tries) == (JobStatus.FAILED, 6_500, failure, 1)
    attempt = job.attempts[0]
    assert (attempt.end, attempt.ended_at_ms, attempt.counted, attempt.usage) == (AttemptEnd.FAILED, 6_500, True, usage)
    assert (attempt.code, attempt.message) == (FailureCode.WORKER_ERROR, "out of memory")
    assert await opened.loaded() == []


async def test_a_pending_job_fails_without_an_attempt_and_keeps_its_cancel_request(opened: OpenStore) -> None:
    await opened.commit(inserted(1), failed(1, 0, None, cancel=CANCEL))
    job = await read(opened)
    assert (job.status, job.failure, job.cancel, job.attempts) == (JobStatus.FAILED, ABORTED, CANCEL, ())


async def test_a_failure_without_a_request_keeps_the_request_made_before(opened: OpenStore) -> None:
    await opened.commit(inserted(1), granted(1), cancelled(1), failed(1))
    assert (await read(opened)).cancel == CANCEL


async def test_a_lost_attempt_stays_lost_when_the_waiting_job_fails(opened: OpenStore) -> None:
    await opened.commit(inserted(1), granted(1), requeued(1), failed(1, end=None))
    assert (await read(opened)).attempts[0].end is AttemptEnd.LOST


async def test_a_retried_job_waits_as_if_it_had_not_failed_and_keeps_its_attempts(opened: OpenStore) -> None:
    failure = Failure(code=FailureCode.WORKER_LOST, message="gone", at_ms=6_500, attempt=1)
    lost = failed(1, end=AttemptEnd.LOST, failure=failure, counted=True)
    await opened.commit(inserted(1), granted(1), started(1), cancelled(1), lost)
    attempts = (await read(opened)).attempts
    await opened.commit(retried(1))
    job = await read(opened)
    assert (job.status, job.epoch, job.tries, job.attempts) == (JobStatus.PENDING, 1, 0, attempts)
    assert (job.failure, job.cancel, job.completed_at_ms) == (None, None, None)
    assert (job.retried_epoch, job.retried_at_ms) == (1, 8_000)
    header = await opened.header(1)
    assert header is not None
    assert (header.status, header.epoch, header.tries, header.cancel) == (JobStatus.PENDING, 1, 0, None)
    assert (header.lost, header.lost_counted) == (False, False)


async def test_a_retry_may_give_a_job_other_terms(opened: OpenStore) -> None:
    await opened.commit(inserted(1, terms=TERMS), failed(1, 0, None), inserted(2, terms=TERMS), failed(2, 0, None))
    anew = Terms(timeout_s=60.0, match_window_s=30.0, deadline_at_ms=68_000)
    await opened.commit(replace(retried(1, 0), terms=anew), retried(2, 0))
    assert ((await read(opened)).terms, (await read(opened, 2)).terms) == (anew, TERMS)
    header = await opened.header(1)
    assert header is not None
    assert header.terms == anew


async def test_a_retry_may_stand_anywhere_in_a_batch(opened: OpenStore) -> None:
    await opened.commit(inserted(1), granted(1), failed(1), retried(1), granted(1, 2), started(1, 2), inserted(2))
    await opened.commit(failed(2, 0, None), failed(1, 2), retried(2, 0), retried(1, 2), granted(1, 3), completed(1, 3))
    job = await read(opened)
    assert (job.status, job.epoch, [one.epoch for one in job.attempts]) == (JobStatus.COMPLETED, 3, [1, 2, 3])
    assert (await read(opened, 2)).status is JobStatus.PENDING


async def test_a_batch_with_a_retry_is_fenced_too(opened: OpenStore) -> None:
    await opened.commit(inserted(1), failed(1, 0, None))
    with pytest.raises(Fenced):
        await opened.store.commit([retried(1, 0)], term=opened.term - 1)
    assert (await read(opened)).status is JobStatus.FAILED


async def test_a_token_enrols_one_worker(opened: OpenStore) -> None:
    await opened.commit(token())
    record = TokenRecord(token_hash=b"token", tenant=TENANT, expires_at_ms=100 + DAY_MS, needs_approval=False)
    assert await opened.loaded() == [record]
    await opened.commit(enrolled())
    worker = WorkerRecord(
        key=WORKER,
        id="id-of-abababab",
        name="desk",
        tenant=TENANT,
        status=WorkerStatus.APPROVED,
        enrolled_at_ms=200,
    )
    assert await opened.loaded() == [worker]
    assert await opened.store.workers(TENANT) == [worker]


async def test_a_worker_enrols_in_the_batch_that_adds_its_token(opened: OpenStore) -> None:
    await opened.commit(token(), enrolled())
    assert len(await opened.store.workers(TENANT)) == 1


async def test_a_worker_that_came_without_a_token_joins_another_tenant_with_one(opened: OpenStore) -> None:
    await opened.commit(enrolled(tenant=defaults.DISPATCH_TENANT, token_hash=None), token())
    await opened.commit(enrolled(name="joined"))
    (worker,) = await opened.store.workers(TENANT)
    assert (worker.name, await opened.store.workers(defaults.DISPATCH_TENANT)) == ("joined", [])


async def test_a_revoked_worker_that_came_without_a_token_joins_no_more(opened: OpenStore) -> None:
    gone = enrolled(tenant=defaults.DISPATCH_TENANT, token_hash=None, status=WorkerStatus.REVOKED)
    await opened.commit(gone, token())
    with pytest.raises(Refused):
        await opened.commit(enrolled())
    with pytest.raises(Refused):
        await opened.commit(enrolled(tenant=defaults.DISPATCH_TENANT, token_hash=None))


async def test_an_attempt_names_its_worker_by_id_once_it_is_known(opened: OpenStore) -> None:
    await opened.commit(token(), enrolled(), inserted(1), granted(1))
    assert (await read(opened)).attempts[0].worker_id == "id-of-abababab"


async def test_a_token_says_whether_its_worker_needs_approval(opened: OpenStore) -> None:
    await opened.commit(token(needs_approval=True))
    (record,) = await opened.loaded()
    assert isinstance(record, TokenRecord)
    assert record.needs_approval
    await opened.commit(enrolled(status=WorkerStatus.WAITING_APPROVAL))
    (worker,) = await opened.store.workers(TENANT)
    assert worker.status is WorkerStatus.WAITING_APPROVAL


async def test_tokens_go_when_they_have_expired_and_nobody_used_them(opened: OpenStore) -> None:
    dead_ms = 100 + DAY_MS
    await opened.commit(token(), token(b"used"), enrolled(b"used"))
    await opened.commit(expired(dead_ms - 1))
    assert len(await opened.loaded()) == 2
    await opened.commit(expired(dead_ms))
    assert [type(row) for row in await opened.loaded()] == [WorkerRecord]
    with pytest.raises(Refused):
        await opened.commit(enrolled(worker="cd" * 32))
    with pytest.raises(Refused):
        await opened.commit(token(b"used"))


async def test_that_no_token_has_expired_is_no_conflict(opened: OpenStore) -> None:
    await opened.commit(expired(0))


async def test_a_token_expires_together_with_whatever_else_is_committed_or_not_at_all(opened: OpenStore) -> None:
    await opened.commit(token())
    with pytest.raises(Refused):
        await opened.commit(expired(100 + DAY_MS), enrolled())
    assert len(await opened.loaded()) == 1


@pytest.mark.parametrize("before", WorkerStatus)
@pytest.mark.parametrize("status", WorkerStatus)
async def test_a_workers_status_lasts(opened: OpenStore, before: WorkerStatus, status: WorkerStatus) -> None:
    await opened.commit(token(), enrolled(status=before), became(status, before))
    (listed,) = await opened.store.workers(TENANT)
    assert (listed.status, await opened.loaded()) == (status, [listed])


async def test_a_workers_status_is_refused_on_any_other_status_than_it_was_decided_on(opened: OpenStore) -> None:
    await opened.commit(token(), enrolled())
    before = await opened.everything()
    with pytest.raises(Refused):
        await opened.commit(became(WorkerStatus.APPROVED, WorkerStatus.PAUSED))
    with pytest.raises(Refused):
        await opened.commit(became(WorkerStatus.PAUSED, WorkerStatus.APPROVED, "cd" * 32))
    assert await opened.everything() == before


async def test_every_tenant_sees_the_shared_workers_and_whom_they_belong_to_nobody_elses(opened: OpenStore) -> None:
    await opened.commit(token(), enrolled(), token(b"shared"), enrolled(b"shared", "cd" * 32, tenant=defaults.SHARED))
    seen = {name: [one.key for one in await opened.store.workers(name)] for name in (TENANT, "other", defaults.SHARED)}
    assert seen == {TENANT: [WORKER, "cd" * 32], "other": ["cd" * 32], defaults.SHARED: ["cd" * 32]}


async def test_workers_are_listed_oldest_first(opened: OpenStore) -> None:
    names = ["cc" * 32, "aa" * 32, "bb" * 32]
    for position, name in enumerate(names):
        secret = b"token%d" % position
        await opened.commit(token(secret), enrolled(secret, name, enrolled_at_ms=300 - position))
    assert [worker.key for worker in await opened.store.workers(TENANT)] == names[::-1]


async def test_an_api_key_is_listed_as_it_was_added(opened: OpenStore) -> None:
    await opened.commit(api_key())
    bare = ApiKey(key_id="key-2", secret_hash=b"", role="operator", tenant="", user_id="owner", created_at_ms=0)
    await opened.commit(AddApiKey(key=bare))
    assert await opened.store.api_keys() == [KEY, bare]


async def test_a_rotated_key_keeps_all_but_its_secrets(opened: OpenStore) -> None:
    await opened.commit(api_key(), rotated())
    expected = replace(KEY, secret_hash=b"new", old_secret_hash=KEY.secret_hash, old_until_ms=350)
    assert await opened.store.api_keys() == [expected]


async def test_a_revoked_key_is_listed_and_not_loaded(opened: OpenStore) -> None:
    await opened.commit(tenant(), api_key())
    assert await opened.loaded() == [tenant().tenant, KEY]
    await opened.commit(rotated(), revoked(b"new"))
    assert [key.revoked_at_ms for key in await opened.store.api_keys()] == [320]
    assert await opened.loaded() == [tenant().tenant]


async def test_a_tenants_weight_is_kept(opened: OpenStore) -> None:
    light = replace(tenant(), tenant=replace(tenant().tenant, weight=0.25))
    await opened.commit(light)
    assert [*await opened.store.tenants()] == await opened.loaded() == [light.tenant]


async def test_tenants_are_listed_oldest_first(opened: OpenStore) -> None:
    await opened.commit(tenant("b"), tenant("a"))
    assert [one.id for one in await opened.store.tenants()] == ["b", "a"]


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(revoked(), id="revoked twice"),
        pytest.param(rotated(), id="rotated after it was revoked"),
    ],
)
async def test_a_revoked_key_is_never_changed(opened: OpenStore, write: Write) -> None:
    await opened.commit(api_key(), revoked())
    before = await opened.everything()
    with pytest.raises(Refused):
        await opened.commit(write)
    assert await opened.everything() == before


async def test_a_key_with_another_secret_than_was_decided_on_is_not_changed(opened: OpenStore) -> None:
    await opened.commit(api_key(), rotated())
    with pytest.raises(Refused):
        await opened.commit(revoked())
    with pytest.raises(Refused):
        await opened.commit(rotated(b"newer"))


async def test_a_stop_is_loaded_as_it_was_set_and_the_next_one_takes_its_place(opened: OpenStore) -> None:
    await opened.commit(stopped(5), stopped(6, tenant="other", reason=None))
    assert await opened.loaded() == [latch(5), latch(6, tenant="other", reason=None)]
    later = latch(9, by="bob", reason=None, at_ms=9_000, latched=False)
    await opened.commit(stopped(9, by="bob", reason=None, at_ms=9_000, latched=False))
    assert later in await opened.loaded()


async def test_a_stop_that_is_over_is_dropped(opened: OpenStore) -> None:
    await opened.commit(stopped(5), stopped(5, latched=False), stop_dropped(5))
    assert await opened.loaded() == []


@pytest.mark.parametrize(
    ("before", "write"),
    [
        pytest.param(stopped(5), stopped(4), id="one that reaches less far"),
        pytest.param(stopped(5), stop_dropped(5), id="dropped while latched"),
        pytest.param(stopped(5, latched=False), stop_dropped(4), id="dropped as it was before"),
        pytest.param(stopped(5, latched=False), stop_dropped(5, "other"), id="dropped where there is none"),
    ],
)
async def test_a_stop_is_never_taken_back_by_mistake(opened: OpenStore, before: Write, write: Write) -> None:
    await opened.commit(before)
    told = await opened.everything()
    with pytest.raises(Refused):
        await opened.commit(write)
    assert await opened.everything() == told


# Conditions


STATES: dict[str, list[Write]] = {
    "unknown": [],
    "pending": [inserted(1)],
    "assigned": [inserted(1), granted(1)],
    "running": [inserted(1), granted(1), started(1)],
    "cancelled": [inserted(1), granted(1), started(1), cancelled(1)],
    "lost": [inserted(1), granted(1), started(1), requeued(1)],
    "lost uncounted": [inserted(1), granted(1), requeued(1, counted=False)],
    "revoked": [inserted(1), granted(1), requeued(1, end=AttemptEnd.REVOKED, counted=False)],
    "undelivered": [inserted(1), granted(1), requeued(1, end=AttemptEnd.UNDELIVERED, counted=False)],
    "granted again": [inserted(1), granted(1), requeued(1), granted(1, 2)],
    "completed": [inserted(1), granted(1), completed(1)],
    "failed": [inserted(1), granted(1), failed(1)],
    "failed when lost": [inserted(1), granted(1), started(1), requeued(1), failed(1, end=None)],
    "retried": [inserted(1), granted(1), started(1), requeued(1), failed(1, end=None), retried(1)],
    "token used": [token(), enrolled()],
    "key": [api_key()],
}

#: Each write with the states in which it is taken; in every other state of its group it is Refused.
JOB_STATES = [name for name in STATES if name not in {"token used", "key"}]
TAKEN: list[tuple[str, Write, set[str]]] = [
    ("insert", inserted(1), {"unknown"}),
    ("grant of epoch 1", granted(1), {"pending"}),
    ("grant of epoch 2", granted(1, 2), {"lost", "lost uncounted", "undelivered", "revoked", "retried"}),
    ("grant of epoch 3", granted(1, 3), set()),
    ("requeue", requeued(1), {"assigned", "running"}),
    ("requeue of epoch 2", requeued(1, 2), {"granted again"}),
    ("revival", revived(1), {"lost"}),
    ("revival, uncounted", revived(1, counted=False), {"lost uncounted"}),
    ("revival of epoch 2", revived(1, 2), set()),
    ("cancel", cancelled(1), {"assigned", "running"}),
    ("cancel of epoch 2", cancelled(1, 2), {"granted again"}),
    ("completion", completed(1), {"assigned", "running", "cancelled", "lost", "lost uncounted"}),
    ("completion of epoch 2", completed(1, 2), {"granted again"}),
    ("completion of epoch 0", completed(1, 0), set()),
    (
        "failure",
        failed(1),
        {"assigned", "running", "cancelled", "lost", "lost uncounted", "undelivered", "revoked", "retried"},
    ),
    ("failure of epoch 2", failed(1, 2), {"granted again"}),
    ("failure without an attempt", failed(1, 0, None), {"pending"}),
    ("failure of an attempt that never was", failed(1, 0), set()),
    ("retry", retried(1), {"failed", "failed when lost"}),
    ("retry of epoch 2", retried(1, 2), set()),
]
CASES = [
    pytest.param(write, state, state in taken, id=f"{name}-{state}")
    for name, write, taken in TAKEN
    for state in JOB_STATES
]


@pytest.mark.parametrize(("write", "state", "taken"), CASES)
async def test_a_write_is_taken_in_its_states_and_refused_in_all_others(
    opened: OpenStore, write: Write, state: str, taken: bool
) -> None:
    await opened.commit(*STATES[state])
    before = await opened.everything()
    if taken:
        await opened.commit(write)
        assert await opened.everything() != before
    else:
        with pytest.raises(Refused):
            await opened.commit(write)
        assert await opened.everything() == before


@pytest.mark.parametrize("state", JOB_STATES)
@pytest.mark.parametrize("epoch", [1, 2])
async def test_a_late_start_touches_nothing_and_is_no_conflict(opened: OpenStore, state: str, epoch: int) -> None:
    await opened.commit(*STATES[state])
    before = await opened.everything()
    await opened.commit(started(1, epoch))
    current = {"assigned": 1, "granted again": 2}.get(state)
    assert (await opened.everything() != before) == (epoch == current)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(inserted(1), inserted(2, id=job_id(1)), id="id"),
        pytest.param(inserted(1), inserted(2, seq=1), id="seq"),
        pytest.param(inserted(1), inserted(2, number=1), id="number"),
        pytest.param(inserted(1, idempotency=key()), inserted(2, idempotency=key()), id="idempotency key"),
        pytest.param(token(), token(), id="token"),
        pytest.param(api_key(), api_key(), id="API key"),
        pytest.param(tenant(), tenant(), id="tenant"),
    ],
)
@pytest.mark.parametrize("together", [True, False])
async def test_what_is_taken_is_refused_the_second_time(
    opened: OpenStore, first: Write, second: Write, together: bool
) -> None:
    if not together:
        await opened.commit(first)
    before = await opened.everything()
    with pytest.raises(Refused):
        await opened.commit(*([first, second] if together else [second]))
    assert await opened.everything() == before


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(enrolled(b"never made"), id="unknown token"),
        pytest.param(enrolled(b"token", "cd" * 32), id="used token"),
        pytest.param(enrolled(b"fresh"), id="known worker"),
        pytest.param(enrolled(b"fresh", "cd" * 32, id="id-of-abababab"), id="known worker id"),
    ],
)
async def test_an_enrolment_without_its_right_is_refused(opened: OpenStore, write: Write) -> None:
    await opened.commit(token(), enrolled(), token(b"fresh"))
    before = await opened.everything()
    with pytest.raises(Refused):
        await opened.commit(write)
    assert await opened.everything() == before


async def test_one_token_enrols_no_two_workers_of_one_batch(opened: OpenStore) -> None:
    await opened.commit(token())
    with pytest.raises(Refused):
        await opened.commit(enrolled(), enrolled(worker="cd" * 32))
    assert await opened.store.workers(TENANT) == []


# Batches


BAD_NEIGHBOURS = [
    pytest.param(inserted(100), id="insert"),
    pytest.param(granted(100, 3), id="grant"),
    pytest.param(requeued(100, 2), id="requeue"),
    pytest.param(revived(100), id="revive"),
    pytest.param(cancelled(100, 2), id="cancel"),
    pytest.param(completed(100, 2), id="complete"),
    pytest.param(failed(100, 2), id="fail"),
    pytest.param(enrolled(b"never made"), id="enrol"),
    pytest.param(inserted(101, user_id="\ud800"), id="no Unicode"),
    pytest.param(inserted(101, created_at_ms=2**70), id="no 64-bit number"),
]


@pytest.mark.parametrize("bad", BAD_NEIGHBOURS)
@pytest.mark.parametrize("place", [0, 25, 60])
async def test_one_refused_write_undoes_its_fifty_good_neighbours(opened: OpenStore, bad: Write, place: int) -> None:
    await opened.commit(inserted(100), granted(100))
    await opened.commit(*(write for number in range(1, 31) for write in (inserted(number), granted(number))))
    before = await opened.everything()
    good: list[Write] = [inserted(number) for number in range(31, 41)]
    good += [started(number) for number in range(1, 11)]
    good += [completed(number) for number in range(1, 11)]
    good += [requeued(number) for number in range(11, 21)]
    good += [granted(number, 2) for number in range(11, 21)]
    good += [cancelled(number) for number in range(21, 26)]
    good += [failed(number) for number in range(21, 31)]
    with pytest.raises(Refused):
        await opened.commit(*good[:place], bad, *good[place:])
    assert await opened.everything() == before
    await opened.commit(*good)
    assert await opened.everything() != before


async def test_writes_about_one_job_keep_their_order_within_a_batch(opened: OpenStore) -> None:
    await opened.commit(
        inserted(1),
        granted(1),
        started(1),
        requeued(1),
        revived(1),
        requeued(1),
        granted(1, 2),
        requeued(1, 2, AttemptEnd.UNDELIVERED, counted=False),
        granted(1, 3),
        started(1, 3),
        cancelled(1, 3),
        completed(1, 3),
    )
    job = await read(opened)
    assert (job.status, job.tries, job.accepted_epoch, job.cancel) == (JobStatus.COMPLETED, 1, 3, CANCEL)
    ends = [attempt.end for attempt in job.attempts]
    assert ends == [AttemptEnd.LOST, AttemptEnd.UNDELIVERED, AttemptEnd.COMPLETED]


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param([granted(1), inserted(1)], id="granted before it is there"),
        pytest.param([inserted(1), completed(1), granted(1)], id="completed before it is granted"),
        pytest.param([inserted(1), granted(1), granted(1)], id="granted twice"),
        pytest.param([inserted(1), granted(1), completed(1), completed(1)], id="completed twice"),
        pytest.param([inserted(1), granted(1), failed(1), failed(1)], id="failed twice"),
        pytest.param([inserted(1), granted(1), completed(1), failed(1)], id="failed after its completion"),
        pytest.param([inserted(1), failed(1, 0, None), granted(1)], id="granted after its failure"),
        pytest.param([inserted(1), granted(1), cancelled(1), requeued(1)], id="requeued though cancelled"),
        pytest.param([enrolled(), token()], id="enrolled before the token is there"),
    ],
)
async def test_a_batch_in_a_wrong_order_is_refused(opened: OpenStore, wrong: list[Write]) -> None:
    with pytest.raises(Refused):
        await opened.commit(*wrong)
    assert await opened.everything() == [[], [], None, []]


async def test_a_batch_of_many_jobs_in_all_phases_is_one_commit(opened: OpenStore) -> None:
    count = 200
    await opened.commit(*(write for number in range(count) for write in (inserted(number), granted(number))))
    await opened.commit(*(write for number in range(count) for write in (started(number), completed(number))))
    listed = await opened.store.jobs(TENANT, before=None, limit=count)
    assert [job.seq for job in listed if job.status is JobStatus.COMPLETED] == list(range(count))[::-1]
    assert await opened.loaded() == []


async def test_commits_made_at_once_all_arrive(opened: OpenStore) -> None:
    await asyncio.gather(*(opened.commit(inserted(number), granted(number)) for number in range(1, 21)))
    assert len(await opened.loaded()) == 20


# Idempotency


async def test_a_key_finds_the_job_it_made(opened: OpenStore) -> None:
    await opened.commit(inserted(1, idempotency=key("once", b"body")))
    made = IdempotencyRecord(job_id=job_id(1), fingerprint=b"body")
    assert await opened.store.idempotent(TENANT, ["once"], not_before_ms=1_001) == {"once": made}
    assert await opened.store.idempotent(TENANT, ["another"], not_before_ms=0) == {}
    assert await opened.store.idempotent("other", ["once"], not_before_ms=0) == {}


async def test_many_keys_are_looked_up_at_once(opened: OpenStore) -> None:
    odd = "\0 ünï\n7"
    await opened.commit(*(inserted(n, idempotency=key(name)) for n, name in enumerate(("a", "b", odd), 1)))
    found = await opened.store.idempotent(TENANT, [odd, "none", "a", ""], not_before_ms=0)
    assert {name: one.job_id for name, one in found.items()} == {odd: job_id(3), "a": job_id(1)}
    assert await opened.store.idempotent(TENANT, [], not_before_ms=0) == {}


async def test_a_key_that_is_too_old_finds_nothing(opened: OpenStore) -> None:
    await opened.commit(inserted(1, idempotency=key()))
    assert await opened.store.idempotent(TENANT, ["once"], not_before_ms=1_002) == {}


async def test_a_dead_key_is_replaced(opened: OpenStore) -> None:
    await opened.commit(inserted(1, idempotency=key("once", b"old")))
    late = 1_001 + DAY_MS
    reused = inserted(2, idempotency=key("once", b"new"), created_at_ms=late, expired_before_ms=late - DAY_MS + 1)
    await opened.commit(reused)
    found = await opened.store.idempotent(TENANT, ["once"], not_before_ms=0)
    assert found == {"once": IdempotencyRecord(job_id=job_id(2), fingerprint=b"new")}


async def test_a_key_lives_until_the_moment_it_is_dead(opened: OpenStore) -> None:
    await opened.commit(inserted(1, idempotency=key()))
    with pytest.raises(Refused):
        await opened.commit(inserted(2, idempotency=key(), expired_before_ms=1_001))
    await opened.commit(inserted(2, idempotency=key(), expired_before_ms=1_002))


async def test_each_key_of_a_batch_has_its_own_death(opened: OpenStore) -> None:
    await opened.commit(inserted(1, idempotency=key("a")), inserted(2, idempotency=key("b")))
    dead_a = inserted(3, idempotency=key("a"), expired_before_ms=DAY_MS)
    live_b = inserted(4, idempotency=key("b"), expired_before_ms=0)
    with pytest.raises(Refused):
        await opened.commit(dead_a, live_b)
    found = await opened.store.idempotent(TENANT, ["a"], not_before_ms=0)
    assert found["a"].job_id == job_id(1)


async def test_two_tenants_may_use_the_same_key_and_number(opened: OpenStore) -> None:
    await opened.commit(inserted(1, idempotency=key()), inserted(2, tenant="other", number=1, idempotency=key()))
    found = await opened.store.idempotent("other", ["once"], not_before_ms=0)
    assert found["once"].job_id == job_id(2)


# Reads


async def test_p18_a_tenant_does_not_see_another_tenants_jobs_and_workers(opened: OpenStore) -> None:
    await opened.commit(inserted(1), granted(1), completed(1), token(), enrolled())
    assert await opened.store.job("other", job_id(1)) is None
    assert await opened.store.jobs("other", before=None, limit=10) == []
    assert await opened.store.workers("other") == []


async def test_an_unknown_job_is_none(opened: OpenStore) -> None:
    assert await opened.store.job(TENANT, "no such job") is None
    assert await opened.store.job(TENANT, "\ud800 \0") is None


async def test_jobs_are_listed_newest_first_from_below_the_cursor(opened: OpenStore) -> None:
    await opened.commit(*(inserted(number) for number in range(1, 8)), inserted(8, tenant="other"))

    async def seqs(before: int | None, limit: int) -> list[int]:
        return [job.seq for job in await opened.store.jobs(TENANT, before=before, limit=limit)]

    assert await seqs(None, 3) == [7, 6, 5]
    assert await seqs(5, 3) == [4, 3, 2]
    assert await seqs(2, 3) == [1]
    assert await seqs(1, 3) == []
    assert await seqs(2**80, 1) == [7]


async def test_a_listed_job_is_the_job_without_its_texts(opened: OpenStore) -> None:
    await opened.commit(inserted(1), granted(1), started(1), requeued(1), granted(1, 2), completed(1, 2))
    whole = await read(opened)
    (listed,) = await opened.store.jobs(TENANT, before=None, limit=1)
    assert listed == replace(whole, input=None, result=None, receipt=None, attempts=())
    assert listed.output_hash is not None


async def test_load_gives_what_is_not_over_in_the_order_of_submission(opened: OpenStore) -> None:
    await opened.commit(*(inserted(number) for number in (3, 1, 4, 2)), granted(2), started(2))
    await opened.commit(failed(1, 0, None), token(), token(b"used"), enrolled(b"used"))
    rows = await opened.loaded()
    assert [row.seq for row in rows if isinstance(row, JobHeader)] == [2, 3, 4]
    assert [type(row) for row in rows[3:]] == [WorkerRecord, TokenRecord]


async def test_load_gives_every_header_however_many(opened: OpenStore) -> None:
    count = 2_345
    await opened.commit(*(inserted(number) for number in range(1, count + 1)))
    rows = await opened.loaded()
    assert [row.seq for row in rows if isinstance(row, JobHeader)] == list(range(1, count + 1))


async def test_inputs_carry_the_salt_of_the_highest_attempt_and_leave_out_the_unknown(opened: OpenStore) -> None:
    await opened.commit(inserted(1), inserted(2), granted(2), requeued(2), granted(2, 2))
    found = await opened.store.inputs([job_id(1), job_id(2), "no such job", "\ud800"])
    params = b'{"max_tokens":16}'
    assert found == {
        job_id(1): AssignInput(input=b'"hello"', params=params, salt=b""),
        job_id(2): AssignInput(input=b'"hello"', params=params, salt=b"salt2"),
    }
    assert await opened.store.inputs([]) == {}


async def test_p04_an_accepted_completion_is_known_by_its_epoch(opened: OpenStore) -> None:
    await opened.commit(inserted(1), granted(1), requeued(1), granted(1, 2, "cd" * 32))
    assert await opened.store.accepted(job_id(1), 2) == ("cd" * 32, False)
    await opened.commit(completed(1, 2))
    assert await opened.store.accepted(job_id(1), 1) == (WORKER, False)
    assert await opened.store.accepted(job_id(1), 2) == ("cd" * 32, True)
    assert await opened.store.accepted(job_id(1), 3) is None
    assert await opened.store.accepted(job_id(1), 2**80) is None
    assert await opened.store.accepted("no such job", 1) is None


async def test_reads_under_way_are_answered_when_the_store_is_closed(opened: OpenStore) -> None:
    await opened.commit(inserted(1))
    reads = [asyncio.create_task(opened.store.job(TENANT, job_id(1))) for _ in range(100)]
    await asyncio.sleep(0)
    await opened.store.close()
    assert all(job is not None for job in await asyncio.gather(*reads))


async def test_a_reader_that_gives_up_does_not_disturb_the_others(opened: OpenStore) -> None:
    await opened.commit(inserted(1))
    reads = [asyncio.create_task(opened.store.job(TENANT, job_id(number))) for number in (1, 1, 2, 1)]
    await asyncio.sleep(0)
    reads[0].cancel()
    answers = await asyncio.gather(*reads, return_exceptions=True)
    assert [job is not None and not isinstance(job, BaseException) for job in answers[1:]] == [True, False, True]


async def test_what_is_committed_is_read_by_whoever_asks_next(opened: OpenStore) -> None:
    for number in range(1, 30):
        await opened.commit(inserted(number), granted(number))
        jobs = await asyncio.gather(*(opened.store.job(TENANT, job_id(n)) for n in range(1, number + 1)))
        assert all(job is not None and job.status is JobStatus.ASSIGNED for job in jobs)
