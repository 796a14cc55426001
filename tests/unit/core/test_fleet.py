"""The fleet: which sessions could take a job, and what looking for them costs."""

from __future__ import annotations

from cavvy.core.fleet import Fleet, Session
from cavvy.core.job import AttemptRef, JobType, WorkerStatus
from cavvy.core.matching import Profile


def profile(*models: str) -> Profile:
    return Profile(tenant="default", job_types=frozenset({JobType.LLM_INFER}), models=frozenset(models))


def session(number: int, *models: str, busy: bool = False) -> Session:
    return Session(
        id=number,
        worker=f"key {number}",
        instance="",
        status=WorkerStatus.APPROVED,
        profile=profile(*models),
        slots=1,
        last_heard_s=0.0,
        idle_since_s=0.0,
        occupied={AttemptRef("job", 1)} if busy else set(),
    )


def fleet_of(*sessions: Session) -> Fleet:
    fleet = Fleet()
    for one in sessions:
        fleet.add(one)
    return fleet


def test_those_with_room_are_those_of_which_something_is_wanted() -> None:
    fleet = fleet_of(session(1, "m"), session(2, "m", busy=True), session(3, "n"), session(4, "m"))
    assert [one.id for one in fleet.with_room(lambda one: "m" in one.models)] == [1, 4]


def test_nobody_looks_what_is_wanted_of_workers_that_are_busy() -> None:
    asked: list[Profile] = []

    def wants(one: Profile) -> bool:
        asked.append(one)
        return True

    fleet_of(session(1, "m", busy=True), session(2, "n"), session(3, "n")).with_room(wants)
    assert asked == [profile("n")]


def test_workers_that_are_alike_have_one_profile_however_many_users_trust_them() -> None:
    """Else each look-up would compare the users one by one."""
    first, second = session(1, "m"), session(2, "m")
    assert first.profile is not second.profile
    fleet = fleet_of(first, second)
    assert first.profile is second.profile
    fleet.remove(first)
    fleet.add(first)
    assert first.profile is second.profile
