"""What a client submits: the body of `POST /v1/jobs`."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["NOT_BUILT_FIELDS", "Message", "SubmitBody", "TextPart"]


class TextPart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="text"):
    text: str


class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One OpenAI chat message; `content` is a string or text parts."""

    role: str
    content: str | list[TextPart]


class SubmitBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`POST /v1/jobs`: exactly one of `prompt` and `messages`; the rest is optional. A `job_type` TASK has `task_type`
    (summarize, classify or extract_json) and `input` instead, and nothing that is said to a model.

    `effort` is trivial, quick, standard, deep or critical, and says in what order jobs are granted. `_s` are seconds;
    `deadline` and `not_before` are ISO 8601. A PRIVATE job goes only to workers that its user trusts; `on_no_trusted`
    says what becomes of it when none is online: `fail`, the default, or `wait`. `payment_ref` goes into the receipt.
    """

    prompt: str | None = None
    messages: list[Message] | None = None
    job_type: str = "LLM_INFER"
    task_type: str | None = None
    input: str | None = None
    privacy_class: str = "PUBLIC"
    model: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    stop: str | list[str] | None = None
    metadata: dict[str, Any] | None = None
    user_id: str | None = None
    effort: str = "standard"
    thread_id: str | None = None
    timeout_s: float | None = None
    first_token_timeout_s: float | None = None
    stall_timeout_s: float | None = None
    match_window_s: float | None = None
    max_attempts: int | None = None
    deadline: str | None = None
    not_before: str | None = None
    on_no_trusted: str | None = None
    payment_ref: str | None = None


#: Fields of the interface whose feature is not built yet: refused by name, never accepted and ignored.
NOT_BUILT_FIELDS = frozenset({
    "context", "context_from", "max_cost_usd", "mode", "payload", "response_format", "tags", "targets",
})  # fmt: skip
