"""The times of a job, from a submit body."""

from __future__ import annotations

from msgspec.structs import replace

from cavvy import defaults
from cavvy.api.fields import moment_ms, refuse
from cavvy.core.job import Terms, shared_terms
from cavvy.protocol.rest_submit import SubmitBody

__all__ = ["parse_terms"]


def parse_terms(submit: SubmitBody, default: Terms) -> Terms:
    """What is given, and the rest as in `default`. Raises InvalidInput.

    Whether the deadline has passed already is for the core to say: a repeated submit that was taken in time is still
    the same job.
    """
    found = {
        "timeout_s": _seconds(submit.timeout_s, "timeout_s"),
        "first_token_timeout_s": _seconds(submit.first_token_timeout_s, "first_token_timeout_s"),
        "stall_timeout_s": _seconds(submit.stall_timeout_s, "stall_timeout_s"),
        "match_window_s": _seconds(submit.match_window_s, "match_window_s"),
        "max_attempts": _attempts(submit.max_attempts),
        "deadline_at_ms": moment_ms(submit.deadline, "deadline"),
        "not_before_ms": moment_ms(submit.not_before, "not_before"),
    }
    given = {name: value for name, value in found.items() if value is not None}
    if not given:
        return default
    terms = replace(default, **given)
    begins_ms, ends_ms = terms.not_before_ms, terms.deadline_at_ms
    if begins_ms is not None and ends_ms is not None and ends_ms <= begins_ms:
        refuse("deadline", "must be after 'not_before'")
    return shared_terms(terms)


def _seconds(value: float | None, field: str) -> float | None:
    if value is not None and not 0 < value <= defaults.MAX_JOB_TIME_S:
        refuse(field, f"must be more than 0 and at most {defaults.MAX_JOB_TIME_S:.0f} seconds")
    return value


def _attempts(value: int | None) -> int | None:
    if value is not None and not 1 <= value <= defaults.MAX_ATTEMPTS_LIMIT:
        refuse("max_attempts", f"must be from 1 to {defaults.MAX_ATTEMPTS_LIMIT}")
    return value
