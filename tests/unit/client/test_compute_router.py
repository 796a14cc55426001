"""Both routers against a coordinator that answers as the original does; every test runs once for each."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cavvy import AsyncComputeRouter, ComputeFailed, ComputeQuote, ComputeResult, ComputeRouter, InvalidInput, defaults
from cavvy.api.certificates import self_signed
from cavvy.client.config import Credentials, write_credentials
from tests.certificates import NOW
from tests.unit.client.fake_coordinator import JOB_ID, SILENCE, Answer, FakeCoordinator, json, problem

OUTPUT = {"text": "Ada.", "model": "llama3.2"}
HOSTED = {"openai": "sk-mine", "anthropic": "sk-ant-mine"}
COMMITTED = json({"job_id": JOB_ID}, 201)
NO_TRUSTED = json({"error": "no_trusted_worker", "job_id": JOB_ID}, 422)
CANCEL = f"/v1/jobs/{JOB_ID}/cancel"
OPENAI = {"model": "gpt-4o-mini", "choices": [{"message": {"content": "Grace."}}], "usage": {"total_tokens": 3}}
ANTHROPIC = {"model": "claude", "content": [{"type": "text", "text": "Gra"}, {"type": "text", "text": "ce."}]}


class SyncDriver:
    def call(self, method: str, *args: Any, fields: dict[str, Any], **setup: Any) -> Any:
        with ComputeRouter(*args, **setup) as router:
            return getattr(router, method)(**fields)


class AsyncDriver:
    def call(self, method: str, *args: Any, fields: dict[str, Any], **setup: Any) -> Any:
        async def main() -> Any:
            async with AsyncComputeRouter(*args, **setup) as router:
                return await getattr(router, method)(**fields)

        return asyncio.run(main())


@pytest.fixture(params=[SyncDriver, AsyncDriver], ids=["sync", "async"])
def driver(request: pytest.FixtureRequest) -> SyncDriver | AsyncDriver:
    made: SyncDriver | AsyncDriver = request.param()
    return made


@pytest.fixture
def hosted(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCoordinator]:
    """Both hosted providers, at one address."""
    with FakeCoordinator() as fake:
        monkeypatch.setenv("OPENAI_BASE_URL", f"{fake.url}/openai/v1")
        monkeypatch.setenv("ANTHROPIC_BASE_URL", f"{fake.url}/anthropic")
        fake.on("POST", "/openai/v1/chat/completions", json(OPENAI))
        fake.on("POST", "/anthropic/v1/messages", json(ANTHROPIC))
        yield fake


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(defaults, "ROUTER_POLL_S", 0.0)


def quoted(policy: str = "FAST", price: str = "$0.010", network: str = "eip155:10143") -> Answer:
    endpoint = f"/v1/jobs/commit/{policy.lower()}"
    return json({
        "price": price, "endpoint": endpoint, "policy_resolved": policy, "network": network, "expires_at": None,
    })  # fmt: skip


def polled(status: str = "pending", output: Any = None, receipt: Any = None) -> Answer:
    times = {"created_at": "2026-01-02 03:04:05", "completed_at": None}
    return json({"id": JOB_ID, "status": status, "result": output, "receipt": receipt, **times})


def receipt_of(output: Any, **changed: Any) -> dict[str, Any]:
    output_hash = hashlib.sha256(msgspec.json.encode(output)).hexdigest()
    receipt = {"job_id": JOB_ID, "provider_pubkey": "ab" * 32, "output_hash": output_hash, "completed_at": "now"}
    return {**receipt, "payment_ref": None, "signature": "c2ln", "verified": True, **changed}


def completes(coordinator: FakeCoordinator, *polls: Answer, policy: str = "FAST") -> None:
    coordinator.on("GET", "/v1/quote", quoted(policy))
    coordinator.on("POST", f"/v1/jobs/commit/{policy.lower()}", COMMITTED)
    coordinator.on_job("", *(polls or (polled("completed", OUTPUT, receipt_of(OUTPUT)),)))


def ask(driver: SyncDriver | AsyncDriver, coordinator: FakeCoordinator, **given: Any) -> ComputeResult:
    setup = {name: given.pop(name) for name in list(given) if name in ("hosted_keys", "preferred_hosted", "fallback")}
    fields = {"prompt": "Who?", "user_id": "user_abc", **given}
    result: ComputeResult = driver.call("run_llm", {"monad": coordinator.url}, fields=fields, **setup)
    return result


def sent(coordinator: FakeCoordinator, path: str) -> Any:
    return msgspec.json.decode(coordinator.wait_for("POST", path).body)


@pytest.mark.parametrize("code", ["invalid_field", "invalid_json", "invalid_request", "not_supported"])
def test_what_was_asked_for_wrongly_is_not_paid_for_elsewhere(
    driver: SyncDriver | AsyncDriver, coordinator: FakeCoordinator, hosted: FakeCoordinator, code: str
) -> None:
    coordinator.on("GET", "/v1/quote", quoted())
    coordinator.on("POST", "/v1/jobs/commit/fast", problem(422, code, "no"))
    with pytest.raises(ComputeFailed) as failed:
        ask(driver, coordinator, hosted_keys=HOSTED, max_tokens=10**9)
    assert failed.value.code == code
    assert hosted.requests == []


def test_half_a_character_is_refused_before_anything_is_sent(
    driver: SyncDriver | AsyncDriver, coordinator: FakeCoordinator
) -> None:
    with pytest.raises(InvalidInput, match="prompt holds half a character"):
        ask(driver, coordinator, prompt="Who\ud800?")
    assert coordinator.requests == []


def test_a_prompt_goes_by_quote_commit_and_polls_to_its_answer(
    driver: SyncDriver | AsyncDriver, coordinator: FakeCoordinator
) -> None:
    receipt = receipt_of(OUTPUT)
    completes(coordinator, polled(), polled("assigned"), polled("completed", OUTPUT, receipt))
    result = ask(driver, coordinator, max_tokens=9, policy="FAST", chain_preference="monad")
    assert result.output == OUTPUT
    assert (result.route, result.price, result.receipt) == ("decentralized:monad", "$0.010", receipt)
    assert (result.job_id, result.fallback_reason) == (JOB_ID, None)
    assert result.latency_ms >= 0
    asked = [(one.method, one.path) for one in coordinator.requests]
    job = ("GET", f"/v1/jobs/{JOB_ID}")
    assert asked == [("GET", "/v1/quote"), ("POST", "/v1/jobs/commit/fast"), job, job, job]
    assert coordinator.requests[0].target == "/v1/quote?job_type=LLM_INFER&policy=FAST"
    assert sent(coordinator, "/v1/jobs/commit/fast") == {
        "job_type": "LLM_INFER",
        "payload": {"job_type": "LLM_INFER", "prompt": "Who?", "max_tokens": 9},
        "user_id": "user_abc",
        "privacy_class": "PUBLIC",
    }


def test_a_task_goes_where_the_quote_says(driver: SyncDriver | AsyncDriver, coordinator: FakeCoordinator) -> None:
    output = {"sentiment": "positive", "confidence": 0.5}
    completes(coordinator, polled("completed", output, receipt_of(output)), policy="CHEAP")
    fields = {"task_type": "classify", "input": "great", "user_id": "u"}
    result = driver.call("run_task", {"monad": coordinator.url}, fields=fields)
    assert result.output == output
    body = sent(coordinator, "/v1/jobs/commit/cheap")
    assert body["payload"] == {"job_type": "TASK", "task_type": "classify", "input": "great"}


def test_a_policy_is_kept_when_the_quote_resolves_it_to_nothing_known(
    driver: SyncDriver | AsyncDriver, coordinator: FakeCoordinator
) -> None:
    coordinator.on("GET", "/v1/quote", quoted("../../v1/stop"))
    coordinator.on("POST", "/v1/jobs/commit/cheap", COMMITTED)
    coordinator.on_job("", polled("completed", OUTPUT))
    assert ask(driver, coordinator, policy="CHEAP").output == OUTPUT


def test_a_quote_can_be_asked_for_alone(driver: SyncDriver | AsyncDriver, coordinator: FakeCoordinator) -> None:
    coordinator.on("GET", "/v1/quote", quoted("CHEAP", "$0.001"))
    quote = driver.call("quote", {"solana": coordinator.url}, fields={"job_type": "TASK"})
    assert quote == ComputeQuote(
        price="$0.001", endpoint="/v1/jobs/commit/cheap", policy_resolved="CHEAP", network="eip155:10143"
    )


def test_the_chain_that_is_preferred_is_asked(driver: SyncDriver | AsyncDriver, coordinator: FakeCoordinator) -> None:
    completes(coordinator)
    urls = {"monad": "http://127.0.0.1:1", "solana": coordinator.url}
    fields = {"prompt": "Who?", "user_id": "u", "chain_preference": "solana"}
    assert driver.call("run_llm", urls, fields=fields).route == "decentralized:solana"


def test_the_only_chain_there_is_need_not_be_preferred(
    driver: SyncDriver | AsyncDriver, coordinator: FakeCoordinator
) -> None:
    completes(coordinator)
    fields = {"prompt": "Who?", "user_id": "u"}
    assert driver.call("run_llm", {"solana": coordinator.url}, fields=fields).route == "decentralized:solana"


@pytest.mark.parametrize(
    "wrong",
    [
        {"privacy": "private"},
        {"privacy": ""},
        {"policy": "fast"},
        {"prompt": ""},
        {"user_id": ""},
        {"chain_preference": "solana"},
        {"max_tokens": 0},
        {"max_tokens": True},
        {"max_tokens": "9"},
    ],
    ids=str,
)
def test_what_is_not_exactly_known_is_sent_nowhere(
    driver: SyncDriver | AsyncDriver, coordinator: FakeCoordinator, hosted: FakeCoordinator, wrong: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput):
        ask(driver, coordinator, hosted_keys=HOSTED, **wrong)
    assert coordinator.requests == hosted.requests == []


def test_the_accounts_key_goes_to_its_own_coordinator_only(
    driver: SyncDriver | AsyncDriver, coordinator: FakeCoordinator
) -> None:
    write_credentials(Credentials(url=coordinator.url, key="cav_sub_mine"))
    with FakeCoordinator() as other:
        completes(coordinator)
        completes(other)
        fields = {"prompt": "Who?", "user_id": "u"}
        urls = {"monad": coordinator.url, "solana": other.url}
        driver.call("run_llm", urls, fields={**fields, "chain_preference": "monad"})
        driver.call("run_llm", urls, fields={**fields, "chain_preference": "solana"})
        assert {one.headers.get("authorization") for one in coordinator.requests} == {"Bearer cav_sub_mine"}
        assert {one.headers.get("authorization") for one in other.requests} == {None}


def test_a_key_in_a_variable_goes_to_one_of_several_coordinators_only(
    driver: SyncDriver | AsyncDriver, coordinator: FakeCoordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAVVY_URL", coordinator.url)
    monkeypatch.setenv("CAVVY_API_KEY", "cav_sub_mine")
    with FakeCoordinator() as other:
        completes(coordinator)
        completes(other)
        urls, fields = {"monad": coordinator.url, "solana": other.url}, {"prompt": "Who?", "user_id": "u"}
        driver.call("run_llm", urls, fields=fields)
        driver.call("run_llm", urls, fields={**fields, "chain_preference": "solana"})
        assert {one.headers.get("authorization") for one in coordinator.requests} == {"Bearer cav_sub_mine"}
        assert {one.headers.get("authorization") for one in other.requests} == {None}


def test_a_key_in_a_variable_goes_to_the_only_coordinator(
    driver: SyncDriver | AsyncDriver, coordinator: FakeCoordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAVVY_API_KEY", "cav_sub_mine")
    completes(coordinator)
    ask(driver, coordinator)
    assert {one.headers.get("authorization") for one in coordinator.requests} == {"Bearer cav_sub_mine"}


def test_without_urls_it_is_the_accounts_coordinator(
    driver: SyncDriver | AsyncDriver, coordinator: FakeCoordinator
) -> None:
    write_credentials(Credentials(url=coordinator.url, key="cav_sub_mine"))
    completes(coordinator)
    assert driver.call("run_llm", fields={"prompt": "Who?", "user_id": "u"}).output == OUTPUT


def test_half_a_character_of_javascripts_is_an_answer_as_well(
    driver: SyncDriver | AsyncDriver, coordinator: FakeCoordinator
) -> None:
    output = rb'{"text":"horse \ud83d..."}'
    receipt = msgspec.json.encode(receipt_of(None, output_hash=hashlib.sha256(output).hexdigest()))
    completes(coordinator, Answer(b'{"status":"completed","result":' + output + b',"receipt":' + receipt + b"}"))
    assert ask(driver, coordinator).output == {"text": "horse \ufffd..."}


# What is no answer


@pytest.mark.parametrize(
    ("poll", "told"),
    [
        (polled("failed", {"error": "no_eligible_worker"}), "failed: no_eligible_worker"),
        (polled("completed", {"error": "Unsupported job payload"}), "answered with an error: Unsupported job payload"),
        (polled("completed", {"error": ""}), "answered with an error"),
        (polled("completed", None), "answered nothing"),
        (polled("completed", {"text": "[STUB] …", "stub": True}), "was answered by no model"),
        (polled("completed", OUTPUT, receipt_of(OUTPUT, verified=False)), "does not verify"),
        (polled("completed", OUTPUT, receipt_of(OUTPUT, output_hash="not-a-hash")), "is of another output"),
        (polled("completed", OUTPUT, receipt_of(OUTPUT, job_id="another")), "is of another job"),
        (json({"error": "Job not found"}, 404), "Job not found"),
        (Answer(b"<html>", 200), "does not speak Cavvy's API"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_what_nobody_may_rely_on_is_no_answer(
    driver: SyncDriver | AsyncDriver, coordinator: FakeCoordinator, poll: Answer, told: str
) -> None:
    completes(coordinator, poll)
    with pytest.raises(ComputeFailed, match=told) as failed:
        ask(driver, coordinator)
    assert list(failed.value.reasons) == ["decentralized:monad"]


def test_a_coordinator_that_wants_money_first_is_told_of(
    driver: SyncDriver | AsyncDriver, coordinator: FakeCoordinator
) -> None:
    coordinator.on("GET", "/v1/quote", quoted())
    coordinator.on("POST", "/v1/jobs/commit/fast", json({}, 402))
    with pytest.raises(ComputeFailed, match="wants to be paid first"):
        ask(driver, coordinator)


def test_a_commit_whose_answer_is_lost_is_sent_again_to_cavvy_and_stays_one_job(
    driver: SyncDriver | AsyncDriver, coordinator: FakeCoordinator
) -> None:
    coordinator.on("GET", "/v1/quote", quoted(network="cavvy:local"))
    coordinator.on("POST", "/v1/jobs/commit/fast", Answer(cut=True), json({"job_id": JOB_ID}, 200))
    coordinator.on_job("", polled("completed", OUTPUT))
    assert ask(driver, coordinator).output == OUTPUT
    commits = [one for one in coordinator.requests if one.method == "POST"]
    assert len(commits) == 2
    assert len({one.headers["idempotency-key"] for one in commits}) == 1


def test_an_original_coordinator_gets_a_commit_once(
    driver: SyncDriver | AsyncDriver, coordinator: FakeCoordinator
) -> None:
    coordinator.on("GET", "/v1/quote", quoted())
    coordinator.on("POST", "/v1/jobs/commit/fast", Answer(cut=True))
    with pytest.raises(ComputeFailed, match="whether it was carried out is unknown"):
        ask(driver, coordinator)
    assert [one.method for one in coordinator.requests].count("POST") == 1


def test_a_poll_whose_answer_is_lost_is_asked_again(
    driver: SyncDriver | AsyncDriver, coordinator: FakeCoordinator
) -> None:
    completes(coordinator, Answer(cut=True), problem(503, "unavailable", ""), polled("completed", OUTPUT))
    assert ask(driver, coordinator).output == OUTPUT


def test_a_job_that_is_lost_sight_of_is_cancelled_and_named(
    driver: SyncDriver | AsyncDriver, coordinator: FakeCoordinator
) -> None:
    completes(coordinator, problem(500, "internal", "broken"))
    coordinator.on("POST", CANCEL, polled("failed", {"error": "aborted"}))
    with pytest.raises(ComputeFailed, match=r"out of sight \(broken.*\) and was cancelled") as failed:
        ask(driver, coordinator)
    assert failed.value.job_id == JOB_ID


def test_an_answer_that_cannot_be_unpacked_is_a_lost_one(
    driver: SyncDriver | AsyncDriver, coordinator: FakeCoordinator
) -> None:
    packed = Answer(b"nonsense", headers={"Content-Encoding": "gzip", "Content-Type": "application/json"})
    completes(coordinator, packed, polled("completed", OUTPUT))
    assert ask(driver, coordinator).output == OUTPUT


# Leaving and taking too long


async def test_a_task_that_is_cancelled_cancels_its_job(coordinator: FakeCoordinator) -> None:
    completes(coordinator, SILENCE)
    coordinator.on("POST", CANCEL, polled("failed", {"error": "aborted"}))
    async with AsyncComputeRouter({"monad": coordinator.url}) as router:
        running = asyncio.create_task(router.run_llm(prompt="Who?", user_id="u"))
        await asyncio.to_thread(coordinator.wait_for, "GET", f"/v1/jobs/{JOB_ID}")
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    coordinator.wait_for("POST", CANCEL)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C means something, also where these tests were started in the background of a script."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_cancels_the_job(coordinator: FakeCoordinator) -> None:
    completes(coordinator, SILENCE)
    coordinator.on("POST", CANCEL, polled("failed", {"error": "aborted"}))
    presses = threading.Thread(target=_press_ctrl_c_while_waiting, args=(coordinator, threading.get_ident()))
    presses.start()
    with ComputeRouter({"monad": coordinator.url}) as router, pytest.raises(KeyboardInterrupt):
        router.run_llm(prompt="Who?", user_id="u")
    presses.join()
    coordinator.wait_for("POST", CANCEL)


def _press_ctrl_c_while_waiting(coordinator: FakeCoordinator, thread: int) -> None:
    coordinator.wait_for("GET", f"/v1/jobs/{JOB_ID}")
    signal.pthread_kill(thread, signal.SIGINT)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job may take no time at all."""
    monkeypatch.setattr(defaults, "COMMIT_LLM_TIMEOUT_S", 0.0)


@pytest.mark.usefixtures("hurried")
def test_a_job_that_takes_too_long_is_cancelled_and_the_error_says_so(
    driver: SyncDriver | AsyncDriver, coordinator: FakeCoordinator
) -> None:
    completes(coordinator)
    coordinator.on("POST", CANCEL, polled("failed", {"error": "aborted"}))
    with pytest.raises(ComputeFailed, match="had not ended after 0 s and was cancelled") as failed:
        ask(driver, coordinator)
    assert (failed.value.code, failed.value.job_id) == ("timeout", JOB_ID)


@pytest.mark.usefixtures("hurried")
def test_an_end_that_came_before_the_cancel_counts(
    driver: SyncDriver | AsyncDriver, coordinator: FakeCoordinator
) -> None:
    completes(coordinator)
    coordinator.on("POST", CANCEL, polled("completed", OUTPUT))
    assert ask(driver, coordinator).output == OUTPUT


@pytest.mark.usefixtures("hurried")
def test_a_job_that_cannot_be_cancelled_may_go_on_and_the_error_says_so(
    driver: SyncDriver | AsyncDriver, coordinator: FakeCoordinator
) -> None:
    completes(coordinator)
    with pytest.raises(ComputeFailed, match="could not be cancelled and may go on"):
        ask(driver, coordinator)


# Hosted providers


def test_a_public_job_that_gets_no_answer_goes_to_a_hosted_provider(
    driver: SyncDriver | AsyncDriver, coordinator: FakeCoordinator, hosted: FakeCoordinator
) -> None:
    completes(coordinator, polled("failed", {"error": "no_eligible_worker"}))
    result = ask(driver, coordinator, hosted_keys=HOSTED)
    assert result.output == {"text": "Grace.", "model": "gpt-4o-mini", "usage": {"total_tokens": 3}}
    assert (result.route, result.price, result.receipt) == ("hosted:openai", None, None)
    assert "no_eligible_worker" in (result.fallback_reason or "")
    request = hosted.wait_for("POST", "/openai/v1/chat/completions")
    assert request.headers["authorization"] == "Bearer sk-mine"
    assert msgspec.json.decode(request.body) == {
        "model": "gpt-4o-mini",
        "max_tokens": 256,
        "messages": [{"role": "user", "content": "Who?"}],
    }


def test_the_preferred_provider_is_asked_first_and_the_other_one_after_it(
    driver: SyncDriver | AsyncDriver, coordinator: FakeCoordinator, hosted: FakeCoordinator
) -> None:
    result = ask(driver, coordinator, hosted_keys=HOSTED, preferred_hosted="anthropic")
    assert (result.route, result.output["text"]) == ("hosted:anthropic", "Grace.")
    request = hosted.requests[0]
    assert (request.headers["x-api-key"], request.headers["anthropic-version"]) == ("sk-ant-mine", "2023-06-01")
    assert "authorization" not in request.headers
    assert len(hosted.requests) == 1


def test_a_provider_that_fails_is_asked_once_and_the_next_one_after_it(
    driver: SyncDriver | AsyncDriver, coordinator: FakeCoordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeCoordinator() as fake:
        monkeypatch.setenv("OPENAI_BASE_URL", fake.url)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", fake.url)
        fake.on("POST", "/chat/completions", json({"error": {"message": "sk-mine is wrong"}}, 503))
        fake.on("POST", "/v1/messages", json(ANTHROPIC))
        result = ask(driver, coordinator, hosted_keys=HOSTED)
        assert result.route == "hosted:anthropic"
        assert "openai answered with status 503" in (result.fallback_reason or "")
        assert [one.path for one in fake.requests] == ["/chat/completions", "/v1/messages"]


@pytest.mark.parametrize("nonsense", [{}, {"choices": []}, {"choices": [{"message": {"content": None}}]}, []], ids=str)
def test_nonsense_of_a_provider_is_no_answer_and_every_way_is_named(
    driver: SyncDriver | AsyncDriver, coordinator: FakeCoordinator, monkeypatch: pytest.MonkeyPatch, nonsense: Any
) -> None:
    with FakeCoordinator() as fake:
        monkeypatch.setenv("OPENAI_BASE_URL", fake.url)
        fake.on("POST", "/chat/completions", json(nonsense))
        with pytest.raises(ComputeFailed, match="All compute adapters failed") as failed:
            ask(driver, coordinator, hosted_keys={"openai": "sk-mine"})
    assert list(failed.value.reasons) == ["decentralized:monad", "hosted:openai"]


def test_the_keys_of_the_environment_are_used(
    driver: SyncDriver | AsyncDriver,
    coordinator: FakeCoordinator,
    hosted: FakeCoordinator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-mine")
    assert ask(driver, coordinator).route == "hosted:anthropic"


def test_a_task_is_put_to_a_hosted_provider_as_a_prompt(
    driver: SyncDriver | AsyncDriver, coordinator: FakeCoordinator, hosted: FakeCoordinator
) -> None:
    fields = {"task_type": "summarize", "input": "A long text.", "user_id": "u"}
    driver.call("run_task", {"monad": coordinator.url}, fields=fields, hosted_keys=HOSTED)
    prompt = sent(hosted, "/openai/v1/chat/completions")["messages"][0]["content"]
    assert prompt.startswith("Summarize")
    assert prompt.endswith("A long text.")


def test_p16_a_private_job_is_not_shown_to_everyone_on_the_way(driver: SyncDriver | AsyncDriver) -> None:
    fields = {"prompt": "my diary", "user_id": "u", "privacy": "PRIVATE"}
    with pytest.raises(InvalidInput, match="use https://"):
        driver.call("run_llm", {"monad": "http://192.0.2.1:4010"}, fields=fields)


@pytest.mark.parametrize(
    "commit", [NO_TRUSTED, problem(503, "unavailable", "later"), Answer(cut=True)], ids=["none", "refused", "lost"]
)
def test_p16_a_private_job_goes_to_no_hosted_provider(
    driver: SyncDriver | AsyncDriver, coordinator: FakeCoordinator, hosted: FakeCoordinator, commit: Answer
) -> None:
    coordinator.on("GET", "/v1/quote", quoted())
    coordinator.on("POST", "/v1/jobs/commit/fast", commit)
    with pytest.raises(ComputeFailed, match="A PRIVATE job goes to no hosted provider"):
        ask(driver, coordinator, privacy="PRIVATE", hosted_keys=HOSTED, preferred_hosted="openai")
    assert sent(coordinator, "/v1/jobs/commit/fast")["privacy_class"] == "PRIVATE"
    assert hosted.requests == []


def test_p16_a_private_job_that_fails_on_its_worker_goes_to_no_hosted_provider(
    driver: SyncDriver | AsyncDriver, coordinator: FakeCoordinator, hosted: FakeCoordinator
) -> None:
    completes(coordinator, polled("failed", {"error": "worker_error"}))
    with pytest.raises(ComputeFailed):
        ask(driver, coordinator, privacy="PRIVATE", hosted_keys=HOSTED)
    assert hosted.requests == []


def test_no_trusted_worker_is_told_as_such(driver: SyncDriver | AsyncDriver, coordinator: FakeCoordinator) -> None:
    coordinator.on("GET", "/v1/quote", quoted())
    coordinator.on("POST", "/v1/jobs/commit/fast", NO_TRUSTED)
    with pytest.raises(ComputeFailed, match="Privacy enforcement: no_trusted_worker") as failed:
        ask(driver, coordinator, privacy="PRIVATE")
    assert (failed.value.code, failed.value.job_id) == ("no_trusted_worker", JOB_ID)


def test_p10_what_was_stopped_goes_to_no_hosted_provider(
    driver: SyncDriver | AsyncDriver, coordinator: FakeCoordinator, hosted: FakeCoordinator
) -> None:
    completes(coordinator, polled("failed", {"error": "aborted"}))
    with pytest.raises(ComputeFailed) as failed:
        ask(driver, coordinator, hosted_keys=HOSTED)
    assert (failed.value.code, hosted.requests) == ("aborted", [])


def test_p10_while_everything_is_stopped_nothing_goes_to_a_hosted_provider(
    driver: SyncDriver | AsyncDriver, coordinator: FakeCoordinator, hosted: FakeCoordinator
) -> None:
    coordinator.on("GET", "/v1/quote", quoted())
    coordinator.on("POST", "/v1/jobs/commit/fast", problem(409, "stopped", "stopped by owner"))
    with pytest.raises(ComputeFailed, match="stopped by owner") as failed:
        ask(driver, coordinator, hosted_keys=HOSTED)
    assert (failed.value.code, hosted.requests) == ("stopped", [])


@pytest.mark.parametrize(("status", "code"), [(401, "unauthorized"), (403, "forbidden")])
def test_a_key_that_is_missing_or_wrong_is_not_paid_around(
    driver: SyncDriver | AsyncDriver, coordinator: FakeCoordinator, hosted: FakeCoordinator, status: int, code: str
) -> None:
    coordinator.on("GET", "/v1/quote", problem(status, code, "see --dispatch"))
    with pytest.raises(ComputeFailed, match="see --dispatch") as failed:
        ask(driver, coordinator, hosted_keys=HOSTED)
    assert (failed.value.code, hosted.requests) == (code, [])


def test_without_fallback_no_hosted_provider_is_asked(
    driver: SyncDriver | AsyncDriver,
    coordinator: FakeCoordinator,
    hosted: FakeCoordinator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "not asked, so nobody minds")
    with pytest.raises(ComputeFailed):
        ask(driver, coordinator, hosted_keys=HOSTED, fallback=False)
    assert hosted.requests == []


@pytest.mark.parametrize(
    "setup",
    [
        {"preferred_hosted": "mistral"},
        {"hosted_keys": {"mistral": "k"}},
        {"coordinator_urls": {}},
        {"coordinator_urls": {"monad": "localhost:4010"}},
        {"coordinator_urls": {"monad": ""}},
        {"coordinator_urls": {"monad": "http://localhost:4010"}, "api_keys": {"solana": "cav_sub_mine"}},
        {"hosted_keys": {"openai": "sk-mine\n"}},
    ],
    ids=str,
)
def test_a_router_that_cannot_work_is_not_made(driver: SyncDriver | AsyncDriver, setup: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        driver.call("quote", fields={"job_type": "TASK"}, **setup)


def test_a_hosted_key_is_shown_to_nobody_on_the_way(
    driver: SyncDriver | AsyncDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://api.example.com/v1")
    with pytest.raises(InvalidInput, match="use https://"):
        driver.call("quote", fields={"job_type": "TASK"}, hosted_keys=HOSTED)


def test_a_coordinator_with_a_certificate_of_somebody_else_is_not_paid_around(
    driver: SyncDriver | AsyncDriver, hosted: FakeCoordinator, tmp_path: Path
) -> None:
    with FakeCoordinator(self_signed(tmp_path, ["127.0.0.1"], NOW).context) as other:
        setup = {"pins": {"monad": "ab" * 32}, "hosted_keys": HOSTED}
        with pytest.raises(ComputeFailed, match="has another key") as failed:
            driver.call("run_llm", {"monad": other.url}, fields={"prompt": "Who?", "user_id": "u"}, **setup)
        assert (failed.value.code, other.requests, hosted.requests) == ("certificate_refused", [], [])


def test_a_hosted_provider_with_a_certificate_of_nobody_is_told_nothing(
    driver: SyncDriver | AsyncDriver, coordinator: FakeCoordinator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with FakeCoordinator(self_signed(tmp_path, ["127.0.0.1"], NOW).context) as nobody:
        monkeypatch.setenv("OPENAI_BASE_URL", nobody.url)
        with pytest.raises(ComputeFailed, match="vouches for openai's certificate"):
            ask(driver, coordinator, hosted_keys={"openai": "sk-mine"})
        assert nobody.requests == []


def test_both_routers_have_the_same_methods_and_parameters() -> None:
    def methods(kind: type) -> dict[str, list[inspect.Parameter]]:
        found = {name: getattr(kind, name) for name in dir(kind) if not name.startswith("_")} | {"": kind}
        return {
            name.removeprefix("a"): list(inspect.signature(each).parameters.values()) for name, each in found.items()
        }

    assert methods(ComputeRouter) == methods(AsyncComputeRouter)
