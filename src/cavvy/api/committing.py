"""From a commit body of Dispatch's clients to what the core takes: it is a submit body told differently."""

from __future__ import annotations

from typing import Any

from msgspec.structs import asdict, replace

from cavvy.api.auth import Caller
from cavvy.api.commit_times import CommitTimes
from cavvy.api.fields import refuse
from cavvy.api.problems import ProblemError
from cavvy.api.submission import Submission, known_values, parse_body, parse_submission
from cavvy.core.job import JobType, Policy, Terms, shared_needs
from cavvy.protocol.rest_dispatch import CommitBody, LlmPayload, TaskPayload

__all__ = ["MISSING_FIELDS", "parse_commit"]

MISSING_FIELDS = "Missing required fields: job_type, payload, user_id"

_REQUIRED = ("job_type", "payload", "user_id")


def parse_commit(
    body: dict[str, Any], policy: Policy, caller: Caller, default: Terms, times: CommitTimes, now_ms: int
) -> Submission:
    """Raises ProblemError with Dispatch's words where it has some, else as `parse_submission`."""
    _dispatchs_own_refusals(body)
    known_values(body)
    commit = parse_body(body, CommitBody)
    submission = parse_submission(_as_submit(commit), caller, default)
    return replace(
        submission,
        needs=shared_needs(replace(submission.needs, policy=policy)),
        terms=times.terms(submission.terms, submission.needs.job_type, now_ms),
    )


def _dispatchs_own_refusals(body: dict[str, Any]) -> None:
    if any(body.get(name) in (None, "", 0) for name in _REQUIRED):
        raise _refusal(MISSING_FIELDS)
    if body["job_type"] not in [one.value for one in JobType]:
        raise _refusal("Invalid job_type")


def _refusal(error: str) -> ProblemError:
    detail = f"{error}. A job_type is one of {', '.join(JobType)}; none of the three fields may be empty."
    return ProblemError("invalid_request", detail, error=error)


def _as_submit(commit: CommitBody) -> dict[str, Any]:
    kind = LlmPayload if commit.job_type == JobType.LLM_INFER else TaskPayload
    payload = asdict(parse_body(commit.payload, kind))
    inner = payload.pop("job_type")
    if inner not in (None, commit.job_type):
        refuse("payload", f"says another job_type than the body, which says {commit.job_type}")
    body = {**payload, "job_type": commit.job_type, "privacy_class": commit.privacy_class, "user_id": commit.user_id}
    body["payment_ref"] = commit.payment_ref
    return {name: value for name, value in body.items() if value is not None}
