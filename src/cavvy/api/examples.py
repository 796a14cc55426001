"""What the API's description shows: one job and its surroundings, the same on every page."""

from __future__ import annotations

import base64

import msgspec

from cavvy.api import sse
from cavvy.api.receipts import receipt_view
from cavvy.coordinator.login import worker_id
from cavvy.core.canonical import canonical, sha256_hex
from cavvy.core.job import JobStatus, JobType, WorkerStatus
from cavvy.core.receipt import PAYLOAD_TYPE, Envelope, ReceiptPayload, Signature
from cavvy.core.results import Result
from cavvy.core.writes import Usage
from cavvy.protocol.rest_batch import BatchResult, BatchResults
from cavvy.protocol.rest_dispatch import CommitBody, Quote
from cavvy.protocol.rest_events import EventsCursor, JobChange
from cavvy.protocol.rest_job import AttemptView, CancelView, Job, TimelineEntry, UsageView
from cavvy.protocol.rest_keys import KeyView, NewKey
from cavvy.protocol.rest_problem import Problem
from cavvy.protocol.rest_stop import StopView
from cavvy.protocol.rest_tenants import NewTenant, TenantView
from cavvy.protocol.rest_workers import WorkerToken, WorkerView

__all__ = [
    "BATCH",
    "COMMIT",
    "COMPLETED",
    "ERASED",
    "EVENTS",
    "JOB_ID",
    "KEY",
    "KEY_BODY",
    "KEY_ID",
    "LISTED",
    "METRICS",
    "NEW_KEY",
    "NEW_TENANT",
    "QUOTE",
    "RECEIPT",
    "RESULT",
    "REVOKED_KEY",
    "ROTATED_KEY",
    "STOPPED",
    "STOPPING",
    "SUBMIT",
    "SUBMITTED",
    "TENANT",
    "TENANT_EVENTS",
    "WORKER",
    "WORKER_ID",
    "WORKER_TOKEN",
]

JOB_ID = "01a20084-0742-7a85-8305-b441f3d27978"
_KEY = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
WORKER_ID = worker_id(_KEY)
_TOKEN = "cav_wrk_" + "x" * 43 + "_" + "9c" * 16
_SALT = "3b" * 32
_CREATED, _GRANTED, _ENDED = "2026-11-22T00:24:47.599Z", "2026-11-22T00:24:47.612Z", "2026-11-22T00:24:48.904Z"

COMMIT = CommitBody(
    job_type="LLM_INFER",
    payload={"job_type": "LLM_INFER", "prompt": "Name three rivers.", "max_tokens": 64},
    user_id="user_abc",
)
QUOTE = Quote(price="$0.010", endpoint="/v1/jobs/commit/fast", policy_resolved="FAST", network="cavvy:local")
SUBMIT = {"prompt": "Name three rivers.", "model": "smollm2-135m-instruct", "max_tokens": 64}
RESULT = Result(text="Amazon, Danube, Niger.", model="smollm2-135m-instruct", finish_reason="stop")
_HASH = sha256_hex(canonical(RESULT))
_PAYLOAD = ReceiptPayload(
    v=2,
    coordinator="9c" * 32,
    job_id=JOB_ID,
    provider_pubkey=_KEY,
    attempt=1,
    status="completed",
    input_hash="5e" * 32,
    output_hash=_HASH,
    params_hash="a1" * 32,
    model=RESULT.model,
    privacy_class="PUBLIC",
    started_at=_GRANTED,
    completed_at=_ENDED,
    usage=Usage(input_tokens=12, output_tokens=8),
    payment_ref=None,
)
RECEIPT = Envelope(
    payload=base64.b64encode(canonical(_PAYLOAD)).decode(),
    payload_type=PAYLOAD_TYPE,
    signatures=[Signature(keyid=_KEY, sig=base64.b64encode(b"\x2a" * 64).decode())],
)

SUBMITTED = Job(
    id=JOB_ID,
    number=7,
    status=JobStatus.ASSIGNED,
    job_type="LLM_INFER",
    privacy_class="PUBLIC",
    user_id="owner",
    created_at=_CREATED,
    prompt="Name three rivers.",
    model="smollm2-135m-instruct",
    max_tokens=64,
    input_salt=_SALT,
    attempt=1,
    attempts=[
        AttemptView(
            attempt=1,
            worker=_KEY,
            worker_id=WORKER_ID,
            granted_at=_GRANTED,
            started_at=None,
            ended_at=None,
            end=None,
            counted=False,
            input_salt=_SALT,
            usage=None,
        )
    ],
    timeline=[
        TimelineEntry(at=_CREATED, event="submitted"),
        TimelineEntry(at=_GRANTED, event="assigned", attempt=1, worker_id=WORKER_ID),
    ],
)
_USAGE = UsageView(input_tokens=12, output_tokens=8)
COMPLETED = msgspec.structs.replace(
    SUBMITTED,
    status=JobStatus.COMPLETED,
    completed_at=_ENDED,
    served_model=RESULT.model,
    result=msgspec.Raw(canonical(RESULT)),
    output=RESULT.text,
    output_hash=_HASH,
    usage=_USAGE,
    attempts=[
        msgspec.structs.replace(
            SUBMITTED.attempts[0], started_at=_GRANTED, ended_at=_ENDED, end="completed", usage=_USAGE
        )
    ],
    timeline=[*SUBMITTED.timeline, TimelineEntry(at=_ENDED, event="completed", attempt=1)],
    receipt=receipt_view(msgspec.json.encode(RECEIPT)),
)
ERASED = msgspec.structs.replace(
    COMPLETED,
    erased_at="2026-12-01T08:00:00.000Z",
    prompt=None,
    max_tokens=None,
    result=None,
    output=None,
    timeline=[*COMPLETED.timeline, TimelineEntry(at="2026-12-01T08:00:00.000Z", event="erased")],
)
#: Without texts, as in lists.
LISTED = msgspec.structs.replace(
    COMPLETED,
    prompt=None,
    result=None,
    output=None,
    receipt=None,
    input_salt=None,
    usage=None,
    attempts=[],
    timeline=[],
)
BATCH = BatchResults(
    results=[
        BatchResult(status=201, job=msgspec.structs.replace(SUBMITTED, prompt=None)),
        BatchResult(
            status=422,
            problem=Problem(
                type="urn:cavvy:problem:invalid_field",
                title="A field is wrong",
                status=422,
                detail="Field 'prompt': must not be empty.",
                code="invalid_field",
                error="invalid_field",
                field="prompt",
            ),
        ),
    ]
)
STOPPING = msgspec.structs.replace(
    SUBMITTED,
    status=JobStatus.RUNNING,
    cancel_requested=CancelView(by="owner", reason="no longer needed", at=_ENDED),
)
STOPPED = StopView(stopped=True, by="owner", reason="it went wild", at=_ENDED)
EVENTS = (
    f'event: job\ndata: {{"id":"{JOB_ID}","status":"running"}}\n\n'
    'event: attempt\ndata: {"attempt":1}\n\n'
    'event: delta\nid: 1.6\ndata: {"attempt":1,"offset":0,"kind":"text","text":"Amazon"}\n\n'
    f'event: end\nid: 1.end\ndata: {{"attempt":1,"length":22,"output_hash":"{_HASH}"}}\n\n'
)
WORKER = WorkerView(
    id=WORKER_ID,
    key=_KEY,
    name="laptop",
    status=WorkerStatus.APPROVED,
    shared=False,
    enrolled_at="2026-11-21T09:12:03.120Z",
    online=True,
    slots=2,
    free=1,
    job_types=[JobType.LLM_INFER, JobType.TASK],
    models=["smollm2-135m-instruct"],
    version="0.1.0",
    skew_ms=3,
    leaving=False,
    stopping=0,
    unanswered_stops=0,
)
CHANGE = JobChange(
    id=JOB_ID,
    number=7,
    status=JobStatus.COMPLETED,
    at=_ENDED,
    attempt=1,
    worker_id=WORKER_ID,
    stopping=False,
    failure_code=None,
    stopped_by=None,
    usage=_USAGE,
    job_type="LLM_INFER",
    privacy_class="PUBLIC",
    model="smollm2-135m-instruct",
    effort="standard",
    thread_id=None,
    user_id="owner",
    created_at=_CREATED,
)
TENANT_EVENTS = b"".join(
    [
        sse.event("cursor", EventsCursor(cursor="7")),
        sse.event("worker", WORKER),
        sse.event("job", CHANGE),
    ]
).decode()
METRICS = (
    "# HELP cavvy_jobs Jobs that have not ended.\n"
    "# TYPE cavvy_jobs gauge\n"
    'cavvy_jobs{status="pending",effort="standard"} 3\n'
    "# HELP cavvy_jobs_completed_total Jobs completed.\n"
    "# TYPE cavvy_jobs_completed_total counter\n"
    "cavvy_jobs_completed_total 1204\n"
)
WORKER_TOKEN = WorkerToken(token=_TOKEN, join=f"cavvy://127.0.0.1:4010/{_TOKEN}", expires_at="2026-11-22T00:39:47.599Z")

KEY_ID = "4Tq0pZ9rKcXw"
_SECRET = f"cav_sub_{KEY_ID}_" + "x" * 49
KEY_BODY = {"role": "submit", "name": "website", "expires_at": "2027-01-01T00:00:00Z"}
KEY = KeyView(
    id=KEY_ID,
    role="submit",
    status="active",
    tenant="default",
    name="website",
    user="owner",
    act_for_users=False,
    created_at=_CREATED,
    created_by="b7Wn1Ys5QeLd",
    expires_at="2027-01-01T00:00:00.000Z",
    revoked_at=None,
    old_secret_until=None,
)
REVOKED_KEY = msgspec.structs.replace(KEY, status="revoked", revoked_at=_ENDED)
NEW_KEY = NewKey(**msgspec.structs.asdict(KEY), key=_SECRET, login=f"cavvy://127.0.0.1:4010/{_SECRET}")
ROTATED_KEY = msgspec.structs.replace(NEW_KEY, old_secret_until=_ENDED)
TENANT = TenantView(id="acme", created_at=_CREATED)
NEW_TENANT = NewTenant(
    id="acme",
    created_at=_CREATED,
    admin=msgspec.structs.replace(
        NEW_KEY,
        role="admin",
        tenant="acme",
        name=None,
        expires_at=None,
        key=f"cav_adm_{KEY_ID}_" + "x" * 49,
    ),
)
