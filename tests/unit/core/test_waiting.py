"""Jobs that wait: who is next for whom, that nobody starves, that what nobody can run costs nothing, where a job is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import count, permutations
from random import Random

import pytest
from msgspec.structs import replace

from cavvy import defaults
from cavvy.core import waiting as waiting_module
from cavvy.core.fairness import CRITICAL_RUN, MAX_HEAD_START_S, TURN_BOUND, Ages, place
from cavvy.core.job import Effort, JobHeader, JobStatus, JobType, Needs, Now, PrivacyClass
from cavvy.core.line import Line
from cavvy.core.matching import Profile, refusal
from cavvy.core.standing import Standing
from cavvy.core.waiting import Queue, WaitingJobs

PLAIN = Needs()


def profile(*models: str, tenant: str = "default") -> Profile:
    return Profile(tenant=tenant, job_types=frozenset({JobType.LLM_INFER}), models=frozenset(models))


WORKER = profile("m")
SHARED = profile("m", tenant=defaults.SHARED)


class Bench:
    """Waiting jobs and a worker that takes them one by one."""

    def __init__(self, *profiles: Profile) -> None:
        self.waiting = WaitingJobs()
        self.jobs: dict[str, JobHeader] = {}
        self.now_s = 0.0
        self._seqs = count(1)
        for one in profiles or (WORKER,):
            self.waiting.know(one)

    def job(
        self,
        needs: Needs = PLAIN,
        *,
        user: str = "u",
        effort: Effort = Effort.STANDARD,
        tokens: int = 0,
        seq: int | None = None,
        at_s: float = 0.0,
        excluded: dict[str, float] | None = None,
    ) -> JobHeader:
        seq = next(self._seqs) if seq is None else seq
        return JobHeader(
            id=f"job-{seq}",
            seq=seq,
            number=seq,
            user_id=user,
            needs=needs,
            status=JobStatus.PENDING,
            created_at_ms=0,
            effort=effort,
            estimated_tokens=tokens,
            excluded=excluded,
            place=place(effort, int(at_s * 1000), seq),
        )

    def add(self, needs: Needs = PLAIN, **what: object) -> JobHeader:
        job = self.job(needs, **what)  # type: ignore[arg-type]
        self.waiting.add(job, self.now_s)
        self.jobs[job.id] = job
        return job

    def add_many(self, number: int, needs: Needs = PLAIN, **what: object) -> list[JobHeader]:
        return [self.add(needs, **what) for _ in range(number)]

    def take(self, one: Profile = WORKER, worker: str = "w") -> JobHeader | None:
        job = self.waiting.first(one, worker)
        if job is not None:
            self.waiting.grant(job, one, self.now_s)
        return job

    def drain(self, one: Profile = WORKER, worker: str = "w") -> list[JobHeader]:
        return list(iter(lambda: self.take(one, worker), None))

    def queue(self, job: JobHeader, now_s: float) -> Queue:
        return self.waiting.queue(job, now_s, lambda _: True)

    def take_ids(self, one: Profile = WORKER, worker: str = "w") -> list[str]:
        return [job.id for job in self.drain(one, worker)]


# -- one user's line


@pytest.mark.parametrize("order", [*permutations((1, 2, 3))])
def test_jobs_go_in_the_order_of_their_submission_however_they_came(order: tuple[int, ...]) -> None:
    bench = Bench()
    for seq in order:
        bench.add(seq=seq)
    assert bench.take_ids() == ["job-1", "job-2", "job-3"]


def test_a_job_that_left_is_passed_over() -> None:
    bench = Bench()
    _, second, _ = bench.add_many(3)
    bench.waiting.discard(second)
    assert bench.take_ids() == ["job-1", "job-3"]


def test_a_job_that_left_is_not_there_to_leave_again() -> None:
    bench = Bench()
    job = bench.add()
    bench.waiting.discard(job)
    with pytest.raises(KeyError):
        bench.waiting.discard(job)


def test_a_job_that_comes_back_has_its_old_place() -> None:
    bench = Bench()
    bench.add_many(3)
    first = bench.take()
    assert first is not None
    bench.waiting.add(first, 0.0)
    assert bench.take_ids() == ["job-1", "job-2", "job-3"]


def test_a_job_that_left_and_came_back_unseen_is_there_once() -> None:
    bench = Bench()
    _, second = bench.add_many(2)
    bench.waiting.discard(second)
    bench.waiting.add(second, 0.0)
    assert bench.take_ids() == ["job-1", "job-2"]


def test_jobs_go_by_effort_then_age() -> None:
    bench = Bench()
    for effort in (*Effort, *Effort):
        bench.add(effort=effort)
    efforts = [job.effort.value for job in bench.drain()]
    assert efforts == ["critical", "critical", "deep", "deep", "standard", "standard", "quick", "quick"] + 2 * [
        "trivial"
    ]


def test_effort_counts_across_kinds_of_need() -> None:
    bench = Bench()
    bench.add(effort=Effort.QUICK)
    bench.add(Needs(model="m"), effort=Effort.DEEP)
    assert bench.take_ids() == ["job-2", "job-1"]


@pytest.mark.parametrize(("late_s", "first"), [(-0.001, "deep"), (0.001, "standard")])
def test_p09_a_head_start_is_worth_its_seconds_and_no_more(late_s: float, first: str) -> None:
    bench = Bench()
    bench.add(effort=Effort.STANDARD)
    bench.add(effort=Effort.DEEP, at_s=defaults.EFFORT_STEP_S + late_s)
    assert next(job.effort for job in bench.drain()) == first


def test_p09_a_flood_of_better_effort_passes_a_trivial_job_for_the_head_start_only() -> None:
    bench = Bench()
    trivial = bench.add(effort=Effort.TRIVIAL)
    granted = []
    for second in range(3 * int(MAX_HEAD_START_S)):  # one comes and one goes each second, and some wait
        bench.add(effort=Effort.DEEP, at_s=float(second))
        if second >= 10:
            granted.append(bench.take())
    passed = [job for job in granted[: granted.index(trivial)] if job is not None]
    assert max(job.place for job in passed) < trivial.place
    assert len(passed) <= MAX_HEAD_START_S + 1


def test_a_line_knows_how_many_stand_before_a_place() -> None:
    bench = Bench()
    line = Line("u", frozenset(), 1)
    jobs = [bench.job() for _ in range(5000)]
    Random(1).shuffle(jobs)
    for job in jobs:
        line.add(job)
    for job in jobs[::3]:
        line.remove(job)
    left = sorted((job for number, job in enumerate(jobs) if number % 3), key=lambda job: job.place)
    assert [line.before(job.place) for job in left] == [*range(len(left))]
    assert line.before(2**100) == line.count == len(left)
    for job in left:
        assert line.head() is job
        line.remove(job)
    assert line.head() is None


# -- turns


def test_tenants_take_turns_however_many_jobs_each_has() -> None:
    bench = Bench(SHARED)
    bench.add_many(100, Needs(tenant="loud"))
    bench.add_many(3, Needs(tenant="quiet"))
    tenants = [job.needs.tenant for job in bench.drain(SHARED)]
    assert tenants[:6] == ["loud", "quiet", "loud", "quiet", "loud", "quiet"]
    assert len(tenants) == 103


def test_a_share_is_as_large_as_its_weight() -> None:
    bench = Bench(SHARED)
    bench.waiting.weigh("large", 3.0)
    for tenant in ("large", "small"):
        bench.add_many(400, Needs(tenant=tenant))
    first = Counter(bench.take(SHARED).needs.tenant for _ in range(400))  # type: ignore[union-attr]
    assert 298 <= first["large"] <= 302


def test_long_jobs_cost_more_than_short_ones() -> None:
    bench = Bench(SHARED)
    bench.add_many(300, Needs(tenant="long"), tokens=4000)
    bench.add_many(300, Needs(tenant="short"), tokens=1000)
    first = Counter(bench.take(SHARED).needs.tenant for _ in range(100))  # type: ignore[union-attr]
    assert 79 <= first["short"] <= 81


def test_who_was_away_has_saved_nothing() -> None:
    bench = Bench(SHARED)
    bench.add(Needs(tenant="away"))
    bench.add_many(200, Needs(tenant="here"))
    for _ in range(100):
        bench.take(SHARED)
    bench.add_many(50, Needs(tenant="away"))
    first = Counter(bench.take(SHARED).needs.tenant for _ in range(20))  # type: ignore[union-attr]
    assert 9 <= first["here"] <= 11


def test_who_used_a_free_fleet_alone_owes_nothing() -> None:
    bench = Bench(SHARED)
    bench.add_many(1000, Needs(tenant="early"))
    for _ in range(900):
        bench.take(SHARED)
    bench.add_many(100, Needs(tenant="late"))
    first = Counter(bench.take(SHARED).needs.tenant for _ in range(20))  # type: ignore[union-attr]
    assert 9 <= first["early"] <= 11


def test_users_of_a_tenant_take_turns() -> None:
    bench = Bench()
    bench.add_many(100, user="loud")
    bench.add_many(2, user="quiet")
    assert [job.user_id for job in bench.drain()][:4] == ["loud", "quiet", "loud", "quiet"]


def test_a_grant_that_came_to_nothing_is_not_charged() -> None:
    bench = Bench(SHARED)
    bench.add_many(10, Needs(tenant="a"))
    bench.add_many(10, Needs(tenant="b"))
    back = bench.take(SHARED)
    assert back is not None
    assert back.needs.tenant == "a"
    bench.waiting.refund(back, SHARED)
    bench.waiting.add(back, 0.0)
    first = Counter(bench.take(SHARED).needs.tenant for _ in range(10))  # type: ignore[union-attr]
    assert first == {"a": 5, "b": 5}


def test_one_kind_of_worker_does_not_charge_for_another() -> None:
    """Somebody's flood on a fast machine takes nothing from his turns on a slow one."""
    slow, fast = profile("slow"), profile("fast")
    bench = Bench(slow, fast)
    bench.add_many(1000, Needs(model="slow"), user="patient")
    bench.add_many(1000, Needs(model="fast"), user="busy")
    for _ in range(900):
        bench.take(fast)
    bench.add(Needs(model="slow"), user="busy")
    assert "busy" in [bench.take(slow).user_id for _ in range(2)]  # type: ignore[union-attr]


# -- critical


def test_a_critical_job_goes_before_the_other_jobs_of_every_user_of_its_tenant() -> None:
    bench = Bench()
    bench.add_many(3, user="a", effort=Effort.DEEP)
    bench.add(user="b", effort=Effort.CRITICAL)
    assert bench.take_ids()[0] == "job-4"


def test_a_critical_job_does_not_go_before_another_tenants_turn() -> None:
    bench = Bench(SHARED)
    bench.add_many(4, Needs(tenant="a"), effort=Effort.CRITICAL)
    bench.add_many(4, Needs(tenant="b"), effort=Effort.TRIVIAL)
    assert [job.needs.tenant for job in bench.drain(SHARED)] == ["a", "b"] * 4


def test_critical_jobs_that_went_while_nobody_waited_are_not_held_against_the_next() -> None:
    bench = Bench()
    bench.add_many(10, effort=Effort.CRITICAL)
    for _ in range(8):
        bench.take()
    bench.add(effort=Effort.STANDARD)
    assert [job.effort.value for job in bench.drain()] == ["critical", "critical", "standard"]


# -- P9: the bound


def flooded_until(bench: Bench, victim: JobHeader, flood: Callable[[], object], one: Profile) -> list[JobHeader]:
    """What is granted before the victim, while for each grant two more jobs of the flood come."""
    granted = []
    while (job := bench.take(one)) is not victim:
        assert job is not None
        granted.append(job)
        flood()
        flood()
        assert len(granted) < 10_000, "starved"
    return granted


CHEAP, DEAR = 1, 10**6


@pytest.mark.parametrize("weight", [0.25, 1.0, 4.0])
def test_p09_no_flood_of_one_tenant_starves_another(weight: float) -> None:
    bench = Bench(SHARED)
    bench.waiting.weigh("flood", weight)
    flood = Needs(tenant="flood")
    bench.add(Needs(tenant="victim"), tokens=DEAR)
    bench.add_many(50, flood, tokens=CHEAP)
    while bench.take(SHARED).needs.tenant != "victim":  # type: ignore[union-attr]
        pass  # the victim's tenant has had the dearest grant there is: it stands as far back as it can
    victim = bench.add(Needs(tenant="victim"))
    before = flooded_until(bench, victim, lambda: bench.add(flood, tokens=CHEAP), SHARED)
    assert len(before) <= TURN_BOUND * weight + 1
    assert len(before) >= TURN_BOUND * weight / 2, "the bound is no guess"


def test_p09_with_jobs_of_one_size_a_tenant_waits_for_two_of_another() -> None:
    bench = Bench(SHARED)
    bench.add_many(50, Needs(tenant="flood"), tokens=1000)
    bench.add(Needs(tenant="victim"), tokens=1000)
    while bench.take(SHARED).needs.tenant != "victim":  # type: ignore[union-attr]
        pass
    victim = bench.add(Needs(tenant="victim"), tokens=1000)
    before = flooded_until(bench, victim, lambda: bench.add(Needs(tenant="flood"), tokens=1000), SHARED)
    assert len(before) <= 2


def test_p09_no_flood_of_one_user_starves_another() -> None:
    bench = Bench()
    bench.add(user="victim", tokens=DEAR)
    bench.add_many(50, user="flood", tokens=CHEAP)
    while bench.take().user_id != "victim":  # type: ignore[union-attr]
        pass
    victim = bench.add(user="victim")
    before = flooded_until(bench, victim, lambda: bench.add(user="flood", tokens=CHEAP), WORKER)
    assert TURN_BOUND / 2 <= len(before) <= TURN_BOUND + 1


def test_p09_no_flood_of_critical_jobs_starves_the_others() -> None:
    bench = Bench()
    victim = bench.add(effort=Effort.TRIVIAL)
    bench.add_many(50, effort=Effort.CRITICAL)
    before = flooded_until(bench, victim, lambda: bench.add(effort=Effort.CRITICAL), WORKER)
    assert len(before) == CRITICAL_RUN


def test_p09_no_flood_of_critical_jobs_of_one_user_starves_those_of_another() -> None:
    bench = Bench()
    bench.add_many(50, user="flood", effort=Effort.CRITICAL)
    victim = bench.add(user="victim", effort=Effort.CRITICAL)
    before = flooded_until(bench, victim, lambda: bench.add(user="flood", effort=Effort.CRITICAL), WORKER)
    assert len(before) <= 2


def test_p09_whatever_comes_and_goes_everybody_is_served_in_time_and_in_order() -> None:
    """Two tenants, two users each, both lanes, grants that come back; costs differ by less than four."""
    dice, bench = Random(9), Bench(SHARED)
    passed: Counter[tuple[str, str, bool]] = Counter()
    for _ in range(3_000):
        for _ in range(dice.choice((0, 1, 2))):
            needs, effort = Needs(tenant=dice.choice("aaaab")), dice.choice([*Effort])
            bench.add(needs, user=dice.choice("uuuv"), effort=effort, tokens=dice.choice((100, 900)))
        job = bench.take(SHARED)
        if job is None:
            continue
        rivals = [one for one in bench.jobs.values() if line_of(one) == line_of(job)]
        assert job.place == min(one.place for one in rivals)
        del bench.jobs[job.id]
        if dice.random() < 0.1:
            bench.waiting.refund(job, SHARED)
            bench.waiting.add(job, 0.0)
            bench.jobs[job.id] = job
        passed.update({line_of(one) for one in bench.jobs.values()})
        for key in [key for key in passed if key not in map(line_of, bench.jobs.values())]:
            del passed[key]
        passed.pop(line_of(job), None)
        assert max(passed.values(), default=0) <= 5 * 4 * 5
    assert bench.waiting.total == len(bench.jobs)


def line_of(job: JobHeader) -> tuple[str, str, bool]:
    return job.needs.tenant, job.user_id, job.effort is Effort.CRITICAL


# -- clocks


def test_a_wall_clock_that_is_set_back_puts_no_new_job_before_an_old_one() -> None:
    ages = Ages()
    first = ages.submitted(Now(10.0, 1_000_000))
    assert ages.submitted(Now(11.0, 1_000_000 - 3_600_000)) == first + 1000


def test_what_is_restored_keeps_its_age_and_its_order() -> None:
    ages, now = Ages(), Now(5.0, 2_000_000)
    stored = [1_000_000, 1_500_000, 1_200_000, 9_000_000]  # a clock that was set back, and one that was fast
    assert [ages.restored(at_ms, now) for at_ms in stored] == [1_000_000, 1_500_000, 1_500_000, 2_000_000]
    assert ages.submitted(now) == 2_000_000


def test_jobs_of_one_effort_go_by_their_numbers_whatever_the_clock_did() -> None:
    assert place(Effort.DEEP, 5, 1) < place(Effort.DEEP, 5, 2) < place(Effort.DEEP, 6, 1)


# -- what nobody can run


def test_p09_jobs_nobody_can_run_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    for number in range(20_000):
        bench.add(Needs(model=f"unheard-of-{number % 2000}"), user=f"user-{number % 7}")
    plain = bench.add()
    looked_at: list[Line] = []
    head = Line.head

    def recorded(line: Line) -> JobHeader | None:
        looked_at.append(line)
        return head(line)

    monkeypatch.setattr(Line, "head", recorded)
    assert bench.take() is plain
    assert len(set(looked_at)) == 1


def test_p09_a_kind_of_need_is_judged_once_for_a_profile_not_once_for_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Needs, Profile]] = []

    def recorded(needs: Needs, one: Profile) -> str | None:
        asked.append((needs, one))
        return refusal(needs, one)

    monkeypatch.setattr(waiting_module, "refusal", recorded)
    bench = Bench()
    bench.waiting.know(WORKER)  # another worker of this profile
    for _ in range(100):
        bench.add_many(10)
        bench.drain()
    assert asked == [(PLAIN, WORKER)]


def test_p09_a_worker_that_comes_is_not_held_against_the_private_jobs_of_those_who_do_not_trust_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(profile("elsewhere"))
    for number in range(100):
        bench.add(Needs(privacy_class=PrivacyClass.PRIVATE, owner=f"user-{number}"))
    bench.add()
    asked: list[str | None] = []

    def recorded(needs: Needs, one: Profile) -> str | None:
        asked.append(needs.owner)
        return refusal(needs, one)

    monkeypatch.setattr(waiting_module, "refusal", recorded)
    friend = replace(WORKER, pairs=frozenset({("default", "user-7"), ("default", "nobody"), ("other", "user-8")}))
    bench.waiting.know(friend)
    assert asked == [None, "user-7"]
    assert sorted(bench.take_ids(friend)) == ["job-101", "job-8"]


def test_a_worker_that_comes_finds_what_waited_before_it() -> None:
    bench = Bench()
    bench.add(Needs(model="late"))
    late = profile("late")
    bench.waiting.know(late)
    assert bench.waiting.wants(late)
    assert bench.take_ids(late) == ["job-1"]


def test_a_profile_that_comes_back_finds_what_came_meanwhile() -> None:
    bench = Bench()
    bench.add()
    bench.waiting.forget(WORKER)
    bench.add()
    bench.waiting.know(WORKER)
    assert bench.take_ids() == ["job-1", "job-2"]


def test_two_profiles_share_what_both_can_run() -> None:
    other = profile("m", "n")
    bench = Bench(WORKER, other)
    bench.add_many(4)
    taken = [bench.take(one) for one in (WORKER, other, other, WORKER)]
    assert [job.id for job in taken if job] == ["job-1", "job-2", "job-3", "job-4"]
    assert not any(bench.waiting.wants(one) for one in (WORKER, other))


def test_p18_no_job_comes_up_for_another_tenants_worker() -> None:
    bench = Bench()
    bench.add(Needs(tenant="other"))
    assert (bench.waiting.wants(WORKER), bench.take()) == (False, None)


def test_what_waits_is_counted_for_each_tenant() -> None:
    bench = Bench()
    bench.add()
    theirs, _ = bench.add_many(2, Needs(tenant="other"))
    bench.waiting.discard(theirs)
    assert (bench.waiting.total, bench.waiting.of_tenant("default"), bench.waiting.of_tenant("other")) == (2, 1, 1)
    assert bench.waiting.of_tenant("nobody") == 0


def test_nothing_is_remembered_of_those_that_came_and_went_while_nobody_took_any() -> None:
    """A paused worker's turns, many users, many kinds: what went leaves nothing behind."""
    idle = profile("m", "n")
    bench = Bench(WORKER, idle)
    for number in range(6000):
        bench.add(Needs(model="m"), user=f"user-{number}")
        bench.add(Needs(model=f"model-{number}"))
        bench.waiting.discard(bench.jobs.popitem()[1])
        bench.take(WORKER)
    standings: dict[Profile, Standing] = bench.waiting._standings
    lanes = standings[idle]._tenants.get("default")
    assert lanes is not None
    assert len(lanes._others._members) + len(lanes._others._heap) + len(lanes._others._debts) < 500
    assert len(bench.waiting._kinds) <= 1025
    assert sum(len(kind.others._lines) for kind in bench.waiting._kinds.values()) < 1200


# -- workers that shall not get a job for now


def test_a_worker_that_shall_not_get_a_job_gets_the_next() -> None:
    bench = Bench()
    bench.add(excluded={"bad": 10.0})
    bench.add_many(2)
    assert bench.take_ids(worker="bad") == ["job-2", "job-3"]
    assert bench.take_ids(worker="good") == ["job-1"]


def test_many_jobs_that_a_worker_shall_not_get_are_passed_over_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    for _ in range(1000):
        bench.add(excluded={"bad": 10.0})
    bench.add()
    seen: list[Line] = []
    head = Line.head
    monkeypatch.setattr(Line, "head", lambda line: (seen.append(line), head(line))[1])
    assert bench.take_ids(worker="bad") == ["job-1001"]
    assert len(seen) < 50


def test_many_users_with_jobs_that_a_worker_shall_not_get_are_passed_over() -> None:
    bench = Bench()
    for number in range(3000):
        bench.add(user=f"user-{number}", excluded={"bad": 10.0})
    bench.add(user="zoe")
    assert bench.take_ids(worker="bad") == ["job-3001"]
    assert len(bench.take_ids(worker="good")) == 3000


def test_who_has_only_jobs_this_worker_shall_not_get_keeps_its_turn() -> None:
    bench = Bench(SHARED)
    bench.add(Needs(tenant="a"), excluded={"bad": 10.0})
    bench.add_many(2, Needs(tenant="b"))
    assert [job.needs.tenant for job in bench.drain(SHARED, "bad")] == ["b", "b"]
    assert [job.needs.tenant for job in bench.drain(SHARED, "good")] == ["a"]


def test_when_the_time_is_over_the_worker_may_get_it() -> None:
    bench = Bench()
    bench.add(excluded={"bad": 10.0, "worse": 20.0})
    for now_s, takes in ((9.9, []), (10.0, ["job-1"])):
        bench.waiting.unbar(bench.jobs, now_s)
        assert bench.take_ids(worker="bad") == takes
    bench.add(excluded={"bad": 10.0, "worse": 20.0})
    bench.waiting.unbar(bench.jobs, 10.0)
    assert bench.take_ids(worker="worse") == []
    bench.waiting.unbar(bench.jobs, 20.0)
    assert bench.take_ids(worker="worse") == ["job-2"]


def test_a_job_that_is_kept_from_a_worker_may_be_cancelled() -> None:
    bench = Bench()
    bench.waiting.discard(bench.add(excluded={"bad": 10.0}))
    bench.waiting.unbar({}, 10.0)
    assert (bench.waiting.total, bench.take()) == (0, None)


# -- position and estimate


def position(bench: Bench, job: JobHeader) -> int:
    return bench.queue(job, bench.now_s).position


def test_the_position_is_the_number_in_which_a_lone_users_jobs_are_granted() -> None:
    bench = Bench()
    for effort in (Effort.QUICK, Effort.DEEP, Effort.STANDARD, Effort.DEEP, Effort.TRIVIAL):
        bench.add(Needs(model="m"), effort=effort)
        bench.add(effort=effort)
    said = {job.id: position(bench, job) for job in bench.jobs.values()}
    assert said == {job_id: number for number, job_id in enumerate(bench.take_ids(), 1)}


def test_the_position_counts_the_turns_of_other_users() -> None:
    bench = Bench()
    loud = bench.add_many(100, user="loud")
    quiet = bench.add_many(2, user="quiet")
    assert [position(bench, job) for job in quiet] == [2, 4]
    assert [position(bench, job) for job in (loud[0], loud[1], loud[99])] == [2, 4, 102]


def test_critical_jobs_count_as_they_pass() -> None:
    bench = Bench()
    plain = bench.add_many(2)
    critical = bench.add_many(5, effort=Effort.CRITICAL)
    assert [position(bench, job) for job in critical] == [1, 2, 3, 5, 6]
    assert [position(bench, job) for job in plain] == [4, 7]
    assert [job.id for job in bench.drain()] == ["job-3", "job-4", "job-5", "job-1", "job-6", "job-7", "job-2"]


def test_jobs_that_wait_for_other_workers_are_not_counted() -> None:
    bench = Bench(WORKER, profile("other"))
    bench.add_many(5, Needs(model="other"))
    assert position(bench, bench.add(Needs(model="m"))) == 1


def test_a_job_nobody_can_run_stands_among_its_like() -> None:
    bench = Bench()
    bench.add_many(5)
    strange = bench.add_many(2, Needs(model="x"))
    assert bench.queue(strange[1], 0.0) == Queue(2, None)


def test_p18_another_tenants_jobs_move_nobody() -> None:
    bench = Bench(SHARED)
    mine = bench.add(Needs(tenant="a"))
    before = bench.queue(mine, 0.0)
    bench.add_many(100, Needs(tenant="b"), effort=Effort.CRITICAL)
    assert bench.queue(mine, 0.0) == before == Queue(1, None)


def test_the_estimate_is_unknown_until_a_job_that_waited_was_granted() -> None:
    bench = Bench()
    jobs = bench.add_many(10)
    for _ in range(4):
        bench.take()
    assert bench.queue(jobs[9], 0.0) == Queue(6, None)


def test_the_estimate_follows_the_pace_of_the_grants() -> None:
    bench = Bench()
    jobs = bench.add_many(100)
    for _ in range(10):
        bench.now_s += 2.0
        for _ in range(4):  # four slots, two seconds a job
            bench.take()
    queue = bench.queue(jobs[99], bench.now_s)
    assert queue.position == 60
    assert queue.estimate_s == pytest.approx(30.0, rel=0.15)


def test_the_estimate_grows_while_nothing_goes_on() -> None:
    bench = Bench()
    jobs = bench.add_many(100)
    for _ in range(10):
        bench.now_s += 1.0
        bench.take()
    soon, later = (bench.queue(jobs[99], bench.now_s + wait_s).estimate_s for wait_s in (0.5, 100.0))
    assert soon is not None
    assert later is not None
    assert soon == pytest.approx(90.0)
    assert later > 5 * soon


def test_the_time_in_which_nothing_waited_does_not_count() -> None:
    bench = Bench()
    for _ in range(5):
        jobs = bench.add_many(3)
        for _ in range(2):
            bench.now_s += 1.0
            bench.take()
        bench.now_s += 1.0
        assert bench.queue(jobs[2], bench.now_s - 1.0).estimate_s == pytest.approx(1.0)
        bench.take()
        bench.now_s += 1000.0


def test_jobs_that_start_at_once_make_no_pace() -> None:
    bench = Bench()
    for _ in range(50):
        bench.add()
        bench.take()
        bench.now_s += 10.0
    assert bench.queue(bench.add(), bench.now_s).estimate_s is None
