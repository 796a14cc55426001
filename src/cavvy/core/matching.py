"""Who can run what, and in which order jobs wait.

Waiting jobs with equal needs are one class; a class is asked once per worker profile, not once per job and worker.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from cavvy import defaults
from cavvy.core.job import JobType, Needs, PrivacyClass, WorkerStatus

__all__ = ["JobClass", "Offer", "Profile", "WaitingJobs", "refusal", "waiting_reason"]


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker offers, as it said when it registered; `tenant` is the coordinator's word, not the worker's."""

    tenant: str
    job_types: frozenset[JobType]
    models: frozenset[str]

    def serves(self, tenant: str) -> bool:
        """Whether this tenant's jobs may come here: the worker is its own, or shared."""
        return self.tenant in (tenant, defaults.SHARED)


class Offer(NamedTuple):
    """What a worker online offers, and whether it may be given anything now."""

    profile: Profile
    status: WorkerStatus


class JobClass:
    """The waiting jobs of one kind of need, oldest first. A job that left stays in the heap until it surfaces."""

    __slots__ = ("_heap", "_waiting", "needs")

    def __init__(self, needs: Needs) -> None:
        self.needs = needs
        self._heap: list[tuple[int, str]] = []
        self._waiting: set[str] = set()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, seq: int, job_id: str) -> None:
        """A job comes, or comes back to the place its `seq` gives it."""
        if job_id not in self._waiting:
            self._waiting.add(job_id)
            heapq.heappush(self._heap, (seq, job_id))

    def discard(self, job_id: str) -> None:
        self._waiting.discard(job_id)
        if len(self._heap) > 2 * len(self._waiting) + 64:
            self._heap = [entry for entry in self._heap if entry[1] in self._waiting]
            heapq.heapify(self._heap)

    def head(self) -> tuple[int, str] | None:
        """The oldest waiting job, or None."""
        heap = self._heap
        while heap and heap[0][1] not in self._waiting:
            heapq.heappop(heap)
        return heap[0] if heap else None


class WaitingJobs:
    """All pending jobs by class, and for each profile the classes it can run: what nobody can run costs nothing."""

    def __init__(self) -> None:
        self._classes: dict[Needs, JobClass] = {}
        self._runnable: dict[Profile, set[JobClass]] = {}
        self._by_tenant: dict[str, int] = {}
        self.total = 0

    def of_tenant(self, tenant: str) -> int:
        return self._by_tenant.get(tenant, 0)

    def know(self, profile: Profile) -> None:
        """A worker of this profile came."""
        if profile not in self._runnable:
            fits = (one for one in self._classes.values() if refusal(one.needs, profile) is None)
            self._runnable[profile] = set(fits)

    def forget(self, profile: Profile) -> None:
        """The last worker of this profile went."""
        self._runnable.pop(profile, None)

    def add(self, needs: Needs, seq: int, job_id: str) -> None:
        one = self._classes.get(needs)
        if one is None:
            one = self._classes[needs] = JobClass(needs)
            for profile, classes in self._runnable.items():
                if refusal(needs, profile) is None:
                    classes.add(one)
        one.add(seq, job_id)
        self._count(needs, 1)

    def discard(self, needs: Needs, job_id: str) -> None:
        one = self._classes[needs]
        one.discard(job_id)
        self._count(needs, -1)
        if not one:
            del self._classes[needs]
            for classes in self._runnable.values():
                classes.discard(one)

    def runnable(self, profiles: Iterable[Profile]) -> list[tuple[int, str, JobClass, list[Profile]]]:
        """A heap of the heads these profiles can run: (seq, job id, class, the profiles that can run it)."""
        found: dict[JobClass, list[Profile]] = {}
        for profile in profiles:
            for one in self._runnable.get(profile, ()):
                found.setdefault(one, []).append(profile)
        heads = [(*head, one, fits) for one, fits in found.items() if (head := one.head()) is not None]
        heapq.heapify(heads)
        return heads

    def _count(self, needs: Needs, change: int) -> None:
        self.total += change
        self._by_tenant[needs.tenant] = self._by_tenant.get(needs.tenant, 0) + change


def refusal(needs: Needs, profile: Profile) -> str | None:
    """Why a worker of this profile may not run such a job; None when it may. Fails closed."""
    if needs.privacy_class is not PrivacyClass.PUBLIC:
        return "only PUBLIC jobs can be placed"
    if not profile.serves(needs.tenant):
        return "belongs to another tenant"
    if needs.job_type not in profile.job_types:
        return f"does not run {needs.job_type}"
    if needs.model is not None and needs.model not in profile.models:
        return f"does not serve model {needs.model!r}"
    return None


_HELD_BACK = {
    WorkerStatus.PAUSED: "is paused; `cavvy workers resume` lets it work again",
    WorkerStatus.WAITING_APPROVAL: "waits for approval; `cavvy workers approve` lets it work",
    WorkerStatus.DRAINING: "is draining; `cavvy workers resume` lets it work when it comes again",
}


def waiting_reason(needs: Needs, online: Iterable[Offer]) -> str:
    """What to tell the owner of a pending job: why it waits, given what the workers online offer."""
    mine = [offer for offer in online if offer.profile.serves(needs.tenant)]
    if not mine:
        return "No worker is online. Start one with `cavvy worker`, or `cavvy up`."
    able = {status for profile, status in mine if refusal(needs, profile) is None}
    if able:
        return _held_back(able)
    return _nobody_fits(needs, [profile for profile, _ in mine])


def _held_back(able: set[WorkerStatus]) -> str:
    """Why none of the workers that could run it does; `able` are their statuses."""
    others = [f"A worker that could run it {why}." for status, why in _HELD_BACK.items() if status in able]
    if WorkerStatus.APPROVED not in able:
        return others[0]
    return " ".join(["Every worker that can run this job is busy; it starts when a slot is free.", *others[:1]])


def _nobody_fits(needs: Needs, mine: list[Profile]) -> str:
    able = [profile for profile in mine if needs.job_type in profile.job_types]
    if not able:
        return f"No worker online runs {needs.job_type} jobs."
    models = sorted(set().union(*(profile.models for profile in able)))
    if needs.model is not None and needs.model not in models:
        served = ", ".join(models) or "none"
        return f"No worker online serves model {needs.model!r}; served now: {served}."
    return f"No worker online may run it: {refusal(needs, able[0])}."
