"""What the core lets go: only what has ended, and nothing that lives again."""

from __future__ import annotations

from cavvy import defaults
from cavvy.core.commands import EraseJob, Retain
from cavvy.core.effects import Reply, ReplyCode
from cavvy.core.retention import Due, DueJob, Horizons
from cavvy.core.writes import DropIdempotencyKeys, DropJobs, DropRevokedKeys, DropUsedTokens, EraseJobs
from cavvy.testing import Stack

ALL = Horizons(texts_ms=9, jobs_ms=8, idempotency_ms=7, api_keys_ms=6, tokens_ms=5)


async def started() -> Stack:
    stack = Stack()
    await stack.start()
    return stack


async def ended(stack: Stack) -> DueJob:
    """A job that was cancelled before it began."""
    job_id = await stack.submit("secret")
    await stack.do(stack.cancellation(job_id, "a secret reason"))
    return DueJob(job_id, (await stack.job(job_id)).seq)


def retain(stack: Stack, **due: object) -> Retain:
    return Retain(ref=stack.next_ref(), due=Due(**due), horizons=ALL)  # type: ignore[arg-type]


async def test_a_job_that_has_ended_is_erased() -> None:
    stack = await started()
    one = await ended(stack)
    await stack.do(EraseJob(ref=stack.next_ref(), job_id=one.id, seq=one.seq))
    assert stack.last(Reply).code is ReplyCode.OK
    record = await stack.job(one.id)
    assert (record.input, record.erased_at_ms) == (b"", stack.clock().wall_ms)


async def test_a_job_that_has_not_ended_is_not_erased() -> None:
    stack = await started()
    job_id = await stack.submit("secret")
    await stack.do(EraseJob(ref=stack.next_ref(), job_id=job_id, seq=1))
    assert stack.last(Reply).code is ReplyCode.NOT_ENDED
    assert (await stack.job(job_id)).erased_at_ms is None


async def test_retention_takes_what_it_was_given_of_each_kind() -> None:
    stack = await started()
    first, second = await ended(stack), await ended(stack)
    stack.writes.clear()
    await stack.do(retain(stack, erase=(first,), drop=(second,), idempotency=1, tokens=1, api_keys=1))
    limit = defaults.RETENTION_ROWS
    assert stack.writes == [
        DropJobs(seqs=(second.seq,)),
        EraseJobs(seqs=(first.seq,), at_ms=stack.clock().wall_ms),
        DropIdempotencyKeys(before_ms=7, limit=limit),
        DropUsedTokens(before_ms=5, limit=limit),
        DropRevokedKeys(before_ms=6, limit=limit),
    ]
    assert await stack.store.job("default", second.id) is None


async def test_retention_passes_over_a_job_that_lives() -> None:
    stack = await started()
    lives = DueJob(await stack.submit("secret"), 1)
    stack.writes.clear()
    await stack.do(retain(stack, erase=(lives,), drop=(lives,)))
    assert stack.writes == []
    assert stack.last(Reply).code is ReplyCode.OK
