"""Properties over generated data: no text or number can make a write fail, and all stores agree on any batch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cavvy import defaults
from cavvy.core.identity import ApiKey
from cavvy.core.job import AttemptEnd, CancelRequest, Failure, FailureCode, Needs
from cavvy.core.writes import (
    AddApiKey,
    AddWorkerToken,
    CompleteJob,
    EnrolWorker,
    FailJob,
    GrantJob,
    Idempotency,
    InsertJob,
    RequestCancel,
    Usage,
    Write,
)
from cavvy.errors import Refused
from cavvy.store.base import Store
from cavvy.store.memory import MemoryStore
from cavvy.store.sqlite import SqliteStore
from tests.conformance.conftest import make_store
from tests.conformance.samples import (
    TENANT,
    OpenStore,
    cancelled,
    completed,
    failed,
    granted,
    inserted,
    requeued,
    revived,
    started,
)

LARGEST = 2**63 - 1
texts = st.text(max_size=defaults.MAX_NAME_CHARS)  # every code point but surrogates: NUL, controls, emoji …
bodies = st.binary(max_size=2_000)
times = st.integers(0, LARGEST)
tokens = st.integers(0, 2**53 - 1)
optional_texts = st.none() | texts


class Loop:
    """An event loop that outlives single examples, with stores open in it."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._stores: list[Store] = []
        self._numbers = iter(range(1, 1_000_000))

    def run(self, coroutine: Any) -> Any:
        return self._runner.run(coroutine)

    def open(self, store: Store) -> OpenStore:
        async def opening() -> OpenStore:
            return OpenStore(store, (await store.open()).term)

        self._stores.append(store)
        opened: OpenStore = self.run(opening())
        return opened

    def number(self) -> int:
        """A job number that no example had before."""
        return next(self._numbers)

    def close(self) -> None:
        for store in self._stores:
            self.run(store.close())
        self._runner.close()


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture(scope="module", params=["memory", "sqlite"])
def lasting(request: pytest.FixtureRequest, loop: Loop, tmp_path_factory: pytest.TempPathFactory) -> OpenStore:
    return loop.open(make_store(request.param, tmp_path_factory.mktemp("lasting")))


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_no_text_and_no_number_of_a_job_makes_its_writes_fail(
    loop: Loop, lasting: OpenStore, data: st.DataObject
) -> None:
    draw = data.draw
    number = loop.number()
    tenant, user_id, model, key = draw(texts), draw(texts), draw(optional_texts), draw(texts)
    identity = f"{draw(texts)}\0{number}"
    new = InsertJob(
        id=identity,
        seq=number,
        number=number,
        user_id=user_id,
        needs=Needs(tenant=tenant, model=model),
        created_at_ms=draw(times),
        input=draw(bodies),
        params=draw(bodies),
        metadata=draw(st.none() | bodies),
        idempotency=Idempotency(key=f"{key}\0{number}", fingerprint=draw(bodies)),
        expired_before_ms=draw(times),
    )
    grant = GrantJob(job_id=identity, epoch=1, worker=draw(texts), salt=draw(bodies), granted_at_ms=draw(times))
    cancel = CancelRequest(by=draw(texts), reason=draw(optional_texts), at_ms=draw(times))
    usage = Usage(input_tokens=draw(tokens), output_tokens=draw(tokens))
    complete = CompleteJob(
        job_id=identity,
        epoch=1,
        result=draw(bodies),
        receipt=draw(bodies),
        output_hash=draw(texts),
        model=draw(texts),
        usage=usage,
        ended_at_ms=draw(times),
    )
    failure = Failure(
        code=draw(st.sampled_from(FailureCode)),
        message=draw(texts),
        at_ms=draw(times),
        by=draw(optional_texts),
        reason=draw(optional_texts),
        attempt=draw(st.none() | times),
    )
    fail = FailJob(job_id=identity, epoch=1, failure=failure, end=AttemptEnd.FAILED, counted=True, usage=usage)
    last = complete if draw(st.booleans()) else fail

    async def store_and_read() -> Any:
        await lasting.commit(new, grant)
        await lasting.commit(RequestCancel(job_id=identity, epoch=1, cancel=cancel), last)
        return await lasting.store.job(tenant, identity), await lasting.store.accepted(identity, 1)

    job, accepted = loop.run(store_and_read())
    assert (job.id, job.tenant, job.user_id, job.model) == (identity, tenant, user_id, model)
    assert (job.input, job.params, job.metadata) == (new.input, new.params, new.metadata)
    assert (job.cancel, job.created_at_ms) == (cancel, new.created_at_ms)
    assert job.attempts[0].salt == grant.salt
    assert job.attempts[0].usage == usage
    assert accepted == (grant.worker, last is complete)
    if last is complete:
        assert (job.result, job.receipt) == (complete.result, complete.receipt)
        assert (job.output_hash, job.served_model) == (complete.output_hash, complete.model)
    else:
        assert job.failure == failure


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_no_text_and_no_number_of_a_worker_or_key_makes_its_writes_fail(
    loop: Loop, lasting: OpenStore, data: st.DataObject
) -> None:
    draw = data.draw
    number = loop.number()
    tenant, unique = f"{draw(texts)}\0{number}", f"{draw(texts)}\0{number}"
    token = AddWorkerToken(
        token_hash=unique.encode(),
        tenant=tenant,
        created_by=draw(texts),
        created_at_ms=draw(times),
        expires_at_ms=draw(times),
    )
    enrol = EnrolWorker(
        worker=unique,
        id=unique,
        name=draw(texts),
        tenant=tenant,
        token_hash=unique.encode(),
        enrolled_at_ms=draw(times),
    )
    key = ApiKey(
        key_id=unique,
        secret_hash=draw(bodies),
        role=draw(texts),
        tenant=tenant,
        user_id=draw(texts),
        created_at_ms=draw(times),
        name=draw(st.none() | texts),
        created_by=draw(texts),
        act_for_users=draw(st.booleans()),
        expires_at_ms=draw(st.none() | times),
    )

    async def store_and_read() -> Any:
        await lasting.commit(token, enrol, AddApiKey(key=key))
        return await lasting.store.workers(tenant), await lasting.store.api_keys()

    (worker,), keys = loop.run(store_and_read())
    assert (worker.key, worker.id, worker.name, worker.tenant) == (unique, unique, enrol.name, tenant)
    assert keys[-1] == key


@pytest.fixture(scope="module")
def both(loop: Loop, tmp_path_factory: pytest.TempPathFactory) -> tuple[OpenStore, OpenStore]:
    directory: Path = tmp_path_factory.mktemp("both")
    return loop.open(MemoryStore()), loop.open(SqliteStore(directory))


ends = st.sampled_from([AttemptEnd.LOST, AttemptEnd.UNDELIVERED])
epochs = st.integers(1, 3)
MAKERS: list[st.SearchStrategy[Callable[[int], Write]]] = [
    st.builds(lambda epoch: lambda n: granted(n, epoch), epochs),
    st.builds(lambda epoch: lambda n: started(n, epoch), epochs),
    st.builds(
        lambda epoch, end, counted: lambda n: requeued(n, epoch, end, counted=counted), epochs, ends, st.booleans()
    ),
    st.builds(lambda epoch, counted: lambda n: revived(n, epoch, counted=counted), epochs, st.booleans()),
    st.builds(lambda epoch: lambda n: cancelled(n, epoch), epochs),
    st.builds(lambda epoch: lambda n: completed(n, epoch), epochs),
    st.builds(lambda epoch: lambda n: failed(n, epoch), epochs),
    st.builds(lambda epoch: lambda n: failed(n, epoch, None), st.integers(0, 3)),
]
steps = st.tuples(st.integers(0, 1), st.one_of(MAKERS))
batches = st.lists(st.lists(steps, min_size=1, max_size=8), min_size=1, max_size=5)


@settings(max_examples=300, deadline=None)
@given(given_batches=batches, granted_first=st.booleans())
def test_all_stores_agree_on_any_batch(
    loop: Loop, both: tuple[OpenStore, OpenStore], given_batches: Any, granted_first: bool
) -> None:
    numbers = [loop.number(), loop.number()]
    first: list[Write] = [inserted(number) for number in numbers]
    if granted_first:
        first += [granted(number) for number in numbers]
    batches: list[list[Write]] = [first, *([make(numbers[which]) for which, make in batch] for batch in given_batches)]

    async def told(opened: OpenStore) -> list[Any]:
        answers: list[Any] = []
        for batch in batches:
            try:
                await opened.commit(*batch)
                answers.append("taken")
            except Refused:
                answers.append("refused")
            answers += [await opened.store.job(TENANT, f"job-{number}") for number in numbers]
            answers += [await opened.header(number) for number in numbers]
        for number in numbers:
            await end(opened, number)
        return answers

    memory, other = both
    assert loop.run(told(memory)) == loop.run(told(other))


async def end(opened: OpenStore, number: int) -> None:
    """Makes the job terminal, so that later examples load fast."""
    job = await opened.store.job(TENANT, f"job-{number}")
    if job is not None and job.completed_at_ms is None:
        await opened.commit(failed(number, job.epoch, None))
