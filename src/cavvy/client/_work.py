"""What `ComputeRouter` is asked for, checked before a word of it is sent anywhere."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from cavvy import defaults
from cavvy.errors import InvalidInput

__all__ = ["JOB_TYPES", "POLICIES", "Work", "check_one_of", "llm_work", "task_work"]

JOB_TYPES = ("LLM_INFER", "TASK")
POLICIES = ("AUTO", "CHEAP", "FAST")
PRIVACY = ("PUBLIC", "PRIVATE")
_HALF = re.compile("[\ud800-\udfff]")


class Work(NamedTuple):
    """What is asked for."""

    job_type: str
    payload: dict[str, Any]
    user_id: str
    policy: str = "AUTO"
    privacy: str = "PUBLIC"

    @property
    def private(self) -> bool:
        return self.privacy == "PRIVATE"

    @property
    def patience_s(self) -> float:
        """How long its job may take from the commit on."""
        return defaults.COMMIT_LLM_TIMEOUT_S if self.job_type == "LLM_INFER" else defaults.COMMIT_TASK_TIMEOUT_S


def llm_work(prompt: str, max_tokens: int | None, **fields: str) -> Work:
    """An LLM_INFER job. Raises InvalidInput."""
    _check_text("prompt", prompt)
    payload: dict[str, Any] = {"job_type": "LLM_INFER", "prompt": prompt}
    if max_tokens is not None:
        _check_count("max_tokens", max_tokens)
        payload["max_tokens"] = max_tokens
    return _checked(Work("LLM_INFER", payload, **fields))


def task_work(task_type: str, given: str, **fields: str) -> Work:
    """A TASK job. Raises InvalidInput."""
    _check_text("task_type", task_type)
    _check_text("input", given)
    return _checked(Work("TASK", {"job_type": "TASK", "task_type": task_type, "input": given}, **fields))


def _checked(work: Work) -> Work:
    _check_text("user_id", work.user_id)
    check_one_of("policy", work.policy, POLICIES)
    check_one_of("privacy", work.privacy, PRIVACY)
    return work


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str) or not value:
        raise InvalidInput("invalid_field", f"{name} has to be text, and not empty", field=name)
    if _HALF.search(value):
        raise InvalidInput("invalid_field", f"{name} holds half a character, a lone surrogate", field=name)


def _check_count(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidInput("invalid_field", f"{name} has to be a whole number above 0, not {value!r}", field=name)


def check_one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    """Exactly: what is nearly PRIVATE must never be taken for PUBLIC."""
    if value not in allowed:
        raise InvalidInput("invalid_field", f"{name} is one of {', '.join(allowed)}, not {value!r}", field=name)
