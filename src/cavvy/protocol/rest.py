"""The native API's bodies, as the coordinator encodes and the SDK decodes them.

Times are ISO 8601 with milliseconds and `Z`. Readers ignore fields they do not know.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from cavvy import defaults
from cavvy.core.job import FailureCode, JobStatus, WorkerStatus

__all__ = [
    "NOT_BUILT_FIELDS",
    "NOT_BUILT_KEY_FIELDS",
    "NOT_BUILT_VALUES",
    "AttemptStarted",
    "AttemptView",
    "BatchBody",
    "BatchResult",
    "BatchResults",
    "Bye",
    "CancelBody",
    "CancelView",
    "Delta",
    "End",
    "EventsCursor",
    "FailureView",
    "Health",
    "Job",
    "JobChange",
    "JobList",
    "KeyBody",
    "KeyList",
    "KeyView",
    "Message",
    "NewKey",
    "NewTenant",
    "OwnKey",
    "Problem",
    "QueueView",
    "RotateBody",
    "StopAnswer",
    "StopBody",
    "StopView",
    "SubmitBody",
    "TenantBody",
    "TenantList",
    "TenantView",
    "TextPart",
    "ThreadStopped",
    "TimelineEntry",
    "UsageView",
    "WorkerList",
    "WorkerToken",
    "WorkerTokenBody",
    "WorkerView",
]


class TextPart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="text"):
    text: str


class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One OpenAI chat message; `content` is a string or text parts."""

    role: str
    content: str | list[TextPart]


class SubmitBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`POST /v1/jobs`: exactly one of `prompt` and `messages`; the rest is optional.

    `effort` is trivial, quick, standard, deep or critical, and says in what order jobs are granted. `_s` are seconds;
    `deadline` and `not_before` are ISO 8601.
    """

    prompt: str | None = None
    messages: list[Message] | None = None
    job_type: str = "LLM_INFER"
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


#: Fields of the interface whose feature is not built yet: refused by name, never accepted and ignored.
NOT_BUILT_FIELDS = frozenset({
    "context", "context_from", "input", "max_cost_usd", "mode", "on_no_trusted", "payload", "payment_ref",
    "response_format", "tags", "targets", "task_type",
})  # fmt: skip
#: Values of built fields whose feature is not built yet.
NOT_BUILT_VALUES = {"job_type": frozenset({"TASK"}), "privacy_class": frozenset({"PRIVATE"})}


class CancelBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`POST /v1/jobs/{id}/cancel`; the body may be missing."""

    reason: str | None = None


class StopBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`POST /v1/stop`; the body may be missing. Without `latch` new work goes on being accepted."""

    reason: str | None = None
    latch: bool = True


class ThreadStopped(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/threads/{id}/cancel`: what it found; see StopAnswer."""

    running: int
    pending: int
    durable: bool


class StopView(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/stop`: whether new work is refused, and who stopped it, why and when (null when it is not)."""

    stopped: bool
    by: str | None = None
    reason: str | None = None
    at: str | None = None


class StopAnswer(StopView, frozen=True, kw_only=True):
    """`POST /v1/stop`: what it found. `running` attempts were told, `pending` jobs never start.

    `durable` is false while the store takes no writes: all this holds, but not beyond the end of the coordinator's
    process; it is written as soon as the store takes it.
    """

    running: int
    pending: int
    durable: bool


class FailureView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a job failed. `by`, `reason` and `stop_ms` (until its model was idle) belong to an abort."""

    code: FailureCode
    message: str
    at: str
    by: str | None = None
    reason: str | None = None
    attempt: int | None = None
    stop_ms: int | None = None


class CancelView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A running job was asked to stop and has not ended yet, or ended before it heard of it.

    `durable` is false while the store takes no writes: the worker was told, but if the coordinator's process ends
    before the store takes it, the job goes on.
    """

    by: str
    reason: str | None
    at: str
    durable: bool = True


class UsageView(msgspec.Struct, frozen=True, kw_only=True):
    input_tokens: int
    output_tokens: int


class QueueView(msgspec.Struct, frozen=True, kw_only=True):
    """Why a pending job waits, and where it stands: 1 is the next, null while it does not stand in line. `estimate_s`
    is in about how many seconds it starts; null when that is not known.
    """

    reason: str
    position: int | None = None
    estimate_s: float | None = None


class AttemptView(msgspec.Struct, frozen=True, kw_only=True):
    """One grant: to whom, when, how it ended, and, unless it completed, why. `input_salt` (hex) opens the receipt's
    `input_hash`. `counted`: it was one of the job's `tries`.
    """

    attempt: int
    worker: str
    worker_id: str | None
    granted_at: str
    started_at: str | None
    ended_at: str | None
    end: str | None
    code: FailureCode | None = None
    message: str | None = None
    counted: bool
    input_salt: str
    usage: UsageView | None


class TimelineEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that happened: `event` is submitted, assigned, started, attempt_failed, lost, undelivered, rejected,
    drained, revoked, retried, cancel_requested, completed, failed.
    """

    at: str
    event: str
    attempt: int | None = None
    worker_id: str | None = None


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job as the API shows it.

    In lists and events the texts (`prompt`, `messages`, `result`, `output`, `receipt`) are null. Since `erased_at` they
    are gone, with `metadata`, `stop` and the words of a failure; the hashes and the receipt stay.
    """

    id: str
    number: int
    status: JobStatus
    job_type: str
    privacy_class: str
    user_id: str
    created_at: str
    completed_at: str | None = None
    erased_at: str | None = None
    model: str | None = None
    served_model: str | None = None
    prompt: str | None = None
    messages: msgspec.Raw | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    stop: list[str] | None = None
    metadata: msgspec.Raw | None = None
    result: msgspec.Raw | None = None
    output: str | None = None
    output_hash: str | None = None
    input_salt: str | None = None
    usage: UsageView | None = None
    failure: FailureView | None = None
    cancel_requested: CancelView | None = None
    queue: QueueView | None = None
    attempt: int = 0
    tries: int = 0
    effort: str = "standard"
    thread_id: str | None = None
    timeout_s: float = defaults.TIMEOUT_S
    first_token_timeout_s: float = defaults.FIRST_TOKEN_TIMEOUT_S
    stall_timeout_s: float = defaults.STALL_TIMEOUT_S
    match_window_s: float | None = None
    max_attempts: int = defaults.MAX_ATTEMPTS
    deadline: str | None = None
    not_before: str | None = None
    attempts: list[AttemptView] = []
    timeline: list[TimelineEntry] = []
    receipt: msgspec.Raw | None = None


class JobList(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first. `cursor` gets the next page; null on the last."""

    jobs: list[Job]
    cursor: str | None


class BatchBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/jobs/batch`: 1 to 1,000 jobs."""

    jobs: list[SubmitBody]


class WorkerView(msgspec.Struct, frozen=True, kw_only=True):
    """A worker: `key` (hex) is what its receipts are signed with; the rest from `slots` on is null while it is
    offline. `leaving`: it was told to end, takes nothing new and finishes what it runs. Until `cooling_until`
    it gets nothing: it did not take the last jobs it was given. `stopping` slots still end what was stopped;
    `unanswered_stops` were not answered in time since it connected. A `shared` one serves every tenant; all but the
    operator see only its `models`.
    """

    id: str
    key: str
    name: str
    status: WorkerStatus
    shared: bool = False
    enrolled_at: str
    online: bool
    slots: int | None = None
    free: int | None = None
    models: list[str] | None = None
    version: str | None = None
    skew_ms: int | None = None
    leaving: bool | None = None
    cooling_until: str | None = None
    stopping: int | None = None
    unanswered_stops: int | None = None


class WorkerList(msgspec.Struct, frozen=True, kw_only=True):
    workers: list[WorkerView]


class WorkerTokenBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`POST /v1/worker-tokens`; the body may be missing. `shared` is the operator's, whose tokens all have it."""

    needs_approval: bool = False
    shared: bool = False


class WorkerToken(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/worker-tokens`: single use; `join` is what goes behind `cavvy worker --join`."""

    token: str
    join: str
    expires_at: str


class OwnKey(msgspec.Struct, frozen=True, kw_only=True):
    """What the key in the request is; the operator's has no tenant."""

    id: str
    role: str
    tenant: str | None
    user: str


#: Fields of a key whose feature is not built yet.
NOT_BUILT_KEY_FIELDS = frozenset({"budget"})


class KeyBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`POST /v1/keys`. `user` is `owner` if not given; `expires_at` is ISO 8601, none: it does not expire."""

    role: str
    name: str | None = None
    user: str | None = None
    act_for_users: bool = False
    expires_at: str | None = None


class RotateBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`POST /v1/keys/{id}/rotate`; the body may be missing. For `grace_s` seconds the old secret goes on."""

    grace_s: int = defaults.KEY_GRACE_S


class KeyView(msgspec.Struct, frozen=True, kw_only=True):
    """An API key without its secret. `status` is `active`, `expired` or `revoked`.

    `tenant` is null for the operator's; `created_by` is the id of the key that asked for it, null for the first ones.
    """

    id: str
    role: str
    status: str
    tenant: str | None
    name: str | None
    user: str
    act_for_users: bool
    created_at: str
    created_by: str | None
    expires_at: str | None
    revoked_at: str | None
    old_secret_until: str | None


class NewKey(KeyView, frozen=True, kw_only=True):
    """A key and its secret, which is shown this once.

    `login` is what goes behind `cavvy login` on another machine: the coordinator's address, the secret, the pin.
    """

    key: str
    login: str


class KeyList(msgspec.Struct, frozen=True, kw_only=True):
    """Oldest first."""

    keys: list[KeyView]


Weight = Annotated[float, msgspec.Meta(ge=defaults.TENANT_WEIGHT_MIN, le=defaults.TENANT_WEIGHT_MAX)]


class TenantBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/tenants`: `id` is 1 to 63 of a-z, 0-9 and `-`, not beginning with `-`.

    `weight` is its share of the workers it has in common with others, relative to theirs.
    """

    id: str
    weight: Weight = defaults.TENANT_WEIGHT


class TenantView(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    created_at: str
    weight: float = defaults.TENANT_WEIGHT


class NewTenant(TenantView, frozen=True, kw_only=True):
    """A tenant and its first admin key."""

    admin: NewKey


class TenantList(msgspec.Struct, frozen=True, kw_only=True):
    """Oldest first."""

    tenants: list[TenantView]


class Health(msgspec.Struct, frozen=True, kw_only=True):
    status: str
    version: str


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """RFC 9457 problem+json.

    `code` is documented; `detail` says what to do; `outcome` says whether anything was written.
    """

    type: str
    title: str
    status: int
    detail: str
    code: str
    error: str
    field: str | None = None
    allowed: list[str] | None = None
    outcome: str | None = None
    job_id: str | None = None
    request_id: str | None = None
    stop: StopView | None = None


class BatchResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one job of a batch: `job` (without texts) with 201 or, made before, 200; else `problem`."""

    status: int
    job: Job | None = None
    problem: Problem | None = None


class BatchResults(msgspec.Struct, frozen=True, kw_only=True):
    """In the order of the batch."""

    results: list[BatchResult]


class Delta(msgspec.Struct, frozen=True, kw_only=True):
    """SSE `delta`: `text` begins at `offset` (Unicode code points) of `attempt`."""

    attempt: int
    offset: int
    kind: str
    text: str


class AttemptStarted(msgspec.Struct, frozen=True, kw_only=True):
    """SSE `attempt`: a new one begins; the text so far is void."""

    attempt: int


class End(msgspec.Struct, frozen=True, kw_only=True):
    """SSE `end`: the stream is whole. `length` counts code points; `output_hash` is null unless
    completed, and when the text was erased."""

    attempt: int
    length: int
    output_hash: str | None


class Bye(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """SSE `bye`: this stream ends and is not whole; come back after `retry_ms` with the last id.

    `reason` is none when the coordinator stops or the key has ended, else `too_slow`: you read slower than it went on.
    """

    retry_ms: int
    reason: str | None = None


class EventsCursor(msgspec.Struct, frozen=True, kw_only=True):
    """SSE `cursor` of a tenant's events: from here on nothing is left out. What was before, list.

    Jobs there were: `GET /v1/jobs?cursor=…`; null when there were none.
    """

    cursor: str | None


class JobChange(msgspec.Struct, frozen=True, kw_only=True):
    """SSE `job` of a tenant's events: where a job is now, without what anybody wrote. Fields are called as the job's.

    `stopping`: it was asked to stop and has not ended. `worker_id` has the attempt, or had it last. `at` is when the
    coordinator told it.
    """

    id: str
    number: int
    status: JobStatus
    at: str
    attempt: int
    worker_id: str | None
    stopping: bool
    failure_code: FailureCode | None
    stopped_by: str | None
    usage: UsageView | None
    job_type: str
    privacy_class: str
    model: str | None
    effort: str
    thread_id: str | None
    user_id: str
    created_at: str
