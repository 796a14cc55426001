"""A client written for Dispatch trusts a worker, and its PRIVATE jobs go there and nowhere else."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import httpx
import pytest

from tests.dispatch.client import Client, RunFailed
from tests.processes import Installation, ScriptedWorker
from tests.scripted_worker import ANSWER

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def workers(coordinator: Installation) -> dict[str, ScriptedWorker]:
    return {name: coordinator.start_worker(name) for name in ("trusted", "stranger")}


@pytest.fixture
def operator(coordinator: Installation) -> Iterator[httpx.Client]:
    """The owner of the coordinator, who alone speaks for those that send no key."""
    key = tomllib.loads((coordinator.config / "credentials.toml").read_text())["operator_key"]
    with coordinator.client() as http:
        http.headers["Authorization"] = f"Bearer {key}"
        yield http


def key_of(coordinator: Installation, name: str) -> str:
    found = coordinator.http.get("/v1/workers").json()["workers"]
    return str(next(one["key"] for one in found if one["name"] == name))


def confirm(operator: httpx.Client, user: str) -> None:
    """Says yes to the only worker that waits for it."""
    (claim,) = operator.get("/v1/trust/list", params={"user_id": user}).json()["waiting"]
    body = {"id": claim["id"], "fingerprint": claim["fingerprint"], "user_id": user}
    answer = operator.post("/v1/trust/confirm", json=body)
    assert answer.status_code == 200, answer.text


def paired(client: Client, coordinator: Installation, operator: httpx.Client, user: str, name: str) -> None:
    """As Dispatch's clients and workers do it, and the owner's yes."""
    code = client.trust_create(user).body["pairing_code"]
    assert client.trust_claim(code, key_of(coordinator, name)).status == 200
    confirm(operator, user)


def test_a_code_looks_and_ends_as_dispatchs(client: Client) -> None:
    status, body = client.trust_create("ann")
    assert status == 201
    assert re.fullmatch(r"[0-9A-F]{6}", body["pairing_code"])
    assert datetime.fromisoformat(body["expires_at"]).tzinfo is not None


@pytest.mark.parametrize("user", [None, ""])
def test_a_code_for_nobody_is_refused_in_dispatchs_words(client: Client, user: str | None) -> None:
    assert (answer := client.trust_create(user)).status == 400
    assert answer.body["error"] == "Missing user_id"


@pytest.mark.parametrize("user", [None, ""])
def test_a_list_of_nobody_is_refused_in_dispatchs_words(client: Client, user: str | None) -> None:
    assert (answer := client.trust_list(user)).status == 400
    assert answer.body["error"] == "Missing user_id query param"


def test_a_wrong_claim_is_refused_in_dispatchs_words(client: Client) -> None:
    assert client.trust_claim("", "").body["error"] == "Missing pairing_code or provider_pubkey"
    answer = client.trust_claim("000000", "ab" * 32)
    assert (answer.status, answer.body["error"]) == (400, "invalid_code")


def test_a_claim_is_good_once(client: Client, coordinator: Installation, workers: dict[str, ScriptedWorker]) -> None:
    code = client.trust_create("bea").body["pairing_code"]
    claimed = client.trust_claim(code, key_of(coordinator, "trusted"))
    assert (claimed.status, claimed.body["user_id"]) == (200, "bea")
    assert datetime.fromisoformat(claimed.body["paired_at"]).tzinfo is not None
    again = client.trust_claim(code, key_of(coordinator, "stranger"))
    assert (again.status, again.body["error"]) == (400, "already_claimed")


def test_a_claim_alone_gives_nothing(
    client: Client, coordinator: Installation, workers: dict[str, ScriptedWorker]
) -> None:
    """In Dispatch it gave everything, and codes can be guessed."""
    code = client.trust_create("cat").body["pairing_code"]
    client.trust_claim(code, key_of(coordinator, "trusted"))
    assert client.trust_list("cat").body["providers"] == []
    with pytest.raises(RunFailed, match="Privacy enforcement: no_trusted_worker"):
        client.run_llm("a secret", "cat", privacy="PRIVATE")


def test_a_private_job_runs_on_the_worker_its_user_trusts_and_on_no_other(
    client: Client, coordinator: Installation, operator: httpx.Client, workers: dict[str, ScriptedWorker]
) -> None:
    paired(client, coordinator, operator, "dan", "trusted")
    (provider,) = client.trust_list("dan").body["providers"]
    assert provider["provider_pubkey"] == key_of(coordinator, "trusted")
    for number in range(4):
        ran = client.run_llm(f"secret {number}", "dan", privacy="PRIVATE", poll_s=0.02)
        assert ran.output["text"] == ANSWER
        assert ran.receipt["provider_pubkey"] == provider["provider_pubkey"]
    assert not [call for call in workers["stranger"].calls if "secret" in call]


@pytest.mark.parametrize("user", ["DAN", "dan ", "dan2", "anonymous"])
def test_names_match_exactly(
    client: Client, coordinator: Installation, operator: httpx.Client, workers: dict[str, ScriptedWorker], user: str
) -> None:
    if not client.trust_list("dan").body["providers"]:
        paired(client, coordinator, operator, "dan", "trusted")
    with pytest.raises(RunFailed, match="Privacy enforcement: no_trusted_worker"):
        client.run_llm("a secret", user, privacy="PRIVATE")


def test_what_is_private_is_not_there_for_another_tenant(
    client: Client, coordinator: Installation, operator: httpx.Client, workers: dict[str, ScriptedWorker]
) -> None:
    paired(client, coordinator, operator, "eve", "trusted")
    body: dict[str, Any] = {"job_type": "LLM_INFER", "payload": {"prompt": "a secret"}, "user_id": "eve"}
    made = client.commit("fast", {**body, "privacy_class": "PRIVATE"})
    assert made.status == 201
    assert coordinator.http.get(f"/v1/jobs/{made.body['job_id']}").status_code == 404
