"""What the jobs of a simulation are, and what comes of them if all goes well."""

from __future__ import annotations

from random import Random
from typing import Any, NamedTuple

import msgspec

from cavvy import defaults
from cavvy.core import javascript
from cavvy.core.canonical import canonical
from cavvy.core.job import JobType, Policy, TaskType
from cavvy.tasks.built_in import run_task
from cavvy.testing.simulation.plan import Plan

__all__ = ["Errand", "echo", "right_output"]

_TEXTS = ("It is not a good day. It rains, and the roof leaks.", 'Take {"a": [1, 2.5]} and {"b": null}.', "Great!")
_TENANTS = (defaults.DISPATCH_TENANT, defaults.DISPATCH_TENANT, defaults.DISPATCH_TENANT, defaults.TENANT)


class Errand(NamedTuple):
    """One job: `policy` is how it was committed by one of Dispatch's clients, `tenant` whose it is then."""

    prompt: str
    tenant: str = defaults.TENANT
    policy: Policy | None = None
    task: TaskType | None = None
    waits: bool = True  # for somebody to trust, if it is PRIVATE

    @classmethod
    def thrown(cls, prompt: str, plan: Plan, dice: Random) -> Errand:
        """Some of Dispatch's clients have a key, some that have none ask as Cavvy's own do."""
        errand = cls(prompt)
        if plan.tasks and dice.random() < plan.tasks:
            errand = cls(dice.choice(_TEXTS), task=dice.choice(list(TaskType)))
        if not plan.dispatch or dice.random() >= plan.dispatch:
            return errand
        tenant, policy = dice.choice(_TENANTS), dice.choice(list(Policy))
        if tenant == defaults.DISPATCH_TENANT and dice.random() < 0.2:
            return errand._replace(tenant=tenant)
        return errand._replace(tenant=tenant, policy=policy, waits=False)

    @property
    def job_type(self) -> JobType:
        return JobType.LLM_INFER if self.task is None else JobType.TASK

    @property
    def input(self) -> bytes:
        if self.task is None:
            return canonical({"prompt": self.prompt})
        return canonical({"task_type": self.task.value, "input": self.prompt})


def echo(prompt: str) -> str:
    """What a model of Dispatch's workers says."""
    return f"echo: {prompt}"


def right_output(job_type: JobType, given: bytes | dict[str, Any]) -> Any:
    """What must come of the job; of a prompt, what Dispatch's workers make of it."""
    wanted = msgspec.json.decode(given) if isinstance(given, bytes) else given
    if job_type is JobType.LLM_INFER:
        return {"text": echo(wanted["prompt"]), "model": "llama3.2"}
    return javascript.parse(run_task(wanted["task_type"], wanted["input"]).result)
