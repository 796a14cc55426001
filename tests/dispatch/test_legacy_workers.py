"""Workers written for Dispatch do its jobs: a worker that knows nothing of Cavvy, over a real socket."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import Callable
from hashlib import sha256

import msgspec
import pytest

from cavvy.client.receipt import Receipt, envelope_of
from cavvy.core.commands import ManageWorker
from cavvy.core.ed25519 import verify
from cavvy.core.worker_status import WorkerAction
from cavvy.protocol.rest_receipt import ReceiptView
from tests.dispatch.live import Dispatch
from tests.dispatch.worker import DispatchWorker, js

Make = Callable[..., DispatchWorker]


async def test_a_worker_of_dispatch_does_a_prompt_all_by_itself(dispatch: Dispatch, worker: DispatchWorker) -> None:
    serving = asyncio.create_task(worker.serve())
    job = await dispatch.ended(await dispatch.commit("Paris?"))
    assert (job["status"], job["result"]) == ("completed", {"text": "echo: Paris?", "model": "llama3.2"})
    await worker.close()
    await serving
    assert worker.done[-1] == job["id"]


async def test_the_worker_program_does_a_job_started_as_its_users_start_it(dispatch: Dispatch) -> None:
    key = dispatch.stack.directory / "worker-key.json"
    arguments = ("-m", "tests.dispatch.worker", "--coordinator", dispatch.stack.server.url, "--key", str(key))
    program = await asyncio.create_subprocess_exec(sys.executable, *arguments)
    try:
        assert (await dispatch.ended(await dispatch.task("classify", "a good day")))["status"] == "completed"
    finally:
        program.terminate()
        await program.wait()


@pytest.mark.parametrize(
    ("task_type", "text", "result"),
    [
        ("summarize", "a b c", {"summary": "a b c", "word_count": 3}),
        ("classify", "good and great", {"sentiment": "positive", "confidence": 0.7}),
        ("classify", "bad", {"sentiment": "negative", "confidence": 0.5}),
        (
            "extract_json",
            'x {"b":1e21,"2":0.0000001,"1":1.0,"n":-0.0} y',
            {"extracted": [{"1": 1, "2": 1e-7, "b": 1e21, "n": 0}], "count": 1},
        ),
    ],
)
async def test_its_tasks_are_kept_as_it_signed_them(
    dispatch: Dispatch, worker: DispatchWorker, task_type: str, text: str, result: object
) -> None:
    await worker.come_in()
    job_id = await dispatch.task(task_type, text)
    await worker.send(worker.done_with(await worker.expect("job_assign")))
    job = await dispatch.ended(job_id)
    assert (job["status"], job["result"]) == ("completed", result)
    served = await dispatch.stack.http.get(f"/v1/jobs/{job_id}/result")
    assert served.status_code == 404  # another tenant's
    assert job["output_hash"] == sha256(js(result).encode()).hexdigest()


async def test_it_is_told_what_the_client_said(dispatch: Dispatch, worker: DispatchWorker) -> None:
    await worker.come_in()
    payload = {"job_type": "LLM_INFER", "prompt": "Grüße", "max_tokens": 7}
    job_id = await dispatch.commit(payload=payload, user_id="alice")
    told = await worker.expect("job_assign")
    user = told.pop("user_id")
    assert told == {
        "type": "job_assign",
        "job_id": job_id,
        "job_type": "LLM_INFER",
        "payload": payload,
        "policy": "FAST",
        "privacy_class": "PUBLIC",
    }
    assert "alice" not in user


async def test_a_user_has_one_name_for_each_worker_and_no_two_share_it(dispatch: Dispatch, make_worker: Make) -> None:
    names: list[list[str]] = []
    for worker in (make_worker(), make_worker()):
        await worker.come_in()
        names.append([])
        for user_id in ("alice", "alice", "bob"):
            job_id = await dispatch.commit(user_id=user_id)
            job = await worker.expect("job_assign")
            names[-1].append(job["user_id"])
            await worker.send(worker.done_with(job))
            await dispatch.ended(job_id)
        await worker.close()
    (first, again, bob), (other, _, _) = names
    assert first == again
    assert len({first, bob, other}) == 3


async def test_a_job_it_has_is_shown_as_running(dispatch: Dispatch, worker: DispatchWorker) -> None:
    await worker.come_in()
    job_id = await dispatch.commit()
    job = await worker.expect("job_assign")
    async with asyncio.timeout(60):
        while (shown := await dispatch.job(job_id))["status"] != "running":
            assert shown["status"] == "assigned"
    await worker.send(worker.done_with(job))
    assert (await dispatch.ended(job_id))["status"] == "completed"


async def test_it_gets_one_job_at_a_time(dispatch: Dispatch, worker: DispatchWorker) -> None:
    await worker.come_in()
    first, second = await dispatch.commit("1"), await dispatch.commit("2")
    one = await worker.expect("job_assign")
    await worker.heartbeat()  # the next frame is its acknowledgement, and no second job
    await worker.send(worker.done_with(one))
    two = await worker.expect("job_assign")
    await worker.send(worker.done_with(two))
    assert [one["job_id"], two["job_id"]] == [first, second]
    assert (await dispatch.ended(second))["status"] == "completed"


async def test_half_a_character_at_the_end_of_a_summary_harms_nobody(
    dispatch: Dispatch, worker: DispatchWorker
) -> None:
    await worker.come_in()
    job_id = await dispatch.task("summarize", "x" * 199 + "😀 and more")
    await worker.send(worker.done_with(await worker.expect("job_assign")))
    job = await dispatch.ended(job_id)
    assert job["status"] == "completed"
    assert job["result"]["summary"] == "x" * 199 + "\ufffd..."
    assert job["output"] == job["result"]["summary"]


async def test_a_receipt_may_come_in_a_frame_of_its_own(dispatch: Dispatch, worker: DispatchWorker) -> None:
    await worker.come_in()
    for receipt_first in (False, True):
        job_id = await dispatch.commit()
        output = {"text": "done"}
        whole = worker.completion((await worker.expect("job_assign"))["job_id"], output)
        submit = {
            "type": "receipt_submit",
            "receipt": whole.pop("receipt"),
            "signature": whole.pop("receipt_signature"),
        }
        for frame in (submit, whole) if receipt_first else (whole, submit):
            await worker.send(frame)
        job = await dispatch.ended(job_id)
        assert (job["status"], job["result"]) == ("completed", output)


async def test_a_receipt_can_be_verified_by_who_knows_nothing_of_cavvy(
    dispatch: Dispatch, worker: DispatchWorker
) -> None:
    await worker.come_in()
    job_id = await dispatch.commit()
    await worker.send(worker.done_with(await worker.expect("job_assign")))
    await dispatch.ended(job_id)
    kept = await dispatch.services.store.job("dispatch", job_id)
    assert kept is not None
    assert kept.receipt is not None
    envelope = json.loads(kept.receipt)
    message = json.dumps(envelope["receipt"], separators=(",", ":"), ensure_ascii=False).encode()
    assert message in kept.receipt
    assert verify(bytes.fromhex(worker.key), message, base64.b64decode(envelope["signature"]))
    assert kept.result is not None
    assert envelope["receipt"]["output_hash"] == sha256(kept.result).hexdigest()


async def test_its_receipt_is_shown_flat_and_verifies_with_ours(dispatch: Dispatch, worker: DispatchWorker) -> None:
    await worker.come_in()
    job_id = await dispatch.commit()
    sent = worker.done_with(await worker.expect("job_assign"))
    await worker.send(sent)
    job = await dispatch.ended(job_id)
    assert job["receipt"] == sent["receipt"] | {"signature": sent["receipt_signature"], "verified": True}
    envelope = envelope_of(msgspec.convert(job["receipt"], ReceiptView))
    receipt = Receipt(envelope, key=worker.key, result=js(sent["output"]).encode(), job_id=job_id)
    assert receipt.verify().job_id == job_id
    forged = Receipt(envelope_of(msgspec.convert(job["receipt"] | {"output_hash": "ab" * 32}, ReceiptView)))
    assert forged.checks(key=worker.key)[0].ok is False


async def test_a_worker_that_is_rejecting_gives_the_job_to_another(dispatch: Dispatch, make_worker: Make) -> None:
    first, second = make_worker(), make_worker()
    await first.come_in()
    job_id = await dispatch.commit()
    job = await first.expect("job_assign")
    await second.come_in()
    await first.send({"type": "job_reject", "job_id": job["job_id"], "reason": "no model"})
    await second.send(second.done_with(await second.expect("job_assign")))
    shown = await dispatch.ended(job_id)
    assert (shown["status"], shown["attempt"]) == ("completed", 2)
    assert shown["attempts"][0]["message"] == "Its worker did not take it: no model"


@pytest.mark.parametrize("capability", ["LLM_INFER", "TASK"])
async def test_it_gets_only_what_it_says_it_can_do(dispatch: Dispatch, make_worker: Make, capability: str) -> None:
    worker = make_worker(capabilities=(capability,))
    await worker.come_in()
    ids = {"LLM_INFER": await dispatch.commit(), "TASK": await dispatch.task("classify", "good")}
    job = await worker.expect("job_assign")
    assert job["job_id"] == ids[capability]
    await worker.send(worker.done_with(job))
    await dispatch.ended(ids[capability])
    await worker.heartbeat()
    other = make_worker()
    await other.come_in()
    await other.send(other.done_with(await other.expect("job_assign")))


async def test_a_native_job_of_another_tenant_never_comes_to_it(dispatch: Dispatch, worker: DispatchWorker) -> None:
    await worker.come_in()
    answer = await dispatch.stack.http.post("/v1/jobs", json={"prompt": "mine"})
    assert answer.status_code == 201
    job_id = await dispatch.commit()
    job = await worker.expect("job_assign")
    assert job["job_id"] == job_id
    await worker.send(worker.done_with(job))
    await dispatch.stack.http.post(f"/v1/jobs/{answer.json()['id']}/cancel")


async def test_a_worker_that_is_drained_ends_when_it_has_answered(dispatch: Dispatch, worker: DispatchWorker) -> None:
    await worker.come_in()
    job_id = await dispatch.commit()
    job = await worker.expect("job_assign")
    engine = dispatch.services.engine
    for action in (WorkerAction.DRAIN, WorkerAction.RESUME, WorkerAction.DRAIN):
        ref = engine.next_ref()
        await engine.ask(ManageWorker(ref=ref, tenant="dispatch", worker=worker.key, action=action), ref)
    await worker.send(worker.done_with(job))
    assert await worker.closed() == (1012, "it was drained")
    assert (await dispatch.ended(job_id))["status"] == "completed"
