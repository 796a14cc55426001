"""What was measured on the original's WebSocket, each with its outcome turned around.

All tests share one coordinator, which has to survive all of them.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from cavvy import defaults
from cavvy.protocol import legacy as wire
from cavvy.store.sqlite import SqliteStore
from cavvy.testing import ScriptedProvider, live_stack
from tests.dispatch.live import Dispatch, opened
from tests.dispatch.worker import DispatchWorker, Json, js

Make = Callable[..., DispatchWorker]
GHOST = "00000000-0000-4000-8000-000000000001"
ANSWER = {"text": "an honest answer", "model": "llama3.2"}


@pytest.fixture(autouse=True)
async def honest_work_goes_on(dispatch: Dispatch, make_worker: Make) -> AsyncIterator[None]:
    """After each test a new worker does a job, over the same coordinator."""
    yield
    await dispatch.end_everything()
    worker = make_worker()
    await worker.come_in()
    job_id = await dispatch.commit("are you there?")
    async with asyncio.timeout(60):
        while (job := await worker.expect("job_assign"))["job_id"] != job_id:
            await worker.send(worker.completion(job["job_id"], ANSWER))
    await worker.send(worker.completion(job_id, ANSWER))
    assert (await dispatch.ended(job_id))["status"] == "completed"


@pytest.fixture
def tried_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is granted again after no more than a moment."""
    monkeypatch.setattr(defaults, "RETRY_BASE_S", 0.01)


@pytest.fixture
def tried_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed waits for longer than a test takes."""
    monkeypatch.setattr(defaults, "RETRY_BASE_S", 60.0)


async def given(dispatch: Dispatch, worker: DispatchWorker) -> Json:
    """A new job, which this worker has."""
    await worker.come_in()
    await dispatch.commit()
    return await worker.expect("job_assign")


async def known(dispatch: Dispatch) -> list[str]:
    return [one.key for one in await dispatch.services.store.workers("dispatch")]


# -- whoever says that it is somebody else (A14.1, §0.1)


async def test_a_key_that_is_only_named_gets_no_job_and_is_not_known(
    dispatch: Dispatch, worker: DispatchWorker
) -> None:
    job_id = await dispatch.commit()
    await worker.open()
    assert (await worker.register())["status"] == "ok"
    assert (await worker.expect("job_assign"))["job_id"] != job_id
    await worker.heartbeat()
    assert (await dispatch.job(job_id))["status"] == "pending"
    assert worker.key not in dispatch.services.sessions.online()
    assert worker.key not in await known(dispatch)


async def test_an_impostor_takes_nothing_from_the_worker_whose_key_it_names(
    dispatch: Dispatch, make_worker: Make
) -> None:
    honest = make_worker()
    job = await given(dispatch, honest)
    impostor = make_worker()
    impostor.key = honest.key
    await impostor.open()
    await impostor.register()
    challenge = await impostor.expect("job_assign")
    await impostor.send(impostor.done_with(challenge))
    assert (await impostor.closed())[0] == 4401
    await honest.heartbeat()
    await honest.send(honest.completion(job["job_id"], ANSWER))
    assert (await dispatch.ended(job["job_id"]))["result"] == ANSWER


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda w, f: f | {"receipt_signature": base64.b64encode(bytes(64)).decode()}, id="zeros"),
        pytest.param(lambda w, f: f | {"output": {"other": 1}}, id="another output"),
        pytest.param(lambda w, f: f | {"output_hash": "ab" * 32}, id="another hash in the frame"),
        pytest.param(lambda w, f: f | w.completion(GHOST, f["output"]) | {"job_id": f["job_id"]}, id="another job"),
        pytest.param(lambda w, f: f | {"receipt": None}, id="a signature alone"),
        pytest.param(lambda w, f: f | {"receipt": [], "receipt_signature": 7}, id="other types"),
    ],
)
async def test_what_does_not_prove_the_key_closes_the_socket(
    dispatch: Dispatch, worker: DispatchWorker, spoil: Callable[[DispatchWorker, Json], Json]
) -> None:
    await worker.open()
    await worker.register()
    await worker.send(spoil(worker, worker.done_with(await worker.expect("job_assign"))))
    assert await worker.closed() == (4401, "the receipt does not prove this key")
    assert worker.key not in await known(dispatch)


async def test_a_proof_for_one_socket_is_none_for_another(dispatch: Dispatch, make_worker: Make) -> None:
    seed = bytes([9] * 32)
    first, second = make_worker(seed=seed), make_worker(seed=seed)
    for worker in (first, second):
        await worker.open()
        await worker.register()
    one, other = await first.expect("job_assign"), await second.expect("job_assign")
    assert one["job_id"] != other["job_id"]
    await second.send(first.done_with(one))
    assert (await second.expect("error"))["code"] == "NOT_YOURS"
    await second.send(second.done_with(other) | {"receipt": first.done_with(one)["receipt"]})
    assert (await second.closed())[0] == 4401
    assert first.key not in await known(dispatch)


@pytest.mark.usefixtures("tried_again_later")
async def test_a_receipt_for_a_challenge_is_no_receipt_for_a_job(dispatch: Dispatch, worker: DispatchWorker) -> None:
    await worker.open()
    await worker.register()
    proof = worker.done_with(await worker.expect("job_assign"))
    await worker.send(proof)
    job_id = await dispatch.commit()
    assert (await worker.expect("job_assign"))["job_id"] == job_id
    await worker.send(proof | {"job_id": job_id, "output": {"text": "x"} | proof["output"]})
    assert (await worker.expect("error"))["code"] == "rejected_receipt"
    assert (await dispatch.job(job_id))["status"] == "pending"


async def test_a_challenge_that_was_answered_is_not_answered_again(dispatch: Dispatch, worker: DispatchWorker) -> None:
    await worker.open()
    await worker.register()
    proof = worker.done_with(await worker.expect("job_assign"))
    await worker.send(proof)
    await worker.send(proof)
    assert (await worker.expect("error"))["code"] == "NOT_YOURS"
    assert (await dispatch.http.get(f"/v1/jobs/{proof['job_id']}")).status_code == 404


async def test_a_key_anybody_can_sign_for_is_refused(worker: DispatchWorker) -> None:
    await worker.open()
    await worker.send(worker.registration(provider_pubkey="01" + "00" * 31))
    assert (await worker.expect("register_ack"))["status"] == "error"


async def test_a_key_that_joined_with_a_token_is_not_one_of_dispatchs(dispatch: Dispatch, make_worker: Make) -> None:
    native = await dispatch.stack.add_worker(ScriptedProvider(["native"], models=("m",)), name="native")
    seed = bytes.fromhex((dispatch.stack.directory / "worker-native" / "worker.key").read_text().strip())
    legacy = make_worker(seed=seed)
    await legacy.come_in()
    assert (await legacy.closed())[0] == 4403
    assert legacy.key in dispatch.services.sessions.online(), "the native worker is still there"
    await native.stop()


async def test_private_work_does_not_come_to_a_key_that_was_proven_this_way(
    dispatch: Dispatch, worker: DispatchWorker
) -> None:
    """Not without --legacy-private, whoever has paired with it."""
    await worker.come_in()
    body = {"job_type": "LLM_INFER", "payload": {"prompt": "secret"}, "user_id": "alice", "privacy_class": "PRIVATE"}
    answer = await dispatch.http.post("/v1/jobs/commit/fast", json=body)
    assert answer.status_code == 422
    await worker.heartbeat()


# -- completions of others (A14.2, §0.2)


async def test_a_socket_that_never_registered_completes_nothing(dispatch: Dispatch, make_worker: Make) -> None:
    honest, stranger = make_worker(), make_worker()
    job = await given(dispatch, honest)
    await stranger.open()
    await stranger.send(stranger.completion(job["job_id"], {"text": "forged"}))
    assert (await stranger.expect("error"))["code"] == "NOT_REGISTERED"
    await honest.send(honest.completion(job["job_id"], ANSWER))
    assert (await dispatch.ended(job["job_id"]))["result"] == ANSWER


@pytest.mark.parametrize("proven", [False, True])
@pytest.mark.parametrize("kind", ["job_complete", "job_reject", "receipt_submit"])
async def test_another_socket_ends_nobody_elses_job(
    dispatch: Dispatch, make_worker: Make, kind: str, proven: bool
) -> None:
    honest, other = make_worker(), make_worker()
    job = await given(dispatch, honest)
    if proven:
        await other.come_in()
    else:
        await other.open()
        await other.register()
        await other.expect("job_assign")
    whole = other.completion(job["job_id"], {"text": "forged"})
    frames: dict[str, Json] = {
        "job_complete": whole,
        "job_reject": {"type": "job_reject", "job_id": job["job_id"], "reason": "because"},
        "receipt_submit": {
            "type": "receipt_submit",
            "receipt": whole["receipt"],
            "signature": whole["receipt_signature"],
        },
    }
    await other.send(frames[kind])
    assert (await other.expect("error"))["code"] == "NOT_YOURS"
    await honest.send(honest.completion(job["job_id"], ANSWER))
    shown = await dispatch.ended(job["job_id"])
    assert (shown["result"], shown["attempt"]) == (ANSWER, 1)


async def test_another_socket_of_the_same_key_ends_nothing_before_its_proof(
    dispatch: Dispatch, make_worker: Make
) -> None:
    seed = bytes([11] * 32)
    honest, twin = make_worker(seed=seed), make_worker(seed=seed)
    job = await given(dispatch, honest)
    await twin.open()
    await twin.register()
    await twin.expect("job_assign")
    await twin.send(twin.completion(job["job_id"], {"text": "too early"}))
    assert (await twin.expect("error"))["code"] == "NOT_YOURS"
    await honest.send(honest.completion(job["job_id"], ANSWER))
    assert (await dispatch.ended(job["job_id"]))["result"] == ANSWER


# -- receipts (A14.3, §0.3–5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"job_id": GHOST},
        {"provider_pubkey": "someone-else"},
        {"provider_pubkey": "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c"},
        {"output_hash": "not-a-hash"},
        {"output_hash": "ab" * 32},
        {"completed_at": "today"},
        {"payment_ref": "somebody's"},
    ],
)
@pytest.mark.usefixtures("tried_again_later")
async def test_a_signed_receipt_that_is_not_about_this_result_completes_nothing(
    dispatch: Dispatch, worker: DispatchWorker, wrong: Json
) -> None:
    job = await given(dispatch, worker)
    await worker.send(worker.completion(job["job_id"], ANSWER, **wrong))
    assert (await worker.expect("error"))["code"] == "rejected_receipt"
    shown = await dispatch.job(job["job_id"])
    assert (shown["status"], shown["result"], shown["receipt"]) == ("pending", None, None)
    assert shown["attempts"][0]["code"] == "rejected_receipt"


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param({"receipt_signature": base64.b64encode(bytes(64)).decode()}, id="zeros"),
        pytest.param({"receipt_signature": None}, id="no signature"),
        pytest.param({"receipt": None}, id="no receipt"),
        pytest.param({"output_hash": "ab" * 32}, id="another hash beside it"),
        pytest.param({"output": {"text": "another"}}, id="another output"),
    ],
)
@pytest.mark.usefixtures("tried_again_later")
async def test_a_result_without_its_receipt_completes_nothing(
    dispatch: Dispatch, worker: DispatchWorker, spoil: Json
) -> None:
    job = await given(dispatch, worker)
    await worker.send(worker.completion(job["job_id"], ANSWER) | spoil)
    assert (await worker.expect("error"))["code"] == "rejected_receipt"
    assert (await dispatch.job(job["job_id"]))["status"] == "pending"


@pytest.mark.parametrize("more", ["\ud83d", "x" * 3000, "\x00"])
async def test_what_stands_in_a_receipt_besides_its_fields_is_refused_and_harms_nobody(
    dispatch: Dispatch, worker: DispatchWorker, more: str
) -> None:
    job = await given(dispatch, worker)
    await worker.send(worker.completion(job["job_id"], ANSWER, **{more: more}))
    assert (await worker.expect("error"))["code"] == "rejected_receipt"
    assert (await dispatch.job(job["job_id"]))["attempts"][0]["code"] == "rejected_receipt"


@pytest.mark.usefixtures("tried_again_at_once")
async def test_after_three_receipts_that_do_not_verify_the_job_has_failed_for_that(
    dispatch: Dispatch, worker: DispatchWorker
) -> None:
    job = await given(dispatch, worker)
    for attempt in range(3):
        await worker.send(worker.completion(job["job_id"], ANSWER) | {"output_hash": ""})
        await worker.expect("error")
        if attempt < 2:
            job = await worker.expect("job_assign")
    shown = await dispatch.ended(job["job_id"])
    assert (shown["status"], shown["result"]) == ("failed", {"error": "rejected_receipt"})


async def test_receipts_of_a_job_that_has_ended_change_nothing(dispatch: Dispatch, worker: DispatchWorker) -> None:
    job = await given(dispatch, worker)
    await worker.send(worker.completion(job["job_id"], ANSWER))
    first = await dispatch.ended(job["job_id"])
    again = worker.completion(job["job_id"], {"text": "second thoughts"})
    await worker.send(again)
    assert (await worker.expect("error"))["code"] == "NOT_YOURS"
    submit = {"type": "receipt_submit", "receipt": again["receipt"], "signature": again["receipt_signature"]}
    await worker.send(submit)
    assert (await worker.expect("error"))["code"] == "NOT_YOURS"
    assert await dispatch.job(job["job_id"]) == first


# -- presence (§0.6, A14.14)


async def test_a_heartbeat_for_another_key_is_refused(dispatch: Dispatch, make_worker: Make) -> None:
    one, other = make_worker(), make_worker()
    await one.come_in()
    await one.heartbeat()
    await one.send(other.heartbeat_frame())
    assert (await one.expect("error"))["code"] == "NOT_YOURS"


async def test_of_two_sockets_that_prove_one_key_the_newer_goes_on_and_no_job_is_lost(
    dispatch: Dispatch, make_worker: Make
) -> None:
    seed = bytes([13] * 32)
    old, new = make_worker(seed=seed), make_worker(seed=seed)
    job = await given(dispatch, old)
    await new.come_in()
    assert (await old.closed())[0] == 4409
    assert (await new.expect("job_assign"))["job_id"] == job["job_id"]
    await new.send(new.completion(job["job_id"], ANSWER))
    assert (await dispatch.ended(job["job_id"]))["attempt"] == 2


async def test_a_second_register_on_a_socket_changes_nothing(dispatch: Dispatch, make_worker: Make) -> None:
    worker, other = make_worker(), make_worker()
    job = await given(dispatch, worker)
    for frame in (worker.registration(), other.registration(), worker.registration(capabilities=["TASK"])):
        await worker.send(frame)
        assert (await worker.expect("register_ack"))["status"] == "error"
    assert other.key not in dispatch.services.sessions.online()
    await worker.send(worker.completion(job["job_id"], ANSWER))
    assert (await dispatch.ended(job["job_id"]))["status"] == "completed"


# -- frames that killed the original (A14.7)

NESTED = '{"type":"heartbeat","x":' + "[" * 4_000 + "]" * 4_000 + "}"
FRAMES = [
    "null",
    "[]",
    "{}",
    "7",
    '"register"',
    "not json",
    "",
    NESTED,
    '{"type":null}',
    '{"type":7}',
    '{"type":["register"]}',
    '{"type":"nonsense"}',
    '{"type":"register"}',
    '{"type":"register","provider_pubkey":null}',
    '{"type":"register","provider_pubkey":"\\ud83d","provider_type":"\\ud83d","capabilities":["\\ud83d"]}',
    '{"type":"\\ud83d"}',
    '{"type":"heartbeat"}',
    '{"type":"heartbeat","provider_pubkey":{}}',
    '{"type":"job_complete"}',
    '{"type":"job_complete","job_id":null}',
    '{"type":"job_complete","job_id":"\\ud83d","output":NaN}',
    f'{{"type":"job_complete","job_id":"{GHOST}"}}',
    '{"type":"job_reject"}',
    '{"type":"job_reject","job_id":7,"reason":{}}',
    '{"type":"receipt_submit"}',
    '{"type":"receipt_submit","receipt":null,"signature":null}',
    '{"type":"receipt_submit","receipt":{"job_id":{}},"signature":7}',
    f'{{"type":"receipt_submit","receipt":{{"job_id":"{GHOST}"}},"signature":""}}',
]


@pytest.mark.parametrize("stage", ["unknown", "registered", "proven"])
async def test_no_frame_kills_the_coordinator(dispatch: Dispatch, worker: DispatchWorker, stage: str) -> None:
    if stage == "proven":
        await worker.come_in()
    else:
        await worker.open()
    if stage == "registered":
        await worker.register()
        await worker.expect("job_assign")
    for frame in FRAMES:
        await worker.send(frame)
        assert (await worker.receive())["type"] in ("error", "register_ack"), frame
    assert (await dispatch.http.get("/v1/health")).status_code == 200


@pytest.mark.parametrize(
    "other",
    [
        {"capabilities": None},
        {"capabilities": []},
        {"capabilities": "LLM_INFER"},
        {"capabilities": ["EVERYTHING"]},
        {"provider_pubkey": "AB" * 32},
        {"provider_pubkey": "0x" + "ab" * 32},
        {"provider_pubkey": ["ab" * 32]},
        {"provider_pubkey": "ab" * 32 + "\n"},
        {"provider_type": "TOASTER"},
    ],
)
async def test_a_registration_that_says_nonsense_is_told_so_and_may_try_again(
    dispatch: Dispatch, worker: DispatchWorker, other: Json
) -> None:
    await worker.open()
    await worker.send(worker.registration(**other))
    ack = await worker.expect("register_ack")
    assert (ack["status"], "worker_id" in ack) == ("error", False)
    assert (await worker.register())["status"] == "ok"


@pytest.mark.parametrize("frame", [b"\x00\xff", b'{"type":"register"}'])
async def test_a_frame_that_is_no_text_closes_the_socket(worker: DispatchWorker, frame: bytes) -> None:
    await worker.open()
    await worker.send(frame)
    assert (await worker.closed())[0] == 4400


async def test_a_long_frame_of_a_stranger_closes_its_socket(worker: DispatchWorker) -> None:
    await worker.open()
    await worker.send(worker.registration(pricing_hint="x" * defaults.LEGACY_FIRST_FRAME_BYTES))
    assert (await worker.closed())[0] == 4400


async def test_a_frame_over_the_limit_costs_its_sender_the_socket(dispatch: Dispatch, make_worker: Make) -> None:
    worker, other = make_worker(), make_worker()
    job = await given(dispatch, worker)
    await other.come_in()
    with contextlib.suppress(ConnectionClosed):
        await worker.send(js(worker.completion(job["job_id"], {"text": "x" * defaults.MAX_FRAME_BYTES})))
    assert (await worker.closed())[0] == 1009
    assert (await other.expect("job_assign"))["job_id"] == job["job_id"]


async def test_an_output_over_the_limit_fails_the_job(dispatch: Dispatch, worker: DispatchWorker) -> None:
    job = await given(dispatch, worker)
    await worker.send(worker.completion(job["job_id"], {"text": "x" * defaults.MAX_OUTPUT_BYTES}))
    assert (await dispatch.ended(job["job_id"]))["result"] == {"error": "output_too_large"}


async def test_an_output_that_would_take_seconds_to_read_is_not_read(
    dispatch: Dispatch, worker: DispatchWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await given(dispatch, worker)
    read: list[int] = []
    decode = wire.decode_legacy_frame
    monkeypatch.setattr(wire, "decode_legacy_frame", lambda text: (read.append(len(text)), decode(text))[1])
    numbers = "[" + "1.5," * (defaults.MAX_FRAME_BYTES // 4 - 100) + "1]"
    await worker.send(f'{{"type":"job_complete","job_id":"{job["job_id"]}","output":{{"text":"a","n":{numbers}}}}}')
    assert (await dispatch.ended(job["job_id"]))["result"] == {"error": "output_too_large"}
    await worker.heartbeat()  # its socket has stayed
    assert max(read) < defaults.MAX_LEGACY_FRAME_CHARS


async def test_a_frame_as_long_about_nothing_costs_its_sender_the_socket(worker: DispatchWorker) -> None:
    await worker.come_in()
    await worker.heartbeat()
    await worker.send('{"type":"heartbeat","provider_pubkey":"' + "x" * defaults.MAX_LEGACY_FRAME_CHARS + '"}')
    assert (await worker.closed())[0] == 4400


# -- answers that are none (A14.16)


@pytest.mark.parametrize(
    ("output", "code"),
    [
        ({"error": "Unsupported job payload"}, "worker_error"),
        ({"text": "[STUB] Received prompt", "model": "stub-v1", "stub": True}, "worker_error"),
        ({"answer": "no text"}, "invalid_output"),
        (None, "invalid_output"),
        ("just text", "invalid_output"),
        ([[[]]], "invalid_output"),
    ],
)
@pytest.mark.usefixtures("tried_again_at_once")
async def test_what_is_no_answer_never_completes_a_job(
    dispatch: Dispatch, worker: DispatchWorker, output: Any, code: str
) -> None:
    job = await given(dispatch, worker)
    await worker.send(worker.completion(job["job_id"], output))
    await worker.expect("job_assign")  # it is tried again
    shown = await dispatch.job(job["job_id"])
    assert (shown["status"] in ("assigned", "running"), shown["attempts"][0]["code"]) == (True, code)


@pytest.mark.usefixtures("tried_again_at_once")
async def test_a_failure_without_a_receipt_is_believed_at_once(dispatch: Dispatch, worker: DispatchWorker) -> None:
    job = await given(dispatch, worker)
    await worker.send({"type": "job_complete", "job_id": job["job_id"], "output": {"error": "out of memory"}})
    await worker.expect("job_assign")
    attempt = (await dispatch.job(job["job_id"]))["attempts"][0]
    assert (attempt["code"], attempt["message"]) == ("worker_error", "The worker failed: out of memory")


# -- workers that go (A14.10, 12)


async def test_the_job_of_a_worker_that_vanishes_runs_elsewhere_at_once(tmp_path: Path) -> None:
    """Nobody waits for it to come back, as for a worker of our own."""
    async for dispatch in opened(tmp_path / "data", requeue_after_s=3600.0):
        first, second = (DispatchWorker(dispatch.stack.server.url, bytes([number] * 32)) for number in (21, 22))
        job = await given(dispatch, first)
        await second.come_in()
        await first.vanish()
        assert (await second.expect("job_assign"))["job_id"] == job["job_id"]
        await second.send(second.completion(job["job_id"], ANSWER))
        shown = await dispatch.ended(job["job_id"])
        assert [one["end"] for one in shown["attempts"]] == ["lost", "completed"]
        await second.close()


async def test_a_worker_that_comes_back_cannot_answer_what_it_had_before(dispatch: Dispatch, make_worker: Make) -> None:
    worker = make_worker()
    job = await given(dispatch, worker)
    late = worker.completion(job["job_id"], {"text": "late"})
    await worker.vanish()
    other = make_worker()
    await other.come_in()
    assert (await other.expect("job_assign"))["job_id"] == job["job_id"]
    await worker.come_in()
    await worker.send(late)
    assert (await worker.expect("error"))["code"] == "NOT_YOURS"
    await other.send(other.completion(job["job_id"], ANSWER))
    assert (await dispatch.ended(job["job_id"]))["result"] == ANSWER


async def test_a_rejected_job_is_not_orphaned(dispatch: Dispatch, worker: DispatchWorker) -> None:
    job = await given(dispatch, worker)
    await worker.send({"type": "job_reject", "job_id": job["job_id"], "reason": "busy"})
    assert (await worker.expect("job_assign"))["job_id"] == job["job_id"]


async def test_a_job_that_is_stopped_ends_though_its_worker_cannot_be_told(tmp_path: Path) -> None:
    async for dispatch in opened(tmp_path / "data", stop_ack_timeout_s=0.1, sweep_s=0.05):
        worker = DispatchWorker(dispatch.stack.server.url, bytes([17] * 32))
        job = await given(dispatch, worker)
        await dispatch.end_everything()
        assert (await dispatch.ended(job["job_id"]))["result"] == {"error": "aborted"}
        waiting = await dispatch.commit()
        assert (await worker.heartbeat())["status"] == "ok"  # no other job comes while it works on that one
        await worker.send(worker.completion(job["job_id"], ANSWER))
        assert (await worker.expect("job_assign"))["job_id"] == waiting
        await worker.close()


async def test_a_restart_of_the_coordinator_loses_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    async for dispatch in opened(directory):
        worker = DispatchWorker(dispatch.stack.server.url, bytes([19] * 32))
        job = await given(dispatch, worker)
        waiting = await dispatch.commit()
    assert (await worker.closed())[0] == 1012
    async for dispatch in opened(directory):
        again = DispatchWorker(dispatch.stack.server.url, bytes([19] * 32))
        await again.come_in()
        for job_id in (job["job_id"], waiting):
            assert (await again.expect("job_assign"))["job_id"] == job_id
            await again.send(again.completion(job_id, ANSWER))
            assert (await dispatch.ended(job_id))["status"] == "completed"
        await again.close()


# -- who may come at all


async def test_without_the_flag_nobody_comes_in(tmp_path: Path) -> None:
    async with live_stack(tmp_path / "data", SqliteStore(tmp_path / "data")) as stack:
        with pytest.raises(InvalidStatus) as refused:
            await DispatchWorker(stack.server.url, bytes(32)).open()
    assert refused.value.response.status_code == 403


async def test_who_comes_through_a_proxy_does_not_come_in(worker: DispatchWorker) -> None:
    with pytest.raises(InvalidStatus):
        await worker.open(additional_headers={"X-Forwarded-For": "127.0.0.1"})


async def test_a_web_page_of_another_site_does_not_come_in(worker: DispatchWorker) -> None:
    with pytest.raises(InvalidStatus):
        await worker.open(origin="https://example.org")


async def test_a_plain_request_finds_nothing_there(dispatch: Dispatch) -> None:
    answer = await dispatch.http.get("/")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_a_huge_receipt_is_refused_like_any_that_is_none(dispatch: Dispatch, worker: DispatchWorker) -> None:
    job = await given(dispatch, worker)
    huge = {"job_id": job["job_id"], "more": ["\ud83d"] * 50_000}
    await worker.send(worker.done_with(job) | {"receipt": huge})
    assert (await worker.expect("error"))["code"] == "rejected_receipt"
    assert (await worker.expect("job_assign"))["job_id"] == job["job_id"]


async def test_a_huge_reason_turns_a_job_down_like_any_other(dispatch: Dispatch, worker: DispatchWorker) -> None:
    job = await given(dispatch, worker)
    await worker.send({"type": "job_reject", "job_id": job["job_id"], "reason": "\ud83d" * 100_000})
    assert (await worker.expect("job_assign"))["job_id"] == job["job_id"]
