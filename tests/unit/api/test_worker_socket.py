"""The workers' WebSocket against hand-made frames: whatever comes, nothing is changed by it and honest work goes on.

All tests share one coordinator, which has to survive all of them.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import AsyncIterator, Callable
from itertools import count
from typing import Any

import msgspec
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from cavvy import defaults
from cavvy.core.ed25519 import public_key
from cavvy.core.job import AttemptRef, RejectReason
from cavvy.core.receipt import Envelope
from cavvy.protocol.handshake import Transcript
from cavvy.protocol.messages import (
    VERSION,
    CompleteAck,
    Draining,
    ErrorMessage,
    HeartbeatAck,
    HeartbeatMessage,
    JobAssign,
    JobDelta,
    JobFailedMessage,
    JobReject,
    JobStartedMessage,
    JobStoppedMessage,
    RegisterAck,
    WorkerMessage,
    encode,
)
from cavvy.testing import LiveStack, ScriptedProvider
from tests.unit.api.raw_worker import NONCE, RawWorker

SMALL_ORDER_KEY = "01" + "00" * 31
GHOST = "01a20084-0742-7a85-8305-b441f3d27978"
NESTED = '{"type":"heartbeat","held":[],"free":1,"x":' + "[" * 100_000 + "]" * 100_000 + "}"

_names = (f"raw-{number}" for number in count(1))


@pytest.fixture(scope="module")
async def stack(shared_stack: LiveStack) -> LiveStack:
    """With one honest worker."""
    await shared_stack.add_worker(ScriptedProvider(["honest"], models=("honest",)), name="honest")
    return shared_stack


@pytest.fixture
async def raw(stack: LiveStack) -> AsyncIterator[RawWorker]:
    """A worker that is not connected yet, and a key nobody has seen."""
    raw = RawWorker(stack, next(_names))
    yield raw
    await raw.close()


@pytest.fixture
async def joined(raw: RawWorker) -> RawWorker:
    await raw.join()
    return raw


@pytest.fixture
async def other(stack: LiveStack) -> AsyncIterator[RawWorker]:
    """A second worker, joined."""
    other = RawWorker(stack, next(_names))
    await other.join()
    yield other
    await other.close()


@pytest.fixture(autouse=True)
async def honest_work_goes_on(stack: LiveStack) -> AsyncIterator[None]:
    """After each test a job completes through the honest worker, which has stayed connected all the time."""
    yield
    body = {"prompt": "hi", "model": "honest"}
    job = (await stack.http.post("/v1/jobs", json=body, headers={"Prefer": "wait=60"})).json()
    assert (job["status"], job["output"], job["attempt"]) == ("completed", "honest", 1)


async def known_workers(stack: LiveStack) -> list[str]:
    return [one["key"] for one in (await stack.http.get("/v1/workers")).json()["workers"]]


# -- the way in


async def test_the_first_frame_names_the_version_the_key_and_a_fresh_nonce(raw: RawWorker, stack: LiveStack) -> None:
    first = await raw.open()
    await raw.close()
    second = await raw.open()
    seed = (stack.directory / "coordinator.key").read_text().strip()
    assert (first.version, first.coordinator_key) == (VERSION, public_key(bytes.fromhex(seed)).hex())
    assert len({first.server_nonce, second.server_nonce}) == 2


async def test_the_coordinator_proves_its_key_over_both_nonces(raw: RawWorker) -> None:
    hello = await raw.open()
    token = await raw.token()
    await raw.send(raw.registration(token=token))
    ack = await raw.receive(RegisterAck)
    transcript = Transcript(
        coordinator_key=bytes.fromhex(hello.coordinator_key),
        audience=raw.url,
        worker_key=bytes.fromhex(raw.key),
        server_nonce=bytes.fromhex(hello.server_nonce),
        worker_nonce=NONCE,
        capabilities=raw.capabilities,
        token=token,
    )
    assert transcript.coordinator_proven(ack.sig)
    assert ack.limits.max_frame_bytes == defaults.MAX_FRAME_BYTES


async def test_a_worker_that_joined_once_needs_no_token_again(joined: RawWorker) -> None:
    await joined.close()
    assert (await joined.come_back()).worker_id


async def test_the_clock_of_a_worker_is_shown_not_judged(joined: RawWorker, stack: LiveStack) -> None:
    shown = (await stack.http.get(f"/v1/workers/{joined.key}")).json()
    assert shown["online"]
    assert shown["skew_ms"] < -1_000_000_000_000


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(encode(HeartbeatMessage(held=(), free=1)), id="a heartbeat"),
        pytest.param(encode(JobStartedMessage(job_id=GHOST, epoch=1)), id="a job frame"),
        pytest.param("null", id="null"),
        pytest.param("[]", id="an array"),
        pytest.param("42", id="a number"),
        pytest.param('"x"', id="a string"),
        pytest.param("{}", id="an empty object"),
        pytest.param("", id="nothing"),
        pytest.param("{", id="half an object"),
        pytest.param("not JSON", id="not JSON"),
        pytest.param('{"type":"dance"}', id="an unknown type"),
        pytest.param('{"type":"register"}', id="a register frame with nothing in it"),
        pytest.param('{"type":"hello"}', id="the coordinator's own frame"),
        pytest.param(NESTED, id="nested deeply"),
        pytest.param("[" * 200_000, id="an array, nested deeply"),
        pytest.param(b"\xff\xfe", id="binary"),
        pytest.param(b"{}", id="JSON in a binary frame"),
    ],
)
async def test_a_first_frame_that_is_no_register_closes_4400(
    raw: RawWorker, stack: LiveStack, frame: str | bytes
) -> None:
    before = await known_workers(stack)
    await raw.open()
    await raw.send(frame)
    assert await raw.close_code() == 4400
    assert await known_workers(stack) == before


async def test_text_that_is_not_utf_8_closes_1007(raw: RawWorker) -> None:
    await raw.open()
    await raw.send(b"\xff\xfe", text=True)
    assert await raw.close_code() == 1007


async def test_who_does_not_register_in_time_is_closed_4408(raw: RawWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "HANDSHAKE_TIMEOUT_S", 0.01)
    await raw.open()
    assert await raw.close_code() == 4408


@pytest.mark.parametrize(
    "signed_for",
    [
        pytest.param({"audience": "ws://127.0.0.1:1"}, id="another port"),
        pytest.param({"audience": "ws://evil.example"}, id="another coordinator's address"),
        pytest.param({"coordinator_key": b"\x01" * 32}, id="another coordinator's key"),
        pytest.param({"server_nonce": bytes(32)}, id="another challenge"),
        pytest.param({"worker_nonce": bytes(32)}, id="another worker nonce"),
        pytest.param({"capabilities": b"{}"}, id="other capabilities"),
        pytest.param({"token": "cav_wrk_other"}, id="another token"),
    ],
)
async def test_a_signature_for_anything_else_is_closed_4401(raw: RawWorker, signed_for: dict[str, Any]) -> None:
    await raw.open()
    await raw.send(raw.registration(token=await raw.token(), signed_for=signed_for))
    assert await raw.close_code() == 4401
    assert raw.key not in await known_workers(raw.stack)


async def test_a_signature_of_another_key_is_closed_4401(joined: RawWorker, other: RawWorker) -> None:
    """Nobody comes in as somebody else."""
    forger = RawWorker(joined.stack, joined.name)
    forger.seed = other.seed
    await forger.open()
    await forger.send(forger.registration())
    assert await forger.close_code() == 4401
    await joined.beat()


async def test_a_register_frame_seen_on_another_socket_is_closed_4401(joined: RawWorker) -> None:
    captured = encode(joined.registration())
    thief = RawWorker(joined.stack, joined.name)
    await thief.open()
    await thief.send(captured)
    assert await thief.close_code() == 4401
    await joined.beat()


async def test_a_key_of_small_order_is_closed_4401(raw: RawWorker) -> None:
    """The signature is the one that a lax verifier takes for such a key, whatever the message."""
    await raw.open()
    await raw.send(
        raw.changed_registration(
            provider_pubkey=SMALL_ORDER_KEY, sig=SMALL_ORDER_KEY + "00" * 32, token=await raw.token()
        )
    )
    assert await raw.close_code() == 4401
    assert SMALL_ORDER_KEY not in await known_workers(raw.stack)


async def test_a_key_with_a_second_spelling_is_closed_4400(raw: RawWorker) -> None:
    await raw.open()
    await raw.send(raw.changed_registration(provider_pubkey=f"{raw.key}\n"))
    assert await raw.close_code() == 4400


@pytest.mark.parametrize(
    "offer",
    [
        pytest.param({"slots": 0}, id="no slots"),
        pytest.param({"job_types": ["DANCE"]}, id="an unknown kind of job"),
        pytest.param({"name": "n" * 300}, id="an endless name"),
        pytest.param({"models": "all"}, id="models that are no list"),
    ],
)
async def test_an_offer_that_cannot_be_one_is_closed_4400(raw: RawWorker, offer: dict[str, Any]) -> None:
    raw.capabilities = msgspec.json.encode(msgspec.json.decode(raw.capabilities) | offer)
    await raw.open()
    await raw.send(raw.registration(token=await raw.token()))
    assert await raw.close_code() == 4400
    assert raw.key not in await known_workers(raw.stack)


async def test_an_unknown_key_without_a_token_is_closed_4403(raw: RawWorker) -> None:
    await raw.open()
    await raw.send(raw.registration())
    assert await raw.close_code() == 4403
    assert raw.key not in await known_workers(raw.stack)


async def test_an_unknown_token_is_closed_4403(raw: RawWorker) -> None:
    await raw.open()
    await raw.send(raw.registration(token="cav_wrk_nonsense"))
    assert await raw.close_code() == 4403


async def test_a_token_that_was_used_is_closed_4403(raw: RawWorker, stack: LiveStack) -> None:
    token = await raw.token()
    first = RawWorker(stack, next(_names))
    await first.open()
    await first.send(first.registration(token=token))
    await first.receive(RegisterAck)
    await first.close()
    await raw.open()
    await raw.send(raw.registration(token=token))
    assert await raw.close_code() == 4403
    assert raw.key not in await known_workers(stack)


async def test_a_token_is_not_used_up_by_who_cannot_prove_its_key(raw: RawWorker) -> None:
    token = await raw.token()
    await raw.open()
    await raw.send(raw.registration(token=token, signed_for={"server_nonce": bytes(32)}))
    assert await raw.close_code() == 4401
    assert (await raw.come_back(token=token)).worker_id


async def test_a_web_page_of_somebody_else_cannot_connect(raw: RawWorker) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await raw.open(origin="https://evil.example")
    assert refused.value.response.status_code == 403


async def test_a_plain_request_is_told_that_this_is_a_websocket(stack: LiveStack) -> None:
    for method in ("GET", "POST"):
        answer = await stack.http.request(method, "/v1/workers/connect")
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
        assert "WebSocket" in answer.json()["detail"]


async def test_other_routes_are_no_websockets(raw: RawWorker, stack: LiveStack) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await raw.open(path="/v1/jobs")
    assert refused.value.response.status_code in (403, 404)


# -- frames that are none


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param("null", id="null"),
        pytest.param("[]", id="an array"),
        pytest.param("42", id="a number"),
        pytest.param("{}", id="an empty object"),
        pytest.param("", id="nothing"),
        pytest.param("not JSON", id="not JSON"),
        pytest.param('{"type":"dance"}', id="an unknown type"),
        pytest.param('{"type":["heartbeat"]}', id="a type that is no string"),
        pytest.param('{"type":"heartbeat","held":[]}', id="a field missing"),
        pytest.param('{"type":"heartbeat","held":{},"free":1}', id="held that is no list"),
        pytest.param('{"type":"heartbeat","held":[],"free":"1"}', id="free that is no number"),
        pytest.param('{"type":"heartbeat","held":[["x",1' + "0" * 30 + ']],"free":1}', id="an epoch beyond 32 bits"),
        pytest.param('{"type":"job_started","job_id":null,"epoch":1}', id="a job id that is null"),
        pytest.param('{"type":"job_started","job_id":"' + GHOST + '","epoch":0}', id="epoch 0"),
        pytest.param('{"type":"job_complete","job_id":"' + GHOST + '","epoch":1}', id="a completion of nothing"),
        pytest.param(NESTED, id="nested deeply"),
        pytest.param("[" * 200_000, id="an array, nested deeply"),
    ],
)
async def test_a_frame_that_is_none_is_answered_with_an_error_and_the_socket_lives(
    joined: RawWorker, frame: str
) -> None:
    await joined.send(frame)
    assert await joined.refusal() == "invalid_frame"
    await joined.beat()


async def test_register_comes_once(joined: RawWorker) -> None:
    await joined.send(joined.registration())
    assert await joined.refusal() == "already_registered"
    await joined.beat()


async def test_a_binary_frame_closes_4400(joined: RawWorker) -> None:
    await joined.send(b"{}")
    assert await joined.close_code() == 4400


async def test_a_heartbeat_names_what_is_unknown_as_lost(joined: RawWorker) -> None:
    ghosts = (AttemptRef(GHOST, 1), AttemptRef("\0 \U0001f40e", 2**31 - 1))
    assert (await joined.beat(*ghosts)).lost == ghosts


# -- completions


async def test_p03_an_honest_result_is_accepted(joined: RawWorker) -> None:
    grant = await joined.granted()
    await joined.start(grant, "do", "ne")
    assert await joined.complete(grant, "done") == "accepted"
    job = await joined.job(grant.job_id)
    assert (job["status"], job["output"]) == ("completed", "done")


async def test_p04_the_same_completion_twice_is_accepted_twice_and_stored_once(joined: RawWorker) -> None:
    grant = await joined.granted()
    done = joined.completion(grant)
    for _ in range(2):
        await joined.send(done)
        assert (await joined.receive(CompleteAck)).verdict == "accepted"
    job = await joined.job(grant.job_id)
    assert [one["event"] for one in job["timeline"]].count("completed") == 1
    assert len(job["attempts"]) == 1


async def test_p03_another_result_for_a_completed_attempt_changes_nothing(joined: RawWorker) -> None:
    grant = await joined.granted()
    assert await joined.complete(grant, "first") == "accepted"
    assert await joined.complete(grant, "second") == "accepted"
    assert (await joined.job(grant.job_id))["output"] == "first"


@pytest.mark.parametrize(
    "speak",
    [
        pytest.param(lambda thief, grant: JobStartedMessage(job_id=grant.job_id, epoch=1), id="started"),
        pytest.param(
            lambda thief, grant: JobFailedMessage(
                job_id=grant.job_id, epoch=1, code="worker_error", message="", retryable=False
            ),
            id="failed",
        ),
        pytest.param(lambda thief, grant: JobStoppedMessage(job_id=grant.job_id, epoch=1), id="stopped"),
        pytest.param(lambda thief, grant: thief.completion(grant), id="complete"),
    ],
)
async def test_p03_a_frame_about_somebody_elses_job_is_refused_and_changes_nothing(
    joined: RawWorker, other: RawWorker, speak: Callable[[RawWorker, JobAssign], WorkerMessage]
) -> None:
    grant = await joined.granted()
    await joined.start(grant)
    await joined.beat(joined.ref(grant), free=0)
    await other.send(speak(other, grant))
    refusal = await other.receive(ErrorMessage)
    assert (refusal.code, refusal.job_id, refusal.epoch) == ("not_yours", grant.job_id, 1)
    assert (await joined.job(grant.job_id))["status"] == "running"
    assert await joined.complete(grant) == "accepted"


async def test_p03_a_receipt_in_somebody_elses_name_is_refused_and_changes_nothing(
    joined: RawWorker, other: RawWorker
) -> None:
    grant = await joined.granted()
    await joined.send(joined.completion(grant, provider_pubkey=other.key))
    assert await joined.refusal() == "not_yours"
    assert await joined.complete(grant) == "accepted"


async def test_p18_a_finished_job_of_somebody_else_is_stale(joined: RawWorker, other: RawWorker) -> None:
    grant = await joined.granted()
    assert await joined.complete(grant) == "accepted"
    assert await other.complete(grant) == "stale"


async def test_p03_a_completion_of_an_old_epoch_is_stale_and_changes_nothing(joined: RawWorker) -> None:
    old = await joined.granted()
    await joined.start(old)
    await joined.close()
    joined.instance = "2"  # a new process, which knows nothing of it: the attempt is lost
    await joined.come_back()
    new = await joined.receive(JobAssign)
    assert (new.job_id, new.epoch) == (old.job_id, 2)
    assert await joined.complete(old, "old") == "stale"
    assert (await joined.job(old.job_id))["status"] == "assigned"
    assert await joined.complete(new, "new") == "accepted"


async def test_p12_a_worker_that_says_it_leaves_is_shown_so_and_what_it_holds_goes_back_when_it_closes(
    joined: RawWorker, stack: LiveStack
) -> None:
    grant = await joined.granted()
    await joined.start(grant)
    await joined.send(Draining())
    await joined.beat(AttemptRef(grant.job_id, 1), free=0)
    shown = (await stack.http.get(f"/v1/workers/{joined.key}")).json()
    assert (shown["status"], shown["leaving"]) == ("approved", True)
    await joined.close()
    await joined.come_back()
    again = await joined.receive(JobAssign)
    assert (again.job_id, again.epoch) == (grant.job_id, 2)
    assert [one["end"] for one in (await joined.job(grant.job_id))["attempts"]] == ["drained", None]
    assert await joined.complete(again) == "accepted"


async def test_a_worker_may_turn_down_what_it_was_assigned(joined: RawWorker) -> None:
    grant = await joined.granted()
    await joined.send(JobReject(job_id=grant.job_id, epoch=1, reason=RejectReason.BUSY, message="not now"))
    again = await joined.receive(JobAssign)
    assert (again.job_id, again.epoch) == (grant.job_id, 2)
    assert [one["end"] for one in (await joined.job(grant.job_id))["attempts"]] == ["rejected", None]
    assert await joined.complete(again) == "accepted"


async def test_a_completion_of_an_epoch_that_was_never_granted_is_stale(joined: RawWorker) -> None:
    grant = await joined.granted()
    assert await joined.complete(msgspec.structs.replace(grant, epoch=7)) == "stale"
    assert await joined.complete(grant) == "accepted"


async def test_a_completion_of_an_unknown_job_is_stale(joined: RawWorker) -> None:
    grant = await joined.granted()
    assert await joined.complete(msgspec.structs.replace(grant, job_id=GHOST)) == "stale"
    assert await joined.complete(grant) == "accepted"


def _unsigned(raw: RawWorker, grant: JobAssign) -> WorkerMessage:
    done = raw.completion(grant)
    envelope = msgspec.json.decode(done.receipt, type=Envelope)
    other = msgspec.structs.replace(envelope.signatures[0], sig="A" * 86 + "==")
    forged = msgspec.structs.replace(envelope, signatures=[other])
    return msgspec.structs.replace(done, receipt=msgspec.Raw(msgspec.json.encode(forged)))


def _other_result(raw: RawWorker, grant: JobAssign) -> WorkerMessage:
    return msgspec.structs.replace(raw.completion(grant, "one"), result=raw.completion(grant, "another").result)


def _nested_receipt(raw: RawWorker, grant: JobAssign) -> WorkerMessage:
    body = b'{"usage":{"x":' + b"[" * 100_000
    envelope = msgspec.json.decode(raw.completion(grant).receipt, type=Envelope)
    forged = msgspec.structs.replace(envelope, payload=base64.b64encode(body).decode())
    return msgspec.structs.replace(raw.completion(grant), receipt=msgspec.Raw(msgspec.json.encode(forged)))


def _spaced_result(raw: RawWorker, grant: JobAssign) -> WorkerMessage:
    done = raw.completion(grant)
    return msgspec.structs.replace(done, result=msgspec.Raw(bytes(done.result).replace(b",", b", ")))


@pytest.mark.parametrize(
    "lie",
    [
        pytest.param(lambda raw, grant: raw.completion(grant, output_hash="0" * 64), id="wrong output hash"),
        pytest.param(lambda raw, grant: raw.completion(grant, input_hash="0" * 64), id="wrong input hash"),
        pytest.param(lambda raw, grant: raw.completion(grant, coordinator="0" * 64), id="another coordinator"),
        pytest.param(_unsigned, id="wrong signature"),
        pytest.param(_other_result, id="another result"),
        pytest.param(_spaced_result, id="a result that is not canonical"),
        pytest.param(_nested_receipt, id="a payload nested deeply"),
    ],
)
async def test_p15_a_false_receipt_of_the_attempts_own_holder_fails_the_attempt(
    joined: RawWorker, lie: Callable[[RawWorker, JobAssign], WorkerMessage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defaults, "RETRY_BASE_S", 60.0)
    grant = await joined.granted()
    await joined.send(lie(joined, grant))
    assert await joined.refusal() == "rejected_receipt"
    assert (await joined.receive(CompleteAck)).verdict == "stale"
    job = await joined.job(grant.job_id)
    assert (job["status"], job["attempts"][0]["code"], job["output"], job["receipt"]) == (
        "pending", "rejected_receipt", None, None
    )  # fmt: skip
    await joined.beat()


@pytest.mark.parametrize("receipt", ["null", "[]", "{}", '"x"', "1e999"])
async def test_p15_what_is_no_receipt_at_all_fails_the_attempt(joined: RawWorker, receipt: str) -> None:
    grant = await joined.granted()
    await joined.send(msgspec.structs.replace(joined.completion(grant), receipt=msgspec.Raw(receipt.encode())))
    assert await joined.refusal() == "rejected_receipt"
    assert (await joined.job(grant.job_id))["attempts"][0]["code"] == "rejected_receipt"


async def test_a_failure_says_what_the_worker_said(joined: RawWorker) -> None:
    grant = await joined.granted()
    words = 'broken\0 "\U0001f40e" <b>'
    await joined.send(
        JobFailedMessage(job_id=grant.job_id, epoch=1, code="worker_error", message=words, retryable=False)
    )
    await joined.beat()
    ended = (await joined.stack.http.get(f"/v1/jobs/{grant.job_id}?wait=60")).json()
    assert (ended["failure"]["code"], ended["failure"]["message"]) == ("worker_error", words)


# -- text


async def test_text_for_somebody_elses_job_is_ignored(joined: RawWorker, other: RawWorker) -> None:
    grant = await joined.granted()
    await joined.start(grant)
    await joined.beat(joined.ref(grant), free=0)
    await other.send(JobDelta(job_id=grant.job_id, epoch=1, offset=0, text="evil"))
    await other.beat()
    await joined.send(JobDelta(job_id=grant.job_id, epoch=1, offset=0, text="good"))
    async with joined.stack.http.stream("GET", f"/v1/jobs/{grant.job_id}/events") as events:
        lines = events.aiter_lines()
        while await anext(lines) != "event: delta":
            pass
        assert '"text":"good"' in await anext(lines) + await anext(lines)
    assert await joined.complete(grant, "good") == "accepted"


async def test_text_with_a_gap_is_refused_by_name(joined: RawWorker) -> None:
    grant = await joined.granted()
    await joined.start(grant, "abc")
    await joined.send(JobDelta(job_id=grant.job_id, epoch=1, offset=9, text="xyz"))
    refusal = await joined.receive(ErrorMessage)
    assert (refusal.code, refusal.job_id) == ("delta_refused", grant.job_id)
    assert await joined.complete(grant) == "accepted"


# -- sockets


async def test_a_frame_that_is_too_long_closes_1009_and_the_job_is_granted_again(joined: RawWorker) -> None:
    grant = await joined.granted()
    await joined.start(grant)
    with contextlib.suppress(ConnectionClosed):  # it may be closed before the frame has left
        await joined.send("x" * (defaults.MAX_FRAME_BYTES + 1))
    assert await joined.close_code() == 1009
    successor = RawWorker(joined.stack, next(_names), model=joined.model)
    await successor.join()
    again = await successor.receive(JobAssign)
    assert (again.job_id, again.epoch) == (grant.job_id, 2)
    assert await successor.complete(again) == "accepted"
    await successor.close()


async def test_the_longest_frame_there_may_be_is_read(joined: RawWorker) -> None:
    beat = encode(HeartbeatMessage(held=(), free=1))
    await joined.send(beat + " " * (defaults.MAX_FRAME_BYTES - len(beat)))
    await joined.beat()


async def test_a_second_process_with_the_same_key_is_closed_4409_while_the_first_answers(
    joined: RawWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defaults, "DISPLACE_PING_S", 60.0)
    second = RawWorker(joined.stack, joined.name, instance="2")
    await second.open()
    await second.send(second.registration())
    await joined.pinged()
    await joined.send(HeartbeatMessage(held=(), free=1))
    assert await second.close_code() == 4409
    await joined.receive(HeartbeatAck)
    assert await joined.complete(await joined.granted()) == "accepted"


async def test_a_second_process_takes_over_from_one_that_is_silent(
    joined: RawWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defaults, "DISPLACE_PING_S", 0.01)
    grant = await joined.granted()
    await joined.start(grant)
    second = RawWorker(joined.stack, joined.name, instance="2")
    await second.come_back()
    again = await second.receive(JobAssign)
    assert (again.job_id, again.epoch) == (grant.job_id, 2)
    assert await joined.close_code() == 4409
    assert await second.complete(again) == "accepted"
    await second.close()


async def test_p13_the_same_process_takes_over_its_own_socket_and_goes_on(joined: RawWorker) -> None:
    grant = await joined.granted()
    await joined.start(grant, "half")
    await joined.beat(joined.ref(grant), free=0)
    again = RawWorker(joined.stack, joined.name)
    ack = await again.come_back(held=(joined.ref(grant),))
    assert [(one.job_id, one.epoch, one.verdict, one.offset) for one in ack.resume] == [(grant.job_id, 1, "go_on", 4)]
    assert await joined.close_code() == 4409
    assert await again.complete(grant) == "accepted"
    await again.close()


async def test_p13_a_result_that_was_accepted_is_known_at_the_next_login(joined: RawWorker) -> None:
    grant = await joined.granted()
    assert await joined.complete(grant) == "accepted"
    await joined.close()
    finished = (joined.ref(grant), AttemptRef(GHOST, 1), AttemptRef("\0", 2**31 - 1))
    ack = await joined.come_back(finished=finished)
    assert [one.verdict for one in ack.resume] == ["accepted", "stale", "stale"]
