"""What Dispatch asks for a job, by policy and type. Nobody is charged: a client that shows prices shows these."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from cavvy.core.job import JobType, Policy

__all__ = ["POLICIES", "PRICES", "policy_of", "price_of"]

#: Dollars, as Dispatch writes them.
PRICES: Final = MappingProxyType(
    {
        (Policy.FAST, JobType.LLM_INFER): "$0.010",
        (Policy.FAST, JobType.TASK): "$0.003",
        (Policy.CHEAP, JobType.LLM_INFER): "$0.005",
        (Policy.CHEAP, JobType.TASK): "$0.001",
    }
)
#: What AUTO means: people wait for a text, programs for a task.
_AUTO: Final = MappingProxyType({JobType.LLM_INFER: Policy.FAST, JobType.TASK: Policy.CHEAP})
POLICIES: Final = (*(policy.value for policy in Policy), "AUTO")


def policy_of(named: str, job_type: JobType) -> Policy:
    """The policy of one of POLICIES for such a job. Raises ValueError for another name."""
    return _AUTO[job_type] if named == "AUTO" else Policy(named)


def price_of(policy: Policy, job_type: JobType) -> str:
    return PRICES[policy, job_type]
