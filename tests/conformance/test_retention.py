"""What every store forgets when it is told to, and what it keeps."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from cavvy.core.job import ERASED, JobStatus
from cavvy.core.retention import Due, DueJob, Horizons
from cavvy.core.writes import AddApiKey, DropIdempotencyKeys, DropJobs, DropRevokedKeys, DropUsedTokens, EraseJobs
from cavvy.errors import Fenced
from cavvy.store.base import JobFilter, JobRecord
from tests.conformance.samples import (
    CANCEL,
    DAY_MS,
    KEY,
    TENANT,
    OpenStore,
    cancelled,
    completed,
    enrolled,
    failed,
    granted,
    inserted,
    job_id,
    key,
    requeued,
    revoked,
    started,
    token,
)


def erased(*numbers: int, at_ms: int = 9_000) -> EraseJobs:
    return EraseJobs(seqs=numbers, at_ms=at_ms)


def dropped(*numbers: int) -> DropJobs:
    return DropJobs(seqs=numbers)


async def read(opened: OpenStore, number: int = 1) -> JobRecord | None:
    return await opened.store.job(TENANT, job_id(number))


async def complete(opened: OpenStore, number: int, *, ended_at_ms: int = 7_000) -> None:
    end = replace(completed(number), ended_at_ms=ended_at_ms)
    await opened.commit(inserted(number), granted(number), started(number), end)


# Erasing


async def test_an_erased_completed_job_keeps_all_but_its_texts(opened: OpenStore) -> None:
    await complete(opened, 1)
    before = await read(opened)
    assert before is not None
    await opened.commit(erased(1))
    gone = {"input": b"", "params": b"{}", "metadata": None, "result": None}
    assert await read(opened) == replace(before, erased_at_ms=9_000, **gone)
    assert before.receipt is not None


async def test_an_erased_failed_job_keeps_who_and_when_but_no_words(opened: OpenStore) -> None:
    await opened.commit(inserted(1), granted(1), started(1), cancelled(1), failed(1))
    before = await read(opened)
    assert before is not None
    assert before.failure is not None
    await opened.commit(erased(1))
    after = await read(opened)
    assert after is not None
    assert after.failure == replace(before.failure, message=ERASED, reason=None)
    assert after.cancel == replace(CANCEL, reason=None)
    wordless = tuple(replace(one, message=ERASED) for one in before.attempts)
    assert (after.status, after.input, after.attempts) == (JobStatus.FAILED, b"", wordless)


async def test_an_erased_job_is_listed_as_such(opened: OpenStore) -> None:
    await complete(opened, 1)
    await opened.commit(erased(1))
    (listed,) = await opened.store.jobs(TENANT, before=None, limit=9)
    assert (listed.erased_at_ms, listed.metadata, listed.output_hash) == (9_000, None, "cd" * 32)


async def test_an_erased_job_is_not_found_by_its_texts(opened: OpenStore) -> None:
    await complete(opened, 1)
    await opened.commit(erased(1))
    found = await opened.store.find_jobs(TENANT, JobFilter(text="hello"), before=None, limit=9)
    assert list(found.jobs) == []


async def test_erasing_twice_keeps_the_first_time(opened: OpenStore) -> None:
    await complete(opened, 1)
    await opened.commit(erased(1), erased(1, at_ms=9_500))
    await opened.commit(erased(1, at_ms=9_900))
    after = await read(opened)
    assert after is not None
    assert after.erased_at_ms == 9_000


@pytest.mark.parametrize("write", [erased(1, 2, 3, 77), dropped(1, 2, 3, 77)])
async def test_what_has_not_ended_is_passed_over(opened: OpenStore, write: EraseJobs | DropJobs) -> None:
    await opened.commit(inserted(1), inserted(2), granted(2), inserted(3), granted(3), started(3), requeued(3))
    before = await opened.everything()
    await opened.commit(write)
    assert await opened.everything() == before


async def test_a_job_that_ends_earlier_in_the_same_batch_is_erased(opened: OpenStore) -> None:
    await opened.commit(inserted(1), granted(1), started(1))
    await opened.commit(completed(1), erased(1))
    after = await read(opened)
    assert after is not None
    assert after.result is None


# Deleting jobs


async def test_a_dropped_job_is_gone_and_others_stay(opened: OpenStore) -> None:
    await complete(opened, 1)
    await opened.commit(inserted(2))
    await opened.commit(dropped(1))
    assert await read(opened) is None
    assert await opened.store.accepted(job_id(1), 1) is None
    assert [job.id for job in await opened.store.jobs(TENANT, before=None, limit=9)] == [job_id(2)]


async def test_the_counters_never_go_back_behind_a_dropped_job(opened: OpenStore) -> None:
    for number in (1, 2):
        await complete(opened, number)
    await opened.commit(inserted(3, tenant="other", number=1), granted(3), started(3), completed(3))
    await opened.commit(dropped(2, 3))
    await opened.commit(dropped(1))
    await opened.store.close()
    again = await opened.store.open()
    assert (again.last_seq, again.last_number) == (3, {TENANT: 2, "other": 1})


async def test_the_newest_job_counts_though_older_ones_were_dropped(opened: OpenStore) -> None:
    await complete(opened, 1)
    await opened.commit(inserted(2), dropped(1))
    await opened.store.close()
    again = await opened.store.open()
    assert (again.last_seq, again.last_number) == (2, {TENANT: 2})


# Keys and tokens


async def test_the_oldest_idempotency_keys_go_first_and_no_more_than_asked_for(opened: OpenStore) -> None:
    await opened.commit(*(inserted(n, created_at_ms=1_000 * n, idempotency=key(f"k{n}")) for n in (3, 1, 2)))
    await opened.commit(DropIdempotencyKeys(before_ms=3_000, limit=1))
    names = ["k1", "k2", "k3"]
    assert sorted(await opened.store.idempotent(TENANT, names, not_before_ms=0)) == ["k2", "k3"]
    await opened.commit(DropIdempotencyKeys(before_ms=3_000, limit=9))
    assert sorted(await opened.store.idempotent(TENANT, names, not_before_ms=0)) == ["k3"]


async def test_a_used_token_goes_and_an_unused_one_stays(opened: OpenStore) -> None:
    await opened.commit(token(b"used"), token(b"free"), enrolled(b"used"))
    before = await opened.loaded()
    everything = Horizons(tokens_ms=10 * DAY_MS)
    assert await opened.store.due(everything, limit=9) == Due(tokens=1)
    await opened.commit(DropUsedTokens(before_ms=10 * DAY_MS, limit=9))
    assert not await opened.store.due(everything, limit=9)
    assert await opened.loaded() == before


async def test_a_revoked_key_goes_and_another_stays(opened: OpenStore) -> None:
    other = replace(KEY, key_id="key-2")
    await opened.commit(AddApiKey(key=KEY), AddApiKey(key=other), revoked())
    await opened.commit(DropRevokedKeys(before_ms=320, limit=9))
    assert len(await opened.store.api_keys()) == 2
    await opened.commit(DropRevokedKeys(before_ms=321, limit=9))
    assert await opened.store.api_keys() == [other]


# What is due


SIZE = len(b'"hello"') + len(b'{"from":"test"}') + len(b'{"text":"hi"}')


async def test_texts_are_due_the_oldest_end_first(opened: OpenStore) -> None:
    await complete(opened, 1, ended_at_ms=300)
    await complete(opened, 2, ended_at_ms=100)
    await complete(opened, 3, ended_at_ms=200)
    await opened.commit(inserted(4))
    found = await opened.store.due(Horizons(texts_ms=300), limit=9)
    assert found == Due(erase=(DueJob(job_id(2), 2, SIZE), DueJob(job_id(3), 3, SIZE)))
    assert (await opened.store.due(Horizons(texts_ms=301), limit=1)).erase == (DueJob(job_id(2), 2, SIZE),)


async def test_erased_texts_are_not_due_again(opened: OpenStore) -> None:
    await complete(opened, 1)
    await opened.commit(erased(1))
    assert not await opened.store.due(Horizons(texts_ms=10_000), limit=9)


async def test_whole_jobs_are_due_erased_or_not_and_not_named_twice(opened: OpenStore) -> None:
    for number, ended_at_ms in ((1, 300), (2, 100), (3, 500)):
        await complete(opened, number, ended_at_ms=ended_at_ms)
    await opened.commit(erased(2))
    found = await opened.store.due(Horizons(texts_ms=600, jobs_ms=400), limit=9)
    whole = (DueJob(job_id(2), 2, 0), DueJob(job_id(1), 1, SIZE))
    assert found == Due(drop=whole, erase=(DueJob(job_id(3), 3, SIZE),))


async def test_nothing_is_due_without_a_horizon(opened: OpenStore) -> None:
    await complete(opened, 1)
    await opened.commit(token(), enrolled(), AddApiKey(key=KEY), revoked(), inserted(2, idempotency=key()))
    assert not await opened.store.due(Horizons(), limit=9)


async def test_keys_are_counted_as_far_as_asked(opened: OpenStore) -> None:
    await opened.commit(*(inserted(n, idempotency=key(f"k{n}")) for n in range(1, 6)))
    assert (await opened.store.due(Horizons(idempotency_ms=2_000), limit=3)).idempotency == 3


# Scrubbing


async def test_scrubbing_changes_nothing_that_can_be_read(opened: OpenStore) -> None:
    await complete(opened, 1)
    await opened.commit(inserted(2), erased(1))
    before = await opened.everything()
    assert await opened.store.scrub(term=opened.term)
    assert await opened.everything() == before


async def test_a_stale_term_deletes_nothing(opened: OpenStore) -> None:
    await complete(opened, 1)
    with pytest.raises(Fenced):
        await opened.store.commit([dropped(1)], term=opened.term - 1)
    assert await read(opened) is not None
