"""Frames of the worker protocol: each survives the wire, and what is no frame is refused as one kind of error."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest

from cavvy import defaults
from cavvy.core.job import AttemptRef, RejectReason, WorkerStatus
from cavvy.core.writes import Usage
from cavvy.protocol.messages import (
    CompleteAck,
    CoordinatorMessage,
    Drain,
    Draining,
    ErrorMessage,
    HeartbeatAck,
    HeartbeatMessage,
    Hello,
    JobAssign,
    JobCancel,
    JobComplete,
    JobDelta,
    JobFailedMessage,
    JobReject,
    JobStartedMessage,
    JobStoppedMessage,
    Limits,
    Ping,
    Register,
    RegisterAck,
    ResumeEntry,
    StatusMessage,
    TrustClaim,
    TrustResult,
    WorkerMessage,
    decode_capabilities,
    decode_coordinator_message,
    decode_worker_message,
    encode,
)

JOB_ID = "00000000-0000-7000-8000-000000000001"
ATTEMPT: dict[str, Any] = {"job_id": JOB_ID, "epoch": 3}
REF = AttemptRef(JOB_ID, 3)
RAW = msgspec.Raw(b'{"b":[1,2.50,"\xc3\xa9"],"a":null}')
USAGE = Usage(input_tokens=1, output_tokens=2)

FROM_WORKER: list[WorkerMessage] = [
    Register(
        provider_pubkey="aa" * 32,
        worker_nonce="bb" * 32,
        instance="i",
        capabilities=RAW,
        sig="cc" * 64,
        time_ms=1,
        token="t",
        held=(REF,),
        finished=(REF,),
    ),
    HeartbeatMessage(held=(REF,), free=2),
    JobStartedMessage(**ATTEMPT),
    JobDelta(offset=4, text="\U0001f40e\u2028\n", **ATTEMPT),
    JobComplete(result=RAW, receipt=RAW, **ATTEMPT),
    JobFailedMessage(code="worker_error", message="no", retryable=True, usage=USAGE, **ATTEMPT),
    JobStoppedMessage(usage=USAGE, **ATTEMPT),
    JobReject(reason=RejectReason.BUSY, message="no", **ATTEMPT),
    Draining(),
    TrustClaim(code="3FA9C1"),
]
FROM_COORDINATOR: list[CoordinatorMessage] = [
    Hello(version=1, coordinator_key="aa" * 32, server_nonce="bb" * 32, store_id="cc" * 16),
    RegisterAck(
        worker_id="w",
        sig="cc" * 64,
        limits=Limits(),
        skew_ms=-5,
        status=WorkerStatus.PAUSED,
        resume=(ResumeEntry(verdict="go_on", offset=7, **ATTEMPT),),
    ),
    JobAssign(
        job_type="LLM_INFER", privacy_class="PUBLIC", salt="dd" * 32, input=RAW, params=RAW, payment_ref="p", **ATTEMPT
    ),
    JobCancel(reason="enough", **ATTEMPT),
    HeartbeatAck(lost=(REF,)),
    CompleteAck(verdict="stale", **ATTEMPT),
    Drain(),
    StatusMessage(status=WorkerStatus.APPROVED),
    TrustResult(status="refused", code="invalid_code", fingerprint="418Q-KPSW-17MV-XY9F-RJ80"),
    Ping(),
    ErrorMessage(code="not_yours", message="no", **ATTEMPT),
]


def test_there_is_a_sample_of_every_frame() -> None:
    assert [type(one) for one in FROM_WORKER] == list(get_args(WorkerMessage))
    assert [type(one) for one in FROM_COORDINATOR] == list(get_args(CoordinatorMessage))


@pytest.mark.parametrize("message", FROM_WORKER, ids=lambda one: type(one).__name__)
def test_a_workers_frame_survives_the_wire(message: WorkerMessage) -> None:
    assert decode_worker_message(encode(message)) == message


@pytest.mark.parametrize("message", FROM_COORDINATOR, ids=lambda one: type(one).__name__)
def test_a_coordinators_frame_survives_the_wire(message: CoordinatorMessage) -> None:
    assert decode_coordinator_message(encode(message)) == message


def test_what_is_signed_or_hashed_travels_byte_for_byte() -> None:
    back = decode_worker_message(encode(JobComplete(result=RAW, receipt=RAW, **ATTEMPT)))
    assert isinstance(back, JobComplete)
    assert bytes(back.result) == bytes(back.receipt) == bytes(RAW)


def test_fields_a_newer_peer_sends_are_passed_over() -> None:
    assert decode_worker_message('{"type":"heartbeat","held":[],"free":1,"mood":{"good":true}}') == HeartbeatMessage(
        held=(), free=1
    )


def changed(message: WorkerMessage, **fields: Any) -> str:
    return msgspec.json.encode(msgspec.json.decode(encode(message)) | fields).decode()


REGISTER, HEARTBEAT, STARTED, DELTA, _, FAILED, *_ = FROM_WORKER


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(changed(REGISTER, provider_pubkey="aa" * 32 + "\n"), id="a key with a newline behind it"),
        pytest.param(changed(REGISTER, provider_pubkey="AA" * 32), id="a key in capitals"),
        pytest.param(changed(REGISTER, provider_pubkey="aa" * 31), id="a short key"),
        pytest.param(changed(REGISTER, worker_nonce="bb" * 32 + "\n"), id="a nonce with a newline behind it"),
        pytest.param(changed(REGISTER, sig="cc" * 64 + "\n"), id="a signature with a newline behind it"),
        pytest.param(changed(REGISTER, instance=""), id="no instance"),
        pytest.param(changed(REGISTER, time_ms=-1), id="a time before all times"),
        pytest.param(changed(REGISTER, time_ms=10**30), id="a time beyond all times"),
        pytest.param(changed(REGISTER, held=[[JOB_ID, 10**30]]), id="an epoch beyond 32 bits"),
        pytest.param(changed(REGISTER, finished=[[JOB_ID, -1]]), id="a negative epoch"),
        pytest.param(changed(HEARTBEAT, held=[[JOB_ID]]), id="half an attempt"),
        pytest.param(changed(HEARTBEAT, held=[[JOB_ID, 1]] * (4 * defaults.MAX_SLOTS + 1)), id="too many held"),
        pytest.param(changed(HEARTBEAT, free=-1), id="less than no free slot"),
        pytest.param(changed(STARTED, epoch=0), id="epoch 0"),
        pytest.param(changed(STARTED, job_id="x"), id="a job id that cannot be one"),
        pytest.param(changed(DELTA, offset=-1), id="a negative offset"),
        pytest.param(changed(DELTA, text=None), id="no text"),
        pytest.param(changed(FAILED, code="aborted"), id="a code that is not for workers"),
        pytest.param(changed(FAILED, usage={"input_tokens": -1}), id="a negative count"),
        pytest.param(changed(FAILED, usage={"output_tokens": 2**53}), id="a count beyond RFC 8785"),
        pytest.param(changed(HEARTBEAT, type="hello"), id="the coordinator's frame"),
        pytest.param(changed(HEARTBEAT, type="dance"), id="an unknown type"),
        pytest.param(changed(HEARTBEAT, x=[])[:-2] + "[" * 100_000, id="nested deeply"),
        pytest.param('{"held":[],"free":1}', id="no type"),
        pytest.param("[" * 200_000, id="an array, nested deeply"),
        pytest.param("", id="nothing"),
        pytest.param("null", id="null"),
    ],
)
def test_what_is_no_frame_of_a_worker_is_refused(frame: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_worker_message(frame)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"slots": 0},
        {"slots": defaults.MAX_SLOTS + 1},
        {"job_types": []},
        {"job_types": ["DANCE"]},
        {"models": ["m" * (defaults.MAX_NAME_CHARS + 1)]},
        {"models": ["m"] * (defaults.MAX_MODELS + 1)},
        {"version": None},
    ],
)
def test_what_no_worker_can_offer_is_refused(wrong: dict[str, Any]) -> None:
    right = {"name": "w", "slots": 1, "job_types": ["LLM_INFER"], "models": ["m"], "version": "1"}
    decode_capabilities(msgspec.Raw(msgspec.json.encode(right)))
    with pytest.raises(msgspec.DecodeError):
        decode_capabilities(msgspec.Raw(msgspec.json.encode(right | wrong)))
