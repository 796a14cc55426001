"""Dispatch's client and Dispatch's workers, with nothing of Cavvy's but the coordinator between them."""

from __future__ import annotations

import base64
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from nacl.signing import SigningKey, VerifyKey

from tests.dispatch.client import Client, Ran, RunFailed
from tests.dispatch.worker import js
from tests.processes import Installation, installed, until

pytestmark = pytest.mark.e2e

RECEIPT = ("job_id", "provider_pubkey", "output_hash", "completed_at", "payment_ref")
USER = "user_abc"


@pytest.fixture(scope="module")
def coordinator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installed(tmp_path_factory.mktemp("alone")) as here:
        here.start_coordinator("coordinator", "--dispatch", "--legacy-private")
        yield here


@pytest.fixture(scope="module")
def keys(coordinator: Installation) -> dict[str, str]:
    """A computer and a phone that are online; their public keys."""
    client = Client(f"http://127.0.0.1:{coordinator.port}")
    found = {kind: start_worker(coordinator, kind) for kind in ("DESKTOP", "SEEKER")}
    until("both workers are online", lambda: client.health().body["workers_online"] == len(found))
    return found


def start_worker(coordinator: Installation, kind: str) -> str:
    """Starts one as its users do, with a key file of Dispatch's; its public key."""
    key = SigningKey.generate()
    public = key.verify_key.encode()
    file = coordinator.directory / f"{kind}.json"
    file.write_text(json.dumps({"publicKey": [*public], "secretKey": [*key.encode(), *public]}))
    url = f"http://127.0.0.1:{coordinator.port}"
    coordinator.start(*worker_command(url, kind, file))
    return public.hex()


def worker_command(url: str, kind: str, file: Path) -> list[str]:
    return ["-m", "tests.dispatch.worker", "--coordinator", url, "--type", kind, "--key", str(file)]


def check_receipt(ran: Ran) -> None:
    """As somebody does who has only Dispatch's description."""
    message = js({name: ran.receipt[name] for name in RECEIPT}).encode()
    VerifyKey(bytes.fromhex(ran.receipt["provider_pubkey"])).verify(message, base64.b64decode(ran.receipt["signature"]))


def test_a_prompt_is_answered_and_its_receipt_is_dispatchs(client: Client, keys: dict[str, str]) -> None:
    ran = client.run_llm("Name three rivers.", USER, poll_s=0.02)
    assert ran.output == {"text": "echo: Name three rivers.", "model": "llama3.2"}
    assert ran.receipt["verified"] is True
    check_receipt(ran)


@pytest.mark.parametrize(("policy", "kind"), [("FAST", "DESKTOP"), ("CHEAP", "SEEKER"), ("AUTO", "SEEKER")])
def test_a_task_goes_to_the_kind_of_worker_that_dispatch_prefers(
    client: Client, keys: dict[str, str], policy: str, kind: str
) -> None:
    for _ in range(3):
        ran = client.run_task("classify", "a great day", USER, policy=policy, poll_s=0.02)
        assert ran.output == {"sentiment": "positive", "confidence": 0.5}
        assert ran.receipt["provider_pubkey"] == keys[kind]
        check_receipt(ran)


def test_a_private_job_runs_on_the_worker_that_was_paired_and_confirmed_and_on_no_other(
    client: Client, coordinator: Installation, keys: dict[str, str]
) -> None:
    code = client.trust_create("dan").body["pairing_code"]
    assert client.trust_claim(code, keys["SEEKER"]).status == 200
    with pytest.raises(RunFailed, match="Privacy enforcement: no_trusted_worker"):
        client.run_llm("a secret", "dan", privacy="PRIVATE")
    confirm(coordinator, "dan")
    (provider,) = client.trust_list("dan").body["providers"]
    assert provider["provider_pubkey"] == keys["SEEKER"]
    for _ in range(3):
        ran = client.run_llm("a secret", "dan", policy="FAST", privacy="PRIVATE", poll_s=0.02)
        assert ran.receipt["provider_pubkey"] == keys["SEEKER"]
        check_receipt(ran)


def confirm(coordinator: Installation, user: str) -> None:
    """The owner's yes, with the operator's key."""
    key = tomllib.loads((coordinator.config / "credentials.toml").read_text())["operator_key"]
    url, headers = f"http://127.0.0.1:{coordinator.port}", {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=90) as operator:
        (claim,) = operator.get("/v1/trust/list", params={"user_id": user}).json()["waiting"]
        body = {"id": claim["id"], "fingerprint": claim["fingerprint"], "user_id": user}
        answer = operator.post("/v1/trust/confirm", json=body)
    assert answer.status_code == 200, answer.text
