"""What befalls one run of a simulation, and what it must not show then."""

from __future__ import annotations

from enum import StrEnum, auto
from random import Random
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

__all__ = ["COORDINATORS_OWN", "HARMLESS", "Forbidden", "Plan", "Strike"]


class Strike(StrEnum):
    """What may befall a run."""

    KILL_COORDINATOR = auto()
    USURP_COORDINATOR = auto()  # a second one starts while the first one lives
    KILL_WORKER = auto()
    DRAIN_WORKER = auto()
    FAIL_COMMIT = auto()
    LOCK_STORE = auto()
    CUT = auto()
    SILENCE = auto()
    HOLD = auto()
    PARTITION = auto()
    SLOW_DISK = auto()
    STEP_CLOCK = auto()


#: These are nobody's loss: no attempt may end because of them.
HARMLESS = frozenset({Strike.LOCK_STORE, Strike.SLOW_DISK, Strike.STEP_CLOCK})
#: These leave every worker alone: no provider may be called twice for a job because of them.
COORDINATORS_OWN = HARMLESS | {Strike.KILL_COORDINATOR, Strike.FAIL_COMMIT}


class Forbidden(NamedTuple):
    """What must not be seen in a gentle run, though a rough one may show it."""

    lost_attempts: bool = False
    repeated_calls: bool = False


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How rough it gets. Times are virtual seconds; `faults` is how many of `strikes` befall the run, `stops` how often
    somebody stops everything. `hasty` jobs have little time, and providers that hang. `private` is the share of jobs
    that are PRIVATE, of two users who change their minds about whom they trust `trusts` times. `tasks` is the share of
    TASK jobs, `dispatch` that of jobs that come as Dispatch's clients send them, and `legacy` is how many workers of
    Dispatch's there are; `odd` is how often one of those does not do with a job what it should.
    """

    workers: int = 3
    jobs: int = 15
    storm_s: float = 60.0
    calm_s: float = 400.0
    strikes: tuple[Strike, ...] = tuple(Strike)
    faults: int = 12
    cancels: float = 0.25
    drop: float = 0.0
    double: float = 0.0
    overtake: float = 0.0
    delay_s: tuple[float, float] = (0.0005, 0.02)
    failing: bool = False
    retries: float = 0.0
    stops: int = 0
    hasty: bool = False
    private: float = 0.0
    trusts: int = 0
    tasks: float = 0.0
    dispatch: float = 0.0
    legacy: int = 0
    legacy_private: bool = False
    odd: float = 0.0

    @classmethod
    def thrown(cls, dice: Random) -> Plan:
        return cls(
            workers=dice.randint(1, 4),
            jobs=dice.randint(5, 25),
            faults=dice.choice((0, 4, 12, 25)),
            cancels=dice.choice((0.0, 0.2, 0.6)),
            drop=dice.choice((0.0, 0.0, 0.01, 0.05)),
            double=dice.choice((0.0, 0.0, 0.02)),
            overtake=dice.choice((0.0, 0.0, 0.02)),
            delay_s=dice.choice(((0.0005, 0.02), (0.01, 0.5))),
            strikes=dice.choice(
                (tuple(Strike), tuple(Strike), tuple(sorted(COORDINATORS_OWN)), tuple(sorted(HARMLESS)))
            ),
            failing=dice.random() < 0.5,
            stops=dice.choice((0, 0, 0, 1, 3)),
            retries=dice.choice((0.0, 0.3)),
            hasty=dice.random() < 0.25,
            private=(private := dice.choice((0.0, 0.0, 0.5, 1.0))),
            trusts=dice.choice((0, 5, 20)) if private else 0,
        )

    def with_dispatch(self, dice: Random) -> Plan:
        """Every other one. The dice are others than those of the plan: without Dispatch a seed means what it did."""
        if dice.random() < 0.5:
            return self
        return replace(
            self,
            workers=dice.choice((1, self.workers)),
            jobs=self.jobs + dice.choice((0, 20)),
            tasks=dice.choice((0.0, 0.3, 1.0)),
            dispatch=dice.choice((0.3, 1.0)),
            legacy=dice.choice((0, 1, 1, 2, 3)),
            legacy_private=dice.random() < 0.5,
            odd=dice.choice((0.0, 0.2, 0.6)),
        )

    @property
    def forbids(self) -> Forbidden:
        """What a run as gentle as this must not show."""
        kept = not (self.cancels or self.trusts)
        rough = self.drop or self.double or self.overtake or self.failing or self.hasty or self.stops or self.odd
        return Forbidden(
            lost_attempts=not rough and HARMLESS.issuperset(self.strikes),
            repeated_calls=not rough and kept and COORDINATORS_OWN.issuperset(self.strikes),
        )
