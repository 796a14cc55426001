"""The bodies of Dispatch's routes, as its clients send and read them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from cavvy import defaults

__all__ = ["CommitBody", "Committed", "JobTypeName", "LlmPayload", "PolicyName", "Quote", "TaskPayload"]

JobTypeName = Literal["LLM_INFER", "TASK"]
PolicyName = Literal["FAST", "CHEAP", "AUTO"]


class CommitBody(msgspec.Struct, frozen=True, kw_only=True):
    """A job as Dispatch's clients commit it. `payload` is an LlmPayload or a TaskPayload, as `job_type` says.

    `payment_ref` goes into the receipt; Dispatch's clients do not send it.
    """

    job_type: JobTypeName
    payload: dict[str, Any]
    user_id: Annotated[str, Meta(min_length=1, max_length=defaults.MAX_NAME_CHARS)]
    privacy_class: Literal["PUBLIC", "PRIVATE"] = "PUBLIC"
    payment_ref: str | None = None


class LlmPayload(msgspec.Struct, frozen=True, kw_only=True):
    """The payload of an LLM_INFER job."""

    prompt: str
    max_tokens: int | None = None
    job_type: str | None = None


class TaskPayload(msgspec.Struct, frozen=True, kw_only=True):
    """The payload of a TASK."""

    task_type: str
    input: str
    job_type: str | None = None


class Committed(msgspec.Struct, frozen=True, kw_only=True):
    job_id: str


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    """What such a job is said to cost, and where to commit it. It binds nobody and never expires."""

    price: str
    endpoint: str
    policy_resolved: Literal["FAST", "CHEAP"]
    network: str
    expires_at: str | None = None
