"""Trust over HTTP and the workers' socket: a code is claimed there, its user confirms the fingerprint, and ends it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from cavvy import defaults
from cavvy.protocol.fingerprint import worker_fingerprint
from cavvy.protocol.handshake import CloseCode
from cavvy.protocol.messages import CompleteAck, HeartbeatMessage, JobAssign, JobCancel
from cavvy.testing import LiveStack
from tests.unit.api.raw_worker import RawWorker


@pytest.fixture
async def worker(stack: LiveStack) -> RawWorker:
    """One that has joined, and is not here any more."""
    worker = RawWorker(stack, "desk")
    await worker.join()
    await worker.close()
    return worker


async def create(stack: LiveStack, **body: Any) -> dict[str, Any]:
    answer = await stack.http.post("/v1/trust/create", json=body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def listed(stack: LiveStack, **query: str) -> dict[str, list[dict[str, Any]]]:
    answer = await stack.http.get("/v1/trust/list", params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, list[dict[str, Any]]] = answer.json()
    return found


async def key_of(stack: LiveStack, user: str, *, role: str = "submit", act_for_users: bool = False) -> dict[str, str]:
    """The headers of somebody else of the same tenant."""
    body = {"role": role, "user": user, "act_for_users": act_for_users}
    made = (await stack.http.post("/v1/keys", json=body)).json()
    return {"Authorization": f"Bearer {made['key']}"}


async def confirm(stack: LiveStack, trust_id: str, fingerprint: str) -> httpx.Response:
    return await stack.http.post("/v1/trust/confirm", json={"id": trust_id, "fingerprint": fingerprint})


async def pair(stack: LiveStack, worker: str, **more: Any) -> httpx.Response:
    return await stack.http.post("/v1/trust/pair", json={"worker": worker}, **more)


# -- from the code to the pairing


async def test_a_code_is_six_digits_and_is_shown_once(stack: LiveStack) -> None:
    made = await create(stack)
    assert len(made["pairing_code"]) == 6
    assert made["pairing_code"] == f"{int(made['pairing_code'], 16):06X}"
    shown = await listed(stack)
    assert [one["status"] for one in shown["waiting"]] == ["open"]
    assert made["pairing_code"] not in json.dumps(shown)


async def test_a_code_is_not_in_the_database(stack: LiveStack) -> None:
    code = (await create(stack))["pairing_code"]
    for path in stack.directory.glob("cavvy.db*"):
        assert code.encode() not in path.read_bytes()


async def test_who_claims_a_code_waits_and_its_user_sees_name_address_and_fingerprint(
    stack: LiveStack, worker: RawWorker
) -> None:
    made = await create(stack)
    await worker.visit()
    result = await worker.claim(made["pairing_code"].lower())
    assert (result.status, result.fingerprint) == ("awaiting_confirmation", worker_fingerprint(worker.key))
    shown = await listed(stack)
    assert shown["providers"] == []
    (claim,) = shown["waiting"]
    assert (claim["id"], claim["status"]) == (made["id"], "awaiting_confirmation")
    assert (claim["name"], claim["provider_pubkey"]) == ("desk", worker.key)
    assert (claim["address"], claim["fingerprint"]) == ("127.0.0.1", worker_fingerprint(worker.key))


async def test_they_are_paired_when_its_user_has_confirmed_the_fingerprint(stack: LiveStack, worker: RawWorker) -> None:
    made = await create(stack)
    await worker.visit()
    await worker.claim(made["pairing_code"])
    answer = await confirm(stack, made["id"], worker_fingerprint(worker.key).lower())
    assert (answer.status_code, answer.json()["status"]) == (200, "paired")
    (provider,) = (await listed(stack))["providers"]
    assert provider["provider_pubkey"] == worker.key
    assert provider["paired_at"] is not None


@pytest.mark.parametrize("fingerprint", ["", "0000-0000-0000-0000-0000", "another"])
async def test_another_fingerprint_confirms_nothing(stack: LiveStack, worker: RawWorker, fingerprint: str) -> None:
    made = await create(stack)
    await worker.visit()
    await worker.claim(made["pairing_code"])
    answer = await confirm(stack, made["id"], fingerprint)
    assert (answer.status_code, answer.json()["code"]) == (409, "not_claimed")
    assert (await listed(stack))["providers"] == []


async def test_what_nobody_has_claimed_and_what_is_not_there_is_not_confirmed(
    stack: LiveStack, worker: RawWorker
) -> None:
    made = await create(stack)
    fingerprint = worker_fingerprint(worker.key)
    assert (await confirm(stack, made["id"], fingerprint)).json()["code"] == "not_claimed"
    assert (await confirm(stack, "tru_nothing", fingerprint)).json()["code"] == "not_found"


async def test_a_worker_that_serves_claims_over_its_own_socket(stack: LiveStack) -> None:
    worker = RawWorker(stack, "serving")
    await worker.join()
    result = await worker.claim((await create(stack))["pairing_code"])
    assert result.status == "awaiting_confirmation"
    assert await worker.complete(await worker.granted()) == "accepted"


# -- visits


async def test_a_visit_displaces_nobody_and_is_no_worker_online(stack: LiveStack) -> None:
    worker, visitor = RawWorker(stack, "busy"), RawWorker(stack, "busy", instance="2")
    await worker.join()
    grant = await worker.granted()
    await visitor.visit()
    assert (await visitor.claim((await create(stack))["pairing_code"])).status == "awaiting_confirmation"
    await visitor.close()
    assert await worker.complete(grant) == "accepted"


async def test_a_visit_takes_no_work(stack: LiveStack, worker: RawWorker) -> None:
    await worker.visit()
    (shown,) = (await stack.http.get("/v1/workers")).json()["workers"]
    assert not shown["online"]
    await worker.send(HeartbeatMessage(held=(), free=1))
    assert await worker.refusal() == "visiting"


async def test_a_visit_proves_its_key_too(stack: LiveStack, worker: RawWorker) -> None:
    await worker.open()
    await worker.send(worker.changed_registration(sig="00" * 64))
    assert await worker.close_code() == CloseCode.UNPROVEN


async def test_a_visit_ends_by_itself(stack: LiveStack, worker: RawWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defaults, "VISIT_S", 0.05)
    await worker.visit()
    assert await worker.close_code() == CloseCode.SILENT


async def test_who_is_not_enrolled_is_told_so(stack: LiveStack) -> None:
    stranger = RawWorker(stack, "stranger")
    await stranger.visit()
    result = await stranger.claim((await create(stack))["pairing_code"])
    assert (result.status, result.code, result.fingerprint) == ("refused", "worker_unknown", None)


async def test_a_wrong_code_is_refused_and_says_nothing(stack: LiveStack, worker: RawWorker) -> None:
    await worker.visit()
    result = await worker.claim("nonsense")
    assert (result.status, result.code) == ("refused", "invalid_code")


async def test_a_thousand_wrong_codes_from_fifty_keys_are_locked_out_and_pairing_goes_on(stack: LiveStack) -> None:
    honest = RawWorker(stack, "honest")
    await honest.join()
    claimed = await create(stack)
    await honest.claim(claimed["pairing_code"])
    live = await create(stack)
    guessers = [RawWorker(stack, f"guesser {number}") for number in range(50)]
    await asyncio.gather(*(each.join() for each in guessers))

    async def guess(worker: RawWorker) -> list[str | None]:
        return [(await worker.claim(f"wrong {number}")).code for number in range(20)]

    answers = [code for each in await asyncio.gather(*map(guess, guessers)) for code in each]
    assert len(answers) == 1000
    assert answers.count("invalid_code") == defaults.WRONG_CLAIMS_PER_ADDRESS
    assert answers.count("too_many_claims") == 1000 - defaults.WRONG_CLAIMS_PER_ADDRESS
    assert (await guessers[0].claim(live["pairing_code"])).code == "too_many_claims"
    assert (await confirm(stack, claimed["id"], worker_fingerprint(honest.key))).status_code == 200
    assert (await pair(stack, guessers[0].key)).status_code == 200


# -- without a code, and the end


async def test_a_worker_is_paired_by_its_id_without_a_code_and_twice_is_as_once(
    stack: LiveStack, worker: RawWorker
) -> None:
    (known,) = (await stack.http.get("/v1/workers")).json()["workers"]
    first, second = await pair(stack, known["id"]), await pair(stack, worker.key)
    assert (first.status_code, first.json()["worker_id"]) == (200, known["id"])
    assert second.json() == first.json()
    assert len((await listed(stack))["providers"]) == 1


async def test_a_worker_that_waits_for_approval_is_paired_only_then(stack: LiveStack) -> None:
    worker = RawWorker(stack, "waiting")
    ack = await worker.join(needs_approval=True)
    assert (await pair(stack, ack.worker_id)).json()["code"] == "worker_not_approved"
    await stack.http.post(f"/v1/workers/{ack.worker_id}/approve")
    assert (await pair(stack, ack.worker_id)).status_code == 200
    await stack.http.post(f"/v1/workers/{ack.worker_id}/revoke")
    assert (await pair(stack, ack.worker_id)).json()["code"] == "worker_revoked"


async def test_there_is_nothing_to_pair_with_where_there_is_no_worker(stack: LiveStack) -> None:
    assert (await pair(stack, "wrk_00000000000000000000")).json()["code"] == "not_found"


async def test_what_was_ended_is_gone(stack: LiveStack, worker: RawWorker) -> None:
    made = (await pair(stack, worker.key)).json()
    ended = await stack.http.delete(f"/v1/trust/{made['id']}")
    assert (ended.status_code, ended.json()) == (200, made)
    assert await listed(stack) == {"providers": [], "waiting": []}
    assert (await stack.http.delete(f"/v1/trust/{made['id']}")).json()["code"] == "not_found"


async def test_what_a_worker_runs_is_stopped_at_once_when_its_user_trusts_it_no_more(stack: LiveStack) -> None:
    worker, other = RawWorker(stack, "first", model="same"), RawWorker(stack, "second", model="same")
    await worker.join(private=True)
    job = {"prompt": "hush", "model": "same", "privacy_class": "PRIVATE"}
    job_id = (await stack.http.post("/v1/jobs", json=job)).json()["id"]
    grant = await worker.receive(JobAssign)
    await worker.start(grant, "se")
    (paired,) = (await listed(stack))["providers"]
    assert (await stack.http.delete(f"/v1/trust/{paired['id']}")).status_code == 200
    assert (await worker.receive(JobCancel)).job_id == job_id
    await worker.send(worker.completion(grant, "se"))
    assert (await worker.receive(CompleteAck)).verdict == "stale"
    assert (await worker.job(job_id))["status"] == "pending"
    await other.join(private=True)
    assert await other.complete(await other.assigned_next(job_id)) == "accepted"


async def test_a_claim_that_was_refused_is_not_confirmed_any_more(stack: LiveStack, worker: RawWorker) -> None:
    made = await create(stack)
    await worker.visit()
    await worker.claim(made["pairing_code"])
    assert (await stack.http.delete(f"/v1/trust/{made['id']}")).status_code == 200
    assert (await confirm(stack, made["id"], worker_fingerprint(worker.key))).json()["code"] == "not_found"


async def test_a_token_that_is_private_enrols_a_worker_that_is_paired(stack: LiveStack) -> None:
    worker = RawWorker(stack, "mine")
    await worker.join(private=True)
    (provider,) = (await listed(stack))["providers"]
    assert (provider["provider_pubkey"], provider["user_id"]) == (worker.key, "owner")


@pytest.mark.parametrize("other", ["needs_approval", "shared"])
async def test_a_token_that_is_private_is_nothing_else(stack: LiveStack, other: str) -> None:
    key = stack.server.operator_key if other == "shared" else stack.key
    body = {"private": True, other: True}
    answer = await stack.http.post("/v1/worker-tokens", json=body, headers={"Authorization": f"Bearer {key}"})
    assert (answer.status_code, answer.json()["field"]) == (422, "private")


# -- whose it is


async def test_a_user_sees_confirms_and_ends_nothing_of_another(stack: LiveStack, worker: RawWorker) -> None:
    made = await create(stack)
    await worker.visit()
    await worker.claim(made["pairing_code"])
    other = await key_of(stack, "other")
    body = {"id": made["id"], "fingerprint": worker_fingerprint(worker.key)}
    answers = [
        await stack.http.post("/v1/trust/confirm", json=body, headers=other),
        await stack.http.delete(f"/v1/trust/{made['id']}", headers=other),
    ]
    assert [one.status_code for one in answers] == [404, 404]
    shown = (await stack.http.get("/v1/trust/list", headers=other)).json()
    assert shown == {"providers": [], "waiting": []}


async def test_only_a_key_that_may_act_for_users_names_one(stack: LiveStack, worker: RawWorker) -> None:
    plain = await key_of(stack, "plain")
    refused = await pair(stack, worker.key)
    assert refused.status_code == 200
    body = {"worker": worker.key, "user_id": "alice"}
    assert (await stack.http.post("/v1/trust/pair", json=body, headers=plain)).status_code == 403
    assert (await stack.http.get("/v1/trust/list?user_id=alice", headers=plain)).status_code == 403
    acting = await key_of(stack, "app", act_for_users=True)
    assert (await stack.http.post("/v1/trust/pair", json=body, headers=acting)).json()["user_id"] == "alice"
    shown = (await stack.http.get("/v1/trust/list?user_id=alice", headers=acting)).json()
    assert [one["provider_pubkey"] for one in shown["providers"]] == [worker.key]


async def test_a_user_may_name_himself(stack: LiveStack) -> None:
    assert (await create(stack, user_id="owner"))["user_id"] == "owner"


async def test_the_operators_key_is_about_those_who_send_none(stack: LiveStack) -> None:
    headers = {"Authorization": f"Bearer {stack.server.operator_key}"}
    answer = await stack.http.get("/v1/trust/list?user_id=alice", headers=headers)
    assert (answer.status_code, "--dispatch" in answer.json()["detail"]) == (403, True)


async def test_without_a_key_the_flag_is_named(stack: LiveStack) -> None:
    async with httpx.AsyncClient(base_url=stack.server.url, trust_env=False, timeout=90) as http:
        answer = await http.post("/v1/trust/create", json={"user_id": "alice"})
    assert (answer.status_code, "--dispatch" in answer.json()["detail"]) == (401, True)


async def test_a_code_made_with_a_key_is_not_claimed_over_http(stack: LiveStack, worker: RawWorker) -> None:
    made = await create(stack)
    body = {"pairing_code": made["pairing_code"], "provider_pubkey": worker.key}
    answer = await stack.http.post("/v1/trust/claim", json=body)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_code")
