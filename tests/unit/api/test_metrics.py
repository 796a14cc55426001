"""`GET /metrics`: numbers that Prometheus can read, that are right, and that name nobody."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from cavvy.api.exposition import Family, Sample, render
from cavvy.core.job import Effort
from cavvy.errors import RolledBack
from cavvy.store.sqlite import SqliteStore
from cavvy.testing import FailingStore, LiveStack, ScriptedProvider, live_stack
from tests.unit.api.event_stream import Stream

ROOT = Path(__file__).parents[3]
HOUR_S = 3600


async def scraped(stack: LiveStack) -> str:
    headers = {"Authorization": f"Bearer {stack.server.operator_key}"}
    answer = await stack.http.get("/metrics", headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return answer.text


async def numbers(stack: LiveStack) -> dict[str, float]:
    """Every sample by its name and labels."""
    return {
        "".join([one.name, *(f" {value}" for value in one.labels.values())]): one.value
        for family in text_string_to_metric_families(await scraped(stack))
        for one in family.samples
    }


async def run(stack: LiveStack, **fields: Any) -> Any:
    return (await stack.http.post("/v1/jobs", json={"prompt": "hi", **fields}, headers={"Prefer": "wait=60"})).json()


async def test_prometheus_own_parser_reads_every_family(stack: LiveStack) -> None:
    await stack.add_worker(ScriptedProvider(["hi"]))
    await run(stack)
    families: list[Metric] = list(text_string_to_metric_families(await scraped(stack)))
    assert len({one.name for one in families}) == len(families)
    for one in families:
        assert one.name.startswith(("cavvy_", "process_"))
        assert one.documentation
        assert one.type in ("counter", "gauge", "histogram")
        assert one.samples
    assert {one.name for one in families if one.type == "counter"} <= {
        sample.name.removesuffix("_total") for one in families for sample in one.samples
    }


async def test_a_completed_job_is_counted_everywhere(stack: LiveStack) -> None:
    await stack.add_worker(ScriptedProvider(["one ", "two"]))
    used = (await run(stack, effort="deep"))["usage"]
    found = await numbers(stack)
    ones = [
        "cavvy_jobs_submitted_total deep", "cavvy_jobs_completed_total", "cavvy_attempts_granted_total",
        "cavvy_attempts_ended_total completed", "cavvy_job_wait_seconds_count", "cavvy_job_first_token_seconds_count",
        "cavvy_job_run_seconds_count", "cavvy_workers_online approved",
    ]  # fmt: skip
    assert {name: found[name] for name in ones} == dict.fromkeys(ones, 1)
    assert (found["cavvy_tokens_total input"], found["cavvy_tokens_total output"]) == (
        used["input_tokens"],
        used["output_tokens"],
    )
    assert sum(value for name, value in found.items() if name.startswith("cavvy_jobs ")) == 0
    assert found["cavvy_store_commit_seconds_count"] == found["cavvy_store_commit_writes_count"] >= 2
    assert found["cavvy_store_commit_writes_sum"] >= 3


@pytest.mark.usefixtures("beating_fast")
async def test_live_jobs_and_slots_are_gauges(stack: LiveStack) -> None:
    gate = asyncio.Event()
    await stack.add_worker(ScriptedProvider(gate=gate), slots=1)
    for effort in Effort:
        await stack.http.post("/v1/jobs", json={"prompt": "hi", "effort": effort})
    while (found := await numbers(stack))["cavvy_worker_slots busy"] != 1:
        await asyncio.sleep(0.01)
    live = {name: value for name, value in found.items() if name.startswith("cavvy_jobs ") and value}
    assert (len(live), sum(live.values())) == (5, 5)
    assert sum(value for name, value in live.items() if name.startswith("cavvy_jobs pending")) == 4
    assert found["cavvy_worker_slots free"] == 0
    gate.set()


async def test_a_stopped_job_is_counted_as_aborted_with_how_long_it_took(stack: LiveStack) -> None:
    provider = ScriptedProvider(gate=asyncio.Event())
    await stack.add_worker(provider)
    job = (await stack.http.post("/v1/jobs", json={"prompt": "hi"})).json()
    await provider.begun.wait()
    await stack.http.post(f"/v1/jobs/{job['id']}/cancel")
    await stack.http.get(f"/v1/jobs/{job['id']}", params={"wait": 60})
    found = await numbers(stack)
    assert (found["cavvy_jobs_failed_total aborted"], found["cavvy_attempts_ended_total aborted"]) == (1, 1)
    assert found["cavvy_job_stop_seconds_count"] == 1


async def test_open_streams_sockets_and_connections_are_counted(stack: LiveStack) -> None:
    await stack.add_worker(ScriptedProvider())
    async with stack.http.stream("GET", "/v1/events") as response:
        await Stream(response).next()
        found = await numbers(stack)
    assert (found["cavvy_event_streams tenant"], found["cavvy_worker_sockets"]) == (1, 1)
    assert found["cavvy_connections"] >= 2
    assert 0 <= found["cavvy_worker_heartbeat_age_seconds"] < HOUR_S


async def test_a_store_that_takes_no_writes_shows(tmp_path: Path) -> None:
    store = FailingStore(SqliteStore(tmp_path / "data"))
    async with live_stack(tmp_path / "data", store) as stack:
        assert (await numbers(stack))["cavvy_store_failing"] == 0
        store.fail_commits = [RolledBack("the disk is full")] * 100_000
        submitting = asyncio.create_task(stack.http.post("/v1/jobs", json={"prompt": "hi"}))
        while not (await numbers(stack))["cavvy_store_failing"]:
            pass
        store.fail_commits.clear()
        await submitting
        assert (await numbers(stack))["cavvy_store_failing"] == 0


async def test_no_label_names_anybody_or_anything_that_comes_from_outside(stack: LiveStack) -> None:
    await stack.add_worker(ScriptedProvider(["canary"], models=("canary-model",)), name="canary-worker")
    made = (await stack.http.post("/v1/keys", json={"role": "submit", "name": "canary", "user": "canary"})).json()
    headers = {"Authorization": f"Bearer {made['key']}", "Prefer": "wait=60"}
    body = {"prompt": "canary", "model": "canary-model", "thread_id": "canary", "metadata": {"canary": "canary"}}
    job = (await stack.http.post("/v1/jobs", json=body, headers=headers)).json()
    assert job["status"] == "completed"
    text = await scraped(stack)
    assert not [one for one in ("canary", job["id"], made["id"], "wrk_", "default", "cav_") if one in text]
    labels = {name for one in text_string_to_metric_families(text) for each in one.samples for name in each.labels}
    assert labels == {"status", "effort", "code", "end", "kind", "state", "of", "le", "version", "python"}


async def test_a_scrape_with_a_metrics_key_works_and_the_key_opens_nothing_else(stack: LiveStack) -> None:
    operator = {"Authorization": f"Bearer {stack.server.operator_key}"}
    made = (await stack.http.post("/v1/keys", json={"role": "metrics"}, headers=operator)).json()
    assert (made["role"], made["tenant"], made["key"][:8]) == ("metrics", None, "cav_met_")
    headers = {"Authorization": f"Bearer {made['key']}"}
    assert (await stack.http.get("/metrics", headers=headers)).status_code == 200
    assert (await stack.http.get("/v1/tenants", headers=headers)).status_code == 403


async def test_an_admin_makes_no_metrics_key(stack: LiveStack) -> None:
    answer = await stack.http.post("/v1/keys", json={"role": "metrics"})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def test_what_a_label_holds_is_escaped() -> None:
    text = render([Family("a", "gauge", "b", [Sample(1, {"x": 'back\\slash "quoted"\nnext'})])])
    (family,) = text_string_to_metric_families(text)
    assert family.samples[0].labels == {"x": 'back\\slash "quoted"\nnext'}


async def test_the_page_lists_exactly_what_there_is(stack: LiveStack) -> None:
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    listed = {line.split("`")[1] for line in page.splitlines() if line.startswith("| `")}
    shown = {line.split()[2] for line in (await scraped(stack)).splitlines() if line.startswith("# TYPE")}
    assert listed == shown
