"""Who can run what, and what a job that waits is told."""

from __future__ import annotations

import pytest

from cavvy import defaults
from cavvy.core.job import JobType, Needs, PrivacyClass, WorkerStatus
from cavvy.core.matching import Held, Offer, Profile, refusal, waiting_reason


def profile(
    *models: str, tenant: str = "default", job_types: frozenset[JobType] = frozenset({JobType.LLM_INFER})
) -> Profile:
    return Profile(tenant=tenant, job_types=job_types, models=frozenset(models))


WORKER = profile("m")


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


# -- what a job that waits is told


NO_TASKS = "No worker online runs TASK jobs; start one whose cavvy.toml does not say `tasks = false`."


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
        (Needs(job_type=JobType.TASK), [profile("m")], NO_TASKS),
        (
            Needs(),
            [profile(job_types=frozenset({JobType.TASK}))],
            "No worker online runs LLM_INFER jobs; start one that has a model.",
        ),
        (Needs(job_type=JobType.TASK, model="m"), [profile("m")], NO_TASKS),
        (
            Needs(model="x"),
            [profile("m"), profile("x", job_types=frozenset({JobType.TASK}))],
            "No worker online serves model 'x'; served now: m.",
        ),
        (
            Needs(model="m", privacy_class=PrivacyClass.PRIVATE),
            [profile("m")],
            "No worker online is paired with the user whose PRIVATE job it is; `cavvy trust` pairs one.",
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


@pytest.mark.parametrize(("held", "says"), [(Held.LEAVING, "is leaving"), (Held.COOLING, "turned down its last jobs")])
def test_p02_a_job_is_told_of_a_worker_that_is_given_nothing_for_now(held: Held, says: str) -> None:
    assert says in waiting_reason(Needs(), [Offer(profile("m"), WorkerStatus.APPROVED, held)])
    assert "is paused" in waiting_reason(Needs(), [Offer(profile("m"), WorkerStatus.PAUSED, held)])


def test_a_paused_worker_that_could_not_run_it_is_no_reason() -> None:
    paused = Offer(profile("m"), WorkerStatus.PAUSED)
    assert "serves model 'x'" in waiting_reason(Needs(model="x"), [paused])


def test_a_shared_worker_may_run_every_tenants_public_jobs() -> None:
    shared = profile("m", tenant=defaults.SHARED)
    assert [refusal(Needs(tenant=one), shared) for one in ("default", "other")] == [None, None]
    assert refusal(Needs(privacy_class=PrivacyClass.PRIVATE), shared) is not None
    assert waiting_reason(Needs(tenant="other"), [Offer(shared, WorkerStatus.APPROVED)]) == BUSY
