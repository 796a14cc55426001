"""Who can run what, in which order jobs wait, and what a job that waits is told."""

from __future__ import annotations

from itertools import permutations

import pytest

from cavvy import defaults
from cavvy.core import matching
from cavvy.core.job import JobType, Needs, PrivacyClass, WorkerStatus
from cavvy.core.matching import JobClass, Offer, Profile, WaitingJobs, refusal, waiting_reason


def profile(
    *models: str, tenant: str = "default", job_types: frozenset[JobType] = frozenset({JobType.LLM_INFER})
) -> Profile:
    return Profile(tenant=tenant, job_types=job_types, models=frozenset(models))


PLAIN = Needs()
WORKER = profile("m")


def heads(waiting: WaitingJobs, *profiles: Profile) -> list[str]:
    """The jobs these profiles would be given first, one of each class."""
    return [job_id for _, job_id, _, _ in sorted(waiting.runnable(profiles), key=lambda head: head[0])]


def drained(waiting: WaitingJobs, needs: Needs, one: Profile) -> list[str]:
    """Every job of one class in the order it would be granted."""
    order = []
    while found := heads(waiting, one):
        waiting.discard(needs, found[0])
        order.append(found[0])
    return order


@pytest.fixture
def waiting() -> WaitingJobs:
    waiting = WaitingJobs()
    waiting.know(WORKER)
    return waiting


# -- order


@pytest.mark.parametrize("order", [*permutations((1, 2, 3))])
def test_jobs_go_in_the_order_of_their_submission_however_they_came(
    waiting: WaitingJobs, order: tuple[int, ...]
) -> None:
    for seq in order:
        waiting.add(PLAIN, seq, f"job-{seq}")
    assert drained(waiting, PLAIN, WORKER) == ["job-1", "job-2", "job-3"]


def test_a_job_that_left_is_passed_over(waiting: WaitingJobs) -> None:
    for seq in (1, 2, 3):
        waiting.add(PLAIN, seq, f"job-{seq}")
    waiting.discard(PLAIN, "job-2")
    assert drained(waiting, PLAIN, WORKER) == ["job-1", "job-3"]


def test_a_job_that_comes_back_has_its_old_place(waiting: WaitingJobs) -> None:
    for seq in (1, 2, 3):
        waiting.add(PLAIN, seq, f"job-{seq}")
    waiting.discard(PLAIN, "job-1")
    assert heads(waiting, WORKER) == ["job-2"]
    waiting.add(PLAIN, 1, "job-1")
    assert drained(waiting, PLAIN, WORKER) == ["job-1", "job-2", "job-3"]


def test_a_job_that_left_and_came_back_unseen_is_there_once(waiting: WaitingJobs) -> None:
    waiting.add(PLAIN, 1, "job-1")
    waiting.add(PLAIN, 2, "job-2")
    waiting.discard(PLAIN, "job-2")
    waiting.add(PLAIN, 2, "job-2")
    assert drained(waiting, PLAIN, WORKER) == ["job-1", "job-2"]


def test_a_class_remembers_nothing_of_jobs_that_came_and_went_behind_its_head() -> None:
    one = JobClass(PLAIN)
    one.add(1, "head")
    for seq in range(2, 10_000):
        one.add(seq, f"job-{seq}")
        one.discard(f"job-{seq}")
    assert (len(one), one.head()) == (1, (1, "head"))
    assert len(one._heap) < 100


def test_the_oldest_of_each_class_comes_up_with_the_profiles_that_fit(waiting: WaitingJobs) -> None:
    big = profile("m", "big")
    waiting.know(big)
    waiting.add(Needs(model="big"), 1, "big-1")
    waiting.add(PLAIN, 2, "plain-2")
    waiting.add(PLAIN, 3, "plain-3")
    found = {job_id: set(fits) for _, job_id, _, fits in waiting.runnable([WORKER, big])}
    assert found == {"big-1": {big}, "plain-2": {WORKER, big}}


def test_a_worker_that_comes_finds_what_waited_before_it(waiting: WaitingJobs) -> None:
    waiting.add(Needs(model="late"), 1, "job-1")
    late = profile("late")
    waiting.know(late)
    assert heads(waiting, late) == ["job-1"]


def test_a_profile_nobody_has_any_more_runs_nothing(waiting: WaitingJobs) -> None:
    waiting.add(PLAIN, 1, "job-1")
    waiting.forget(WORKER)
    assert heads(waiting, WORKER) == []


def test_what_waits_is_counted_for_each_tenant(waiting: WaitingJobs) -> None:
    theirs = Needs(tenant="other")
    waiting.add(PLAIN, 1, "a")
    waiting.add(theirs, 2, "b")
    waiting.add(theirs, 3, "c")
    waiting.discard(theirs, "b")
    assert (waiting.total, waiting.of_tenant("default"), waiting.of_tenant("other")) == (2, 1, 1)
    assert waiting.of_tenant("nobody") == 0


# -- what nobody can run


def test_p09_jobs_nobody_can_run_are_not_looked_at(waiting: WaitingJobs, monkeypatch: pytest.MonkeyPatch) -> None:
    for seq in range(100_000):
        waiting.add(Needs(model=f"unheard-of-{seq % 1000}"), seq, f"strange-{seq}")
    waiting.add(PLAIN, 100_000, "plain")
    looked_at: list[Needs] = []
    head = JobClass.head

    def recorded(one: JobClass) -> tuple[int, str] | None:
        looked_at.append(one.needs)
        return head(one)

    monkeypatch.setattr(JobClass, "head", recorded)
    assert heads(waiting, WORKER) == ["plain"]
    assert looked_at == [PLAIN]


def test_p09_a_class_is_judged_once_for_a_profile_not_once_for_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Needs, Profile]] = []

    def recorded(needs: Needs, one: Profile) -> str | None:
        asked.append((needs, one))
        return refusal(needs, one)

    monkeypatch.setattr(matching, "refusal", recorded)
    waiting = WaitingJobs()
    for _ in range(10):  # ten workers of one profile
        waiting.know(WORKER)
    for seq in range(1000):
        waiting.add(PLAIN, seq, f"job-{seq}")
    drained(waiting, PLAIN, WORKER)
    assert asked == [(PLAIN, WORKER)]


# -- who may


@pytest.mark.parametrize(
    ("needs", "offer", "why"),
    [
        (Needs(), profile("m"), None),
        (Needs(), profile(), None),
        (Needs(model="m"), profile("m", "n"), None),
        (Needs(model="x"), profile("m"), "does not serve model 'x'"),
        (Needs(job_type=JobType.TASK), profile("m"), "does not run TASK"),
        (Needs(tenant="other"), profile("m"), "belongs to another tenant"),
        (Needs(), profile("m", tenant="other"), "belongs to another tenant"),
        (Needs(), profile("m", tenant=""), "belongs to another tenant"),
    ],
)
def test_who_may_run_what(needs: Needs, offer: Profile, why: str | None) -> None:
    assert refusal(needs, offer) == why


@pytest.mark.parametrize("offer", [profile(), profile("m"), profile("m", job_types=frozenset(JobType))])
@pytest.mark.parametrize("model", [None, "m"])
def test_p16_a_private_job_is_placed_with_nobody(offer: Profile, model: str | None) -> None:
    assert refusal(Needs(privacy_class=PrivacyClass.PRIVATE, model=model), offer) is not None


def test_p16_a_privacy_class_that_nobody_knows_is_placed_with_nobody() -> None:
    unknown = Needs(privacy_class="SECRET")  # type: ignore[arg-type]
    assert refusal(unknown, WORKER) is not None


def test_p18_no_job_comes_up_for_another_tenants_worker(waiting: WaitingJobs) -> None:
    waiting.add(Needs(tenant="other"), 1, "theirs")
    assert heads(waiting, WORKER) == []


# -- what a job that waits is told


@pytest.mark.parametrize(
    ("needs", "online", "says"),
    [
        (Needs(), [], "No worker is online. Start one with `cavvy worker`, or `cavvy up`."),
        (
            Needs(),
            [profile("m", tenant="other")],
            "No worker is online. Start one with `cavvy worker`, or `cavvy up`.",
        ),
        (Needs(), [profile("m")], "Every worker that can run this job is busy; it starts when a slot is free."),
        (
            Needs(model="m"),
            [profile("n"), profile("m")],
            "Every worker that can run this job is busy; it starts when a slot is free.",
        ),
        (
            Needs(model="x"),
            [profile("n", "m"), profile("k"), profile("x", tenant="other")],
            "No worker online serves model 'x'; served now: k, m, n.",
        ),
        (Needs(model="x"), [profile()], "No worker online serves model 'x'; served now: none."),
        (Needs(job_type=JobType.TASK), [profile("m")], "No worker online runs TASK jobs."),
        (Needs(job_type=JobType.TASK, model="m"), [profile("m")], "No worker online runs TASK jobs."),
        (
            Needs(model="x"),
            [profile("m"), profile("x", job_types=frozenset({JobType.TASK}))],
            "No worker online serves model 'x'; served now: m.",
        ),
        (
            Needs(model="m", privacy_class=PrivacyClass.PRIVATE),
            [profile("m")],
            "No worker online may run it: only PUBLIC jobs can be placed.",
        ),
    ],
)
def test_p02_a_job_that_waits_is_told_why(needs: Needs, online: list[Profile], says: str) -> None:
    assert waiting_reason(needs, [Offer(one, WorkerStatus.APPROVED) for one in online]) == says


BUSY = "Every worker that can run this job is busy; it starts when a slot is free."


@pytest.mark.parametrize(
    ("statuses", "says"),
    [
        (["paused"], "A worker that could run it is paused; `cavvy workers resume` lets it work again."),
        (["waiting_approval"], "A worker that could run it waits for approval; `cavvy workers approve` lets it work."),
        (
            ["draining"],
            "A worker that could run it is draining; `cavvy workers resume` lets it work when it comes again.",
        ),
        (
            ["draining", "paused"],
            "A worker that could run it is paused; `cavvy workers resume` lets it work again.",
        ),
        (
            ["paused", "approved"],
            f"{BUSY} A worker that could run it is paused; `cavvy workers resume` lets it work again.",
        ),
    ],
)
def test_p02_a_job_is_told_of_workers_that_are_held_back(statuses: list[str], says: str) -> None:
    offers = [Offer(profile("m"), WorkerStatus(status)) for status in statuses]
    assert waiting_reason(Needs(), [*offers, Offer(profile("m", tenant="other"), WorkerStatus.APPROVED)]) == says


def test_a_paused_worker_that_could_not_run_it_is_no_reason() -> None:
    paused = Offer(profile("m"), WorkerStatus.PAUSED)
    assert "serves model 'x'" in waiting_reason(Needs(model="x"), [paused])


def test_a_shared_worker_may_run_every_tenants_public_jobs() -> None:
    shared = profile("m", tenant=defaults.SHARED)
    assert [refusal(Needs(tenant=one), shared) for one in ("default", "other")] == [None, None]
    assert refusal(Needs(privacy_class=PrivacyClass.PRIVATE), shared) is not None
    assert waiting_reason(Needs(tenant="other"), [Offer(shared, WorkerStatus.APPROVED)]) == BUSY
