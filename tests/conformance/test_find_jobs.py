"""What every store finds when it is asked for certain jobs."""

from __future__ import annotations

from typing import Any

import pytest

from cavvy import defaults
from cavvy.core.job import Effort, JobStatus, Needs
from cavvy.core.writes import DropJobs
from cavvy.store.base import JobFilter
from tests.conformance.samples import TENANT, WORKER, OpenStore, completed, failed, granted, inserted, requeued, started

OTHER_WORKER = "cd" * 32


async def found(opened: OpenStore, *, limit: int = 100, tenant: str = TENANT, **wanted: Any) -> list[int]:
    """The numbers of all that are found, page by page."""
    numbers: list[int] = []
    before: int | None = None
    while True:
        page = await opened.store.find_jobs(tenant, JobFilter(**wanted), before=before, limit=limit)
        assert len(page.jobs) <= limit
        assert before is None or page.before is None or page.before < before, "it goes on for ever"
        numbers += [job.seq for job in page.jobs]
        before = page.before
        if before is None:
            return numbers


@pytest.fixture
async def filled(opened: OpenStore) -> OpenStore:
    """1 and 2 wait (2 was lost), 3 is assigned, 4 runs at another worker, 5 is completed, 6 failed, 7 is another's."""
    await opened.commit(
        *(inserted(n) for n in range(1, 7)),
        inserted(7, tenant="other", number=1),
        granted(2), started(2), requeued(2),
        granted(3),
        granted(4, worker=OTHER_WORKER), started(4),
        granted(5), started(5), completed(5),
        granted(6), started(6), failed(6),
        granted(7),
    )  # fmt: skip
    return opened


@pytest.mark.parametrize(
    ("statuses", "numbers"),
    [
        (None, [6, 5, 4, 3, 2, 1]),
        ({"pending"}, [2, 1]),
        ({"assigned"}, [3]),
        ({"running"}, [4]),
        ({"assigned", "running"}, [4, 3]),
        ({"pending", "running"}, [4, 2, 1]),
        ({"completed"}, [5]),
        ({"failed"}, [6]),
        ({"completed", "failed"}, [6, 5]),
        (set(), []),
    ],
)
async def test_a_status_finds_the_jobs_in_it_newest_first(
    filled: OpenStore, statuses: set[str] | None, numbers: list[int]
) -> None:
    wanted = None if statuses is None else frozenset(JobStatus(each) for each in statuses)
    assert await found(filled, statuses=wanted) == numbers
    assert await found(filled, statuses=wanted, limit=1) == numbers


async def test_a_worker_finds_every_job_it_was_ever_given(filled: OpenStore) -> None:
    assert await found(filled, worker=WORKER) == [6, 5, 3, 2]
    assert await found(filled, worker=OTHER_WORKER, limit=1) == [4]
    assert await found(filled, worker="none") == []


async def test_a_job_given_to_a_worker_twice_is_found_once(opened: OpenStore) -> None:
    await opened.commit(inserted(1), granted(1), started(1), requeued(1), granted(1, 2))
    assert await found(opened, worker=WORKER) == [1]


async def test_p18_a_filter_finds_nothing_of_another_tenant(filled: OpenStore) -> None:
    assert await found(filled, tenant="other", worker=WORKER) == [7]
    assert await found(filled, tenant="other", statuses=frozenset({JobStatus.FAILED, JobStatus.PENDING})) == []
    assert await found(filled, tenant="nobody", text="job-1") == []


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("job-2", [2]),
        ("TINY", [3, 1]),
        ("rivers", [2]),
        ('say "RIVERS"', [2]),
        ("two\nlines", [2]),
        ("über", [3]),
        ("nested", [1]),
        ("prompt", []),
        ("where", []),
        ("", [3, 2, 1]),
        ("\0", []),
    ],
)
async def test_a_text_is_looked_for_in_id_model_metadata_and_input(
    opened: OpenStore, text: str, numbers: list[int]
) -> None:
    await opened.commit(
        inserted(1, metadata=b'{"where":[{"deep":"Nested"}]}'),
        inserted(2, needs=Needs(tenant=TENANT, model="big"), input=rb'{"prompt":"Say \"Rivers\" in two\nlines"}'),
        inserted(3, metadata=None, input='{"messages":[{"role":"user","content":"ÜBER"}]}'.encode()),
    )
    assert await found(opened, text=text) == numbers


async def test_a_thread_finds_its_jobs_newest_first(opened: OpenStore) -> None:
    await opened.commit(
        *(inserted(n, thread_id="t") for n in (1, 2)),
        inserted(3),
        inserted(4, thread_id="T"),
        inserted(5, thread_id="t"),
    )
    assert await found(opened, thread_id="t") == [5, 2, 1]
    assert await found(opened, thread_id="t", limit=1) == [5, 2, 1]
    assert await found(opened, thread_id="T") == [4]
    assert await found(opened, thread_id="") == []
    assert await found(opened, thread_id="t", tenant="other") == []


async def test_an_effort_finds_its_jobs_newest_first(opened: OpenStore) -> None:
    await opened.commit(inserted(1, effort=Effort.DEEP), inserted(2), inserted(3, effort=Effort.DEEP, thread_id="t"))
    assert await found(opened, effort=Effort.DEEP, limit=1) == [3, 1]
    assert await found(opened, effort=Effort.STANDARD) == [2]
    assert await found(opened, effort=Effort.QUICK) == []
    assert await found(opened, effort=Effort.DEEP, thread_id="t", statuses=frozenset({JobStatus.PENDING})) == [3]
    assert await found(opened, effort=Effort.STANDARD, thread_id="t") == []


async def test_p18_a_cursor_is_a_number_of_the_tenants_own(opened: OpenStore) -> None:
    """Jobs of two tenants in turns: each pages through its own as if the other were not there."""
    for n in range(1, 21):
        await opened.commit(inserted(n, tenant="ab"[n % 2], number=(n + 1) // 2), granted(n))
    kinds = (JobFilter(), JobFilter(statuses=frozenset({JobStatus.ASSIGNED})), JobFilter(worker=WORKER))
    for tenant, wanted in ((tenant, wanted) for tenant in "ab" for wanted in kinds):
        pages = [await opened.store.find_jobs(tenant, wanted, before=before, limit=3) for before in (None, 8, 5, 2)]
        assert [page.before for page in pages] == [8, 5, 2, None]


async def test_a_cursor_of_a_job_that_is_gone_goes_on_behind_it(opened: OpenStore) -> None:
    await opened.commit(*(one for n in range(1, 6) for one in (inserted(n), granted(n), failed(n))))
    await opened.commit(DropJobs(seqs=(3, 4)))
    for wanted in (JobFilter(), JobFilter(worker=WORKER), JobFilter(statuses=frozenset({JobStatus.FAILED}))):
        page = await opened.store.find_jobs(TENANT, wanted, before=4, limit=9)
        assert [job.number for job in page.jobs] == [2, 1]


async def test_filters_hold_together(filled: OpenStore) -> None:
    failed_only = frozenset({JobStatus.FAILED})
    assert await found(filled, worker=WORKER, statuses=failed_only, text="hello") == [6]
    assert await found(filled, worker=OTHER_WORKER, statuses=failed_only) == []


async def test_what_is_old_is_found_behind_very_many_others(opened: OpenStore) -> None:
    many = 2 * defaults.FIND_JOBS + 7
    await opened.commit(inserted(1, input=b'{"prompt":"needle"}'), *(inserted(n) for n in range(2, many)))
    assert await found(opened, text="needle") == [1]
    assert len(await found(opened, text="job-", limit=400)) == many - 1


async def test_large_texts_are_found_in_several_looks(opened: OpenStore) -> None:
    large = b'{"prompt":"%s"}' % (b"x" * (defaults.FIND_BYTES // 4))
    await opened.commit(inserted(1, input=b'{"prompt":"needle"}'), *(inserted(n, input=large) for n in range(2, 12)))
    assert await found(opened, text="needle") == [1]


async def test_a_text_that_is_no_unicode_finds_nothing(filled: OpenStore) -> None:
    assert await found(filled, text="\ud800") == []
    assert await found(filled, worker="\ud800") == []
