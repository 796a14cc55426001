"""`cavvy run --private`: what is asked of the coordinator, and what a refusal looks like."""

from __future__ import annotations

import msgspec

from tests.unit.cli.conftest import Cli
from tests.unit.client.fake_coordinator import FakeCoordinator, job, json


def asked(coordinator: FakeCoordinator) -> dict[str, object]:
    body: dict[str, object] = msgspec.json.decode(coordinator.requests[0].body)
    return body


def test_p16_private_says_so_and_what_pays(cli: Cli, coordinator: FakeCoordinator) -> None:
    coordinator.on("POST", "/v1/jobs", json(job(), 201))
    run = ("run", "hi", "--private", "--on-no-trusted", "wait", "--payment-ref", "pay_1", "--detach")
    assert cli(*run, "--url", coordinator.url).code == 0
    assert asked(coordinator) == {
        "prompt": "hi", "privacy_class": "PRIVATE", "on_no_trusted": "wait", "payment_ref": "pay_1",
    }  # fmt: skip


def test_p16_without_a_trusted_worker_it_says_what_to_do_and_exits_4(cli: Cli, coordinator: FakeCoordinator) -> None:
    refusal = {"status": 422, "code": "no_trusted_worker", "detail": "No worker is trusted; `cavvy trust pair`."}
    coordinator.on("POST", "/v1/jobs", json(refusal, 422))
    code, out, err = cli("run", "hi", "--private", "--url", coordinator.url)
    assert (code, out) == (4, "")
    assert "cavvy trust pair" in err


def test_p16_who_forgets_private_sends_nothing(cli: Cli, coordinator: FakeCoordinator) -> None:
    code, _, err = cli("run", "hi", "--on-no-trusted", "wait", "--url", coordinator.url)
    assert (code, "--private" in err, coordinator.requests) == (2, True, [])
