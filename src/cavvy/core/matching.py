"""Who can run what, and what a job that waits is told."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, auto
from typing import NamedTuple

import msgspec

from cavvy import defaults
from cavvy.core.job import JobType, Needs, PrivacyClass, WorkerStatus

__all__ = ["Held", "Offer", "Profile", "refusal", "serves", "waiting_reason"]


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker offers, as it said when it registered.

    `kind` is what Dispatch's workers call their type. `commands`: it runs programs, which strangers shall not reach.
    `legacy`: it speaks Dispatch's dialect. `tenant` and `pairs`, the users (tenant, user) it is paired with, are the
    coordinator's word, not the worker's.
    """

    tenant: str
    job_types: frozenset[JobType]
    models: frozenset[str]
    kind: str | None = None
    commands: bool = False
    legacy: bool = False
    pairs: frozenset[tuple[str, str]] = frozenset()

    def serves(self, tenant: str) -> bool:
        """Whether this tenant's jobs may come here."""
        return serves(self.tenant, tenant)

    def may_see(self, needs: Needs) -> bool:
        """Whether such a job may be shown here: it is PUBLIC, or its user is paired with the worker. Names match
        exactly. Asked at every step that shows a job or takes its result, whatever was granted before.
        """
        if needs.privacy_class is PrivacyClass.PUBLIC:
            return True
        return needs.owner is not None and (needs.tenant, needs.owner) in self.pairs


def serves(owner: str, tenant: str) -> bool:
    """Whether a worker of `owner` may be given jobs of `tenant`: it is its own, or shared.

    Whoever opens the coordinator to Dispatch's clients, who send no key, opens the first tenant's workers to them.
    """
    if tenant == defaults.DISPATCH_TENANT and owner == defaults.TENANT:
        return True
    return owner in (tenant, defaults.SHARED)


class Held(Enum):
    """Why a worker that may be given jobs is given none for now."""

    LEAVING = auto()
    COOLING = auto()


class Offer(NamedTuple):
    """What a worker online offers, and whether it may be given anything now."""

    profile: Profile
    status: WorkerStatus
    held: Held | None = None

    @property
    def standing(self) -> WorkerStatus | Held:
        """Its status, unless it is held back though that would let it work."""
        return self.held if self.held is not None and self.status is WorkerStatus.APPROVED else self.status


def refusal(needs: Needs, profile: Profile) -> str | None:
    """Why a worker of this profile may not run such a job; None when it may. Fails closed."""
    if not profile.may_see(needs):
        return "is not paired with the user whose PRIVATE job it is"
    if not profile.serves(needs.tenant):
        return "belongs to another tenant"
    if profile.legacy and needs.policy is None:
        return "speaks Dispatch's dialect only, in which this job cannot be told"
    if profile.commands and needs.tenant == defaults.DISPATCH_TENANT:
        return "runs commands, which jobs without a key do not reach"
    if needs.job_type not in profile.job_types:
        return f"does not run {needs.job_type}"
    if needs.model is not None and needs.model not in profile.models:
        return f"does not serve model {needs.model!r}"
    return None


_HELD_BACK: dict[WorkerStatus | Held, str] = {
    WorkerStatus.PAUSED: "is paused; `cavvy workers resume` lets it work again",
    WorkerStatus.WAITING_APPROVAL: "waits for approval; `cavvy workers approve` lets it work",
    WorkerStatus.DRAINING: "is draining; `cavvy workers resume` lets it work when it comes again",
    Held.COOLING: "turned down its last jobs and gets none for some seconds; its log says why",
    Held.LEAVING: "is leaving: somebody ended it; start it again, or another one",
}


#: What a worker needs to run such jobs.
_ABLE = {
    JobType.LLM_INFER: "; start one that has a model",
    JobType.TASK: "; start one whose cavvy.toml does not say `tasks = false`",
}


def waiting_reason(needs: Needs, online: Iterable[Offer]) -> str:
    """What to tell the owner of a pending job: why it waits, given what the workers online offer."""
    mine = [offer for offer in online if offer.profile.serves(needs.tenant)]
    if not mine:
        return "No worker is online. Start one with `cavvy worker`, or `cavvy up`."
    able = {offer.standing for offer in mine if refusal(needs, offer.profile) is None}
    if able:
        return _held_back(able)
    return _nobody_fits(needs, [offer.profile for offer in mine])


def _held_back(able: set[WorkerStatus | Held]) -> str:
    """Why none of the workers that could run it does; `able` is how each stands."""
    others = [f"A worker that could run it {why}." for status, why in _HELD_BACK.items() if status in able]
    if WorkerStatus.APPROVED not in able:
        return others[0]
    return " ".join(["Every worker that can run this job is busy; it starts when a slot is free.", *others[:1]])


def _nobody_fits(needs: Needs, mine: list[Profile]) -> str:
    if not any(profile.may_see(needs) for profile in mine):
        return "No worker online is paired with the user whose PRIVATE job it is; `cavvy trust` pairs one."
    able = [profile for profile in mine if needs.job_type in profile.job_types]
    if not able:
        return f"No worker online runs {needs.job_type} jobs{_ABLE[needs.job_type]}."
    models = sorted(set().union(*(profile.models for profile in able)))
    if needs.model is not None and needs.model not in models:
        served = ", ".join(models) or "none"
        return f"No worker online serves model {needs.model!r}; served now: {served}."
    return f"No worker online may run it: {refusal(needs, able[0])}."
