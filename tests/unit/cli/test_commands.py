"""Commands against a fake coordinator: what they print where, and their exit codes."""

from __future__ import annotations

import io
import itertools
import json as stdlib_json
import socket
import sys
from typing import Any

import msgspec
import pytest

from cavvy.client import config
from tests.unit.cli.conftest import Cli
from tests.unit.client.fake_coordinator import (
    JOB_ID,
    Answer,
    FakeCoordinator,
    completed,
    delta,
    end,
    event,
    failed,
    job,
    json,
    problem,
    stream,
)

WORKER = {
    "id": "wkr_1", "key": "ab" * 32, "name": "laptop\x1b[31m", "status": "approved",
    "enrolled_at": "2026-01-01T00:00:00.000Z", "online": True, "slots": 2, "free": 1, "models": ["m"],
}  # fmt: skip
ATTEMPT = {
    "attempt": 1, "worker": "ab" * 32, "worker_id": "wkr_1", "granted_at": "", "started_at": None, "ended_at": None,
    "end": "completed", "counted": False, "input_salt": "", "usage": None,
}  # fmt: skip


@pytest.fixture
def answering(coordinator: FakeCoordinator, monkeypatch: pytest.MonkeyPatch) -> FakeCoordinator:
    """A coordinator that completes any job with "Paris." in two pieces."""
    monkeypatch.setenv("CAVVY_URL", coordinator.url)
    coordinator.on("POST", "/v1/jobs", json(job(), 201))
    coordinator.on_job("/events", stream(event("job", job()), delta(1, 0, "Pa"), delta(1, 2, "ris."), end(1, 6)))
    coordinator.on_job("", json(completed("Paris.", attempts=[ATTEMPT])))
    coordinator.on("GET", "/v1/workers/wkr_1", json(WORKER))
    coordinator.on("GET", "/v1/workers", json({"workers": [WORKER]}))
    coordinator.on("GET", "/v1/jobs", json({"jobs": [job()], "cursor": "next"}))
    return coordinator


@pytest.fixture
def unused_url() -> str:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        return f"http://127.0.0.1:{unused.getsockname()[1]}"


def test_run_writes_the_output_once_into_a_pipe(cli: Cli, answering: FakeCoordinator) -> None:
    assert cli("run", "hi", "--max-tokens", "5", "--stop", "a", "--stop", "b") == (0, "Paris.\n", "")
    sent = msgspec.json.decode(answering.requests[0].body)
    assert sent == {"prompt": "hi", "max_tokens": 5, "stop": ["a", "b"]}


def test_run_does_a_task_with_the_text_and_prints_what_people_read_of_it(cli: Cli, answering: FakeCoordinator) -> None:
    assert cli("run", "--task", "summarize", "A text.") == (0, "Paris.\n", "")
    sent = msgspec.json.decode(answering.requests[0].body)
    assert sent == {"job_type": "TASK", "task_type": "summarize", "input": "A text."}


def test_run_reads_a_tasks_text_from_stdin(
    cli: Cli, answering: FakeCoordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("grüß".encode())))
    assert cli("run", "--task", "classify", "-").code == 0
    assert msgspec.json.decode(answering.requests[0].body)["input"] == "grüß"


@pytest.mark.parametrize(
    "option", [["--model", "m"], ["--max-tokens", "5"], ["--temperature", "0"], ["--stop", "x"]], ids=str
)
def test_run_refuses_what_is_said_to_a_model_with_a_task(
    cli: Cli, answering: FakeCoordinator, option: list[str]
) -> None:
    code, _, stderr = cli("run", "--task", "classify", "hi", *option)
    assert (code, answering.requests) == (2, [])
    assert "a task asks no model" in stderr
    assert option[0] in stderr


def test_run_says_a_jobs_place_in_line_and_its_times(cli: Cli, answering: FakeCoordinator) -> None:
    times = {
        "timeout_s": 60, "first_token_timeout_s": 30.5, "stall_timeout_s": 5, "match_window_s": 1, "max_attempts": 2,
        "deadline": "2030-01-31T12:00:00Z", "not_before": "2030-01-30",
    }  # fmt: skip
    options = [word for name, value in times.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    assert cli("run", "hi", "--effort", "deep", "--thread", "t", *options).code == 0
    sent = msgspec.json.decode(answering.requests[0].body)
    assert sent == {"prompt": "hi", "effort": "deep", "thread_id": "t", **times}


def test_run_live_writes_it_as_it_comes(cli: Cli, answering: FakeCoordinator) -> None:
    assert cli("run", "--live", "hi") == (0, "Paris.\n", "")


def test_run_json_writes_the_job(cli: Cli, answering: FakeCoordinator) -> None:
    assert stdlib_json.loads(cli("run", "hi", "--json").out)["output"] == "Paris."


def test_run_live_json_writes_a_line_an_event(cli: Cli, answering: FakeCoordinator) -> None:
    lines = [stdlib_json.loads(line) for line in cli("run", "hi", "--json", "--live").out.splitlines()]
    assert [line["event"] for line in lines] == ["job", "delta", "delta", "end"]


def test_run_reads_stdin(cli: Cli, answering: FakeCoordinator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("from ünder\n".encode())))
    assert cli("run", "-").code == 0
    assert msgspec.json.decode(answering.requests[0].body) == {"prompt": "from ünder\n"}


def test_run_refuses_stdin_that_is_no_text(
    cli: Cli, answering: FakeCoordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff")))
    assert cli("run", "-")[::2] == (2, "cavvy: Invalid value: stdin is not UTF-8 text\n")


def test_run_notes_the_workers_key(cli: Cli, answering: FakeCoordinator) -> None:
    cli("run", "hi")
    assert config.known_workers()["ab" * 32].name == "laptop\x1b[31m"


def test_a_failed_job_is_exit_1_and_says_why(cli: Cli, coordinator: FakeCoordinator) -> None:
    coordinator.on("POST", "/v1/jobs", json(job(), 201))
    coordinator.on_job("/events", stream(delta(1, 0, "Pa"), end(1, 2, None)))
    coordinator.on_job("", json(failed("worker_error", "out of\x1b[31m memory")))
    code, out, err = cli("--url", coordinator.url, "run", "hi")
    assert (code, out) == (1, "")
    assert err == f"cavvy: job {JOB_ID} failed (worker_error): out of memory\n"


def test_why_a_job_waits_is_said_once(cli: Cli, coordinator: FakeCoordinator) -> None:
    coordinator.on("POST", "/v1/jobs", json(job(), 201))
    waiting = event("job", job(queue={"reason": "no worker is connected"}))
    coordinator.on_job("/events", stream(waiting, waiting, delta(1, 0, "Hi"), end(1, 2)))
    coordinator.on_job("", json(completed("Hi")))
    assert cli("--url", coordinator.url, "run", "hi") == (0, "Hi\n", "waiting: no worker is connected\n")


@pytest.mark.parametrize(
    ("queue", "says"),
    [
        ({"position": 3, "estimate_s": 0.2}, "busy. Number 3 in line, starts in about 1 s."),
        ({"position": 1}, "busy. Number 1 in line."),
        ({"estimate_s": 119.0}, "busy. Starts in about 119 s."),
        ({"position": 1000, "estimate_s": 7000.0}, "busy. Number 1000 in line, starts in about 117 min."),
        ({"position": 90_000, "estimate_s": 90_000.0}, "busy. Number 90000 in line, starts in about 25 h."),
    ],
)
def test_a_job_that_waits_says_where_it_stands(
    cli: Cli, coordinator: FakeCoordinator, queue: dict[str, object], says: str
) -> None:
    waiting = job(queue={"reason": "busy.", **queue})
    coordinator.on("POST", "/v1/jobs", json(job(), 201))
    coordinator.on_job("/events", stream(event("job", waiting), delta(1, 0, "Hi"), end(1, 2)))
    coordinator.on_job("", json(waiting), json(completed("Hi")))
    assert cli("--url", coordinator.url, "jobs", "show", JOB_ID)[1].count(says.removeprefix("busy. ")[1:-1]) == 1
    assert cli("--url", coordinator.url, "run", "hi")[2] == f"waiting: {says}\n"


def test_run_live_fails_when_an_attempt_begins_anew(cli: Cli, coordinator: FakeCoordinator) -> None:
    coordinator.on("POST", "/v1/jobs", json(job(), 201))
    coordinator.on_job("/events", stream(delta(1, 0, "Lon"), event("attempt", {"attempt": 2}), hold=True))
    code, out, err = cli("run", "--live", "hi", "--url", coordinator.url)
    assert (code, out) == (1, "Lon\n")
    assert "attempt 2 begins anew" in err


def test_run_into_a_pipe_does_not_mind_a_new_attempt(cli: Cli, coordinator: FakeCoordinator) -> None:
    coordinator.on("POST", "/v1/jobs", json(job(), 201))
    again = stream(delta(1, 0, "Lon"), event("attempt", {"attempt": 2}), delta(2, 0, "Paris."), end(2, 6))
    coordinator.on_job("/events", again)
    coordinator.on_job("", json(completed("Paris.")))
    assert cli("run", "hi", "--url", coordinator.url)[:2] == (0, "Paris.\n")


def test_run_gives_up_at_its_timeout_and_the_job_goes_on(cli: Cli, coordinator: FakeCoordinator) -> None:
    coordinator.on("POST", "/v1/jobs", json(job(), 201))
    coordinator.on_job("/events", stream(event("job", job()), hold=True))
    code, out, err = cli("run", "hi", "--timeout", "0.05", "--url", coordinator.url)
    assert (code, out) == (124, "")
    assert f"cavvy jobs watch {JOB_ID}" in err
    assert not [each for each in coordinator.requests if each.path.endswith("/cancel")]


def test_run_detached_prints_the_id_and_leaves(cli: Cli, answering: FakeCoordinator) -> None:
    code, out, err = cli("run", "hi", "--detach")
    assert (code, out) == (0, f"{JOB_ID}\n")
    assert f"cavvy jobs watch {JOB_ID}" in err
    assert len(answering.requests) == 1
    assert stdlib_json.loads(cli("run", "hi", "--detach", "--json").out)["id"] == JOB_ID


@pytest.mark.parametrize("waits", [["--live"], ["--timeout", "5"]])
def test_detaching_and_waiting_exclude_each_other(cli: Cli, waits: list[str]) -> None:
    assert cli("run", "hi", "--detach", *waits)[:2] == (2, "")


def test_a_commit_nobody_knows_the_outcome_of_is_exit_75(cli: Cli, coordinator: FakeCoordinator) -> None:
    unknown = {"status": 503, "code": "store_unavailable", "detail": "It may have been taken.", "outcome": "unknown"}
    coordinator.on("POST", "/v1/jobs", json(unknown, 503))
    assert cli("run", "hi", "--url", coordinator.url).code == 75


def test_nothing_there_is_exit_3(cli: Cli, unused_url: str) -> None:
    code, out, err = cli("run", "hi", "--url", unused_url)
    assert (code, out) == (3, "")
    assert err == f"cavvy: nothing answers at {unused_url}; start one with `cavvy up`\n"


def test_a_refusal_is_exit_4(cli: Cli, coordinator: FakeCoordinator) -> None:
    coordinator.on("GET", "/v1/jobs", problem(401, "unauthorized", "Give a key."))
    assert cli("jobs", "list", "--url", coordinator.url) == (4, "", "cavvy: Give a key. (401 unauthorized)\n")


@pytest.mark.parametrize(
    "arguments", [["run"], ["nothing"], ["run", "hi", "--nothing"], ["run", "hi", "--timeout", "x"]]
)
def test_wrong_usage_is_exit_2(cli: Cli, arguments: list[str]) -> None:
    code, out, err = cli(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("cavvy: ")
    assert len(err.splitlines()) == 1


def test_an_error_of_ours_is_one_sentence_without_a_traceback(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object, **more: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("cavvy.client.Cavvy.jobs", broken)
    code, out, err = cli("jobs", "list")
    assert (code, out) == (1, "")
    assert err == "cavvy: cavvy broke: ZeroDivisionError('oh'); CAVVY_DEBUG=1 shows where\n"


ANYWHERE = {
    "jobs list": "cursor", "jobs show " + JOB_ID: "status", "workers list": "workers", "workers show wkr_1": "key",
}  # fmt: skip


@pytest.mark.parametrize(("line", "place"), list(itertools.product(ANYWHERE, (0, 1, 2))))
def test_json_is_accepted_before_and_after_any_command(
    cli: Cli, answering: FakeCoordinator, line: str, place: int
) -> None:
    words = line.split()
    code, out, _ = cli(*words[:place], "--json", *words[place:])
    assert code == 0
    assert ANYWHERE[line] in stdlib_json.loads(out)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_url_and_key_are_accepted_before_and_after_any_command(
    cli: Cli, coordinator: FakeCoordinator, place: int
) -> None:
    coordinator.on("GET", "/v1/jobs", json({"jobs": []}))
    words = ["jobs", "list"]
    words[place:place] = ["--url", coordinator.url, "--key", "cav_flag"]
    assert cli(*words).code == 0
    assert coordinator.requests[0].headers["authorization"] == "Bearer cav_flag"


def test_errors_are_json_too(cli: Cli, unused_url: str) -> None:
    code, out, err = cli("jobs", "list", "--url", unused_url, "--json")
    assert (code, out) == (3, "")
    assert stdlib_json.loads(err)["error"] == "no_coordinator"


def test_jobs_list_says_how_to_go_on(cli: Cli, answering: FakeCoordinator) -> None:
    code, out, err = cli("jobs", "list", "--limit", "1")
    assert code == 0
    assert [line.split()[:2] for line in out.splitlines()] == [["ID", "STATUS"], [JOB_ID, "pending"]]
    assert "--cursor next" in err
    assert answering.requests[0].target == "/v1/jobs?limit=1"


def test_jobs_list_takes_filters_and_keeps_them_for_the_next_page(cli: Cli, answering: FakeCoordinator) -> None:
    err = cli("jobs", "list", "--status", "failed", "--worker", "wkr_1", "--q", "three rivers").err
    assert answering.requests[-1].target == "/v1/jobs?status=failed&worker=wkr_1&q=three+rivers"
    assert "cavvy jobs list --status failed --worker wkr_1 --q 'three rivers' --cursor next" in err


def test_jobs_list_knows_workers_by_name(cli: Cli, answering: FakeCoordinator) -> None:
    assert cli("jobs", "list", "--worker", WORKER["name"]).code == 0
    assert answering.requests[-1].target == "/v1/jobs?worker=wkr_1"


def test_what_a_model_thinks_is_folded_and_on_a_terminal_only(
    cli: Cli, answering: FakeCoordinator, coordinator: FakeCoordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    thoughts = [
        event("delta", {"attempt": 1, "offset": 0, "kind": "reasoning", "text": one}, "1.0") for one in ("hm", "!")
    ]
    job_id = "01990000-0000-7000-8000-000000000002"
    coordinator.on("GET", f"/v1/jobs/{job_id}/events", stream(*thoughts, delta(1, 0, "Paris."), end(1, 6)))
    coordinator.on("GET", f"/v1/jobs/{job_id}", json(completed("Paris.") | {"id": job_id}))
    assert cli("jobs", "watch", job_id)[1:] == ("Paris.\n", "")
    monkeypatch.setattr("cavvy.cli._output.stderr_is_terminal", lambda: True)
    folded = "thinking …\nthought 3 characters; they are not part of the answer\n"
    assert cli("jobs", "watch", job_id)[1:] == ("Paris.\n", folded)


def test_jobs_show_tells_the_policy_and_the_price_of_what_was_committed(cli: Cli, coordinator: FakeCoordinator) -> None:
    coordinator.on_job("", json(completed("Paris.", policy="FAST", price="$0.010")))
    assert "policy:  FAST ($0.010)\n" in cli("--url", coordinator.url, "jobs", "show", JOB_ID).out


def test_jobs_show_tells_the_output(cli: Cli, answering: FakeCoordinator) -> None:
    out = cli("jobs", "show", JOB_ID).out
    assert out.startswith(f"job:     {JOB_ID}\nstatus:  completed\n")
    assert out.endswith("output:\nParis.\n")


CHANGE = {
    "id": JOB_ID, "number": 1, "status": "running", "at": "2026-01-01T00:00:02.000Z", "attempt": 1,
    "worker_id": "wrk_1", "stopping": False, "failure_code": None, "stopped_by": None, "usage": None,
    "job_type": "LLM_INFER", "privacy_class": "PUBLIC", "model": "m\x1b[31m", "effort": "standard", "thread_id": None,
    "user_id": "owner", "created_at": "",
}  # fmt: skip
CHANGES = [CHANGE, CHANGE | {"status": "pending"}, CHANGE | {"stopping": True}, CHANGE | {
    "status": "failed", "failure_code": "aborted", "stopped_by": "owner"
}]  # fmt: skip


@pytest.fixture
def changing(answering: FakeCoordinator) -> FakeCoordinator:
    """A coordinator that tells of changes, and then ends the key."""
    events = [event("cursor", {"cursor": "2"}), event("worker", WORKER), *(event("job", one) for one in CHANGES)]
    events += [event("stop", {"stopped": True, "by": "owner", "reason": "wild"}), event("stop", {"stopped": False})]
    ended = problem(401, "unauthorized", "This key has ended.")
    answering.on("GET", "/v1/events", stream(*events, event("bye", {"retry_ms": 1})), ended)
    return answering


def test_jobs_watch_shows_what_is_under_way_and_then_each_change(cli: Cli, changing: FakeCoordinator) -> None:
    code, out, err = cli("jobs", "watch")
    assert (code, err.splitlines()[-1]) == (4, "cavvy: This key has ended. (401 unauthorized)")
    assert out.splitlines()[3:] == [
        f"2026-01-01T00:00:02.000Z  {JOB_ID}  running    m  attempt 1 worker wrk_1",
        f"2026-01-01T00:00:02.000Z  {JOB_ID}  pending    m  waits again after attempt 1",
        f"2026-01-01T00:00:02.000Z  {JOB_ID}  running    m  asked to stop",
        f"2026-01-01T00:00:02.000Z  {JOB_ID}  failed     m  aborted by owner",
    ]
    assert out.splitlines()[0].startswith(f"2026-01-01T00:00:00.000Z  {JOB_ID}  pending")
    assert "owner stopped everything: wild; `cavvy stop --release` ends that\nnew work is taken again\n" in err
    assert "more of them: cavvy jobs list --status running --cursor next" in err


def test_jobs_watch_as_json_is_a_line_an_event(cli: Cli, changing: FakeCoordinator) -> None:
    lines = [stdlib_json.loads(line) for line in cli("jobs", "watch", "--json").out.splitlines()]
    assert [line["event"] for line in lines] == ["cursor", "worker", "job", "job", "job", "job", "stop", "stop"]
    assert (lines[0]["cursor"], lines[1]["worker"]["id"], lines[2]["job"]) == ("2", "wkr_1", CHANGE)


def test_jobs_watch_follows_from_the_beginning(cli: Cli, answering: FakeCoordinator) -> None:
    assert cli("jobs", "watch", JOB_ID)[:2] == (0, "Paris.\n")


def test_jobs_cancel_says_what_is_reached(cli: Cli, coordinator: FakeCoordinator) -> None:
    asked = {"by": "owner", "reason": "enough", "at": "2026-01-01T00:00:00.000Z"}
    coordinator.on("POST", f"/v1/jobs/{JOB_ID}/cancel", json(job("running", cancel_requested=asked), 202))
    assert (
        cli("jobs", "cancel", JOB_ID, "--reason", "enough", "--url", coordinator.url).out
        == f"{JOB_ID}: asked to stop\n"
    )
    assert msgspec.json.decode(coordinator.requests[0].body) == {"reason": "enough"}


def test_workers_list_shows_no_terminal_control(cli: Cli, answering: FakeCoordinator) -> None:
    assert cli("workers", "list").out.splitlines()[1].split()[:3] == ["wkr_1", "laptop", "online"]


def test_workers_list_tells_who_has_no_model_and_runs_tasks_only(cli: Cli, coordinator: FakeCoordinator) -> None:
    phone = {
        "id": "wrk_1", "key": "ab", "name": "phone", "status": "approved", "enrolled_at": "2026-11-21T09:12:03.120Z",
        "online": True, "slots": 4, "free": 4, "job_types": ["TASK"], "models": [],
    }  # fmt: skip
    coordinator.on("GET", "/v1/workers", json({"workers": [phone]}))
    assert cli("workers", "list", "--url", coordinator.url).out.splitlines()[1].endswith("4      none: tasks only")


def test_workers_token_prints_the_whole_line(cli: Cli, coordinator: FakeCoordinator) -> None:
    made: dict[str, Any] = {"token": "t", "join": "cavvy://h:1/t", "expires_at": "soon"}
    coordinator.on("POST", "/v1/worker-tokens", json(made, 201))
    assert cli("workers", "token", "--url", coordinator.url)[:2] == (0, "cavvy worker --join cavvy://h:1/t\n")


def test_a_worker_with_no_model_file_cannot_start(cli: Cli) -> None:
    code, out, err = cli("worker", "--model", "/nowhere/model.gguf")
    assert (code, out) == (6, "")
    assert "no model file /nowhere/model.gguf" in err


def test_a_stored_answer_is_never_a_page(cli: Cli, coordinator: FakeCoordinator) -> None:
    coordinator.on("GET", "/v1/jobs", Answer(b"<html>"))
    code, _, err = cli("jobs", "list", "--url", coordinator.url)
    assert code == 1
    assert "check the URL" in err


def listed(coordinator: FakeCoordinator, *workers: dict[str, Any]) -> None:
    shown = [WORKER | worker for worker in workers]
    coordinator.on("GET", "/v1/workers", json({"workers": shown}))
    for worker in shown:
        coordinator.on("POST", f"/v1/workers/{worker['id']}/pause", json(worker | {"status": "paused"}))


@pytest.mark.parametrize("word", ["wrk_2", "cd" * 32, "desk"])
def test_a_worker_is_meant_by_its_id_its_key_or_its_name(coordinator: FakeCoordinator, cli: Cli, word: str) -> None:
    listed(coordinator, {"id": "wrk_1", "name": "other"}, {"id": "wrk_2", "key": "cd" * 32, "name": "desk"})
    outcome = cli("--url", coordinator.url, "--key", "cav_key", "workers", "pause", word)
    assert (outcome.code, outcome.out) == (
        0,
        "wrk_2 (desk) gets nothing new; `cavvy workers resume` ends that\n",
    )


def test_a_name_that_several_workers_have_is_asked_back(coordinator: FakeCoordinator, cli: Cli) -> None:
    listed(coordinator, {"id": "wrk_1", "name": "desk"}, {"id": "wrk_2", "name": "desk"})
    outcome = cli("--url", coordinator.url, "--key", "cav_key", "workers", "pause", "desk")
    assert outcome.code == 2
    assert "2 workers are called 'desk'; give an id: wrk_1, wrk_2" in outcome.err
    assert [each.method for each in coordinator.requests] == ["GET"]


def test_a_revoked_worker_does_not_stand_in_the_way_of_a_new_one_of_its_name(
    coordinator: FakeCoordinator, cli: Cli
) -> None:
    listed(coordinator, {"id": "wrk_1", "name": "desk", "status": "revoked"}, {"id": "wrk_2", "name": "desk"})
    assert "wrk_2" in cli("--url", coordinator.url, "--key", "cav_key", "workers", "pause", "desk").out


# stop

STOPPED = {"stopped": True, "by": "ann", "reason": "it went wild", "at": "2026-01-01T00:00:00.000Z"}
FOUND = {"running": 3, "pending": 120, "durable": True}


def test_stop_all_says_what_it_found_and_how_to_go_on(cli: Cli, coordinator: FakeCoordinator) -> None:
    coordinator.on("POST", "/v1/stop", json(STOPPED | FOUND))
    out = cli("stop", "--all", "--reason", "it went wild", "--url", coordinator.url).out
    assert out.splitlines() == [
        "everything: 3 running told to stop, 120 waiting ended",
        "new work is refused until `cavvy stop --release`",
    ]
    assert msgspec.json.decode(coordinator.requests[0].body) == {"reason": "it went wild"}


def test_stop_all_without_the_latch_says_so_to_the_coordinator(cli: Cli, coordinator: FakeCoordinator) -> None:
    coordinator.on("POST", "/v1/stop", json(STOPPED | FOUND | {"stopped": False}))
    assert len(cli("stop", "--all", "--no-latch", "--url", coordinator.url).out.splitlines()) == 1
    assert msgspec.json.decode(coordinator.requests[0].body) == {"latch": False}


def test_a_stop_that_is_not_durable_says_so(cli: Cli, coordinator: FakeCoordinator) -> None:
    coordinator.on("POST", "/v1/threads/chat/cancel", json(FOUND | {"durable": False}, 202))
    outcome = cli("stop", "--thread", "chat", "--url", coordinator.url)
    assert (outcome.code, outcome.out) == (0, "thread chat: 3 running told to stop, 120 waiting ended\n")
    assert "takes no writes" in outcome.err


def test_stop_of_several_jobs_goes_on_behind_one_that_is_refused(cli: Cli, coordinator: FakeCoordinator) -> None:
    coordinator.on("POST", "/v1/jobs/nothing/cancel", problem(404, "not_found", "no such job"))
    asked = {"by": "owner", "reason": None, "at": ""}
    coordinator.on("POST", f"/v1/jobs/{JOB_ID}/cancel", json(job("running", cancel_requested=asked), 202))
    outcome = cli("stop", "nothing", JOB_ID, "--url", coordinator.url)
    assert (outcome.code, outcome.out) == (4, f"{JOB_ID}: asked to stop\n")
    assert outcome.err.startswith("nothing: ")


def test_stop_alone_says_whether_everything_is_stopped(cli: Cli, coordinator: FakeCoordinator) -> None:
    coordinator.on("GET", "/v1/stop", json(STOPPED))
    outcome = cli("stop", "--url", coordinator.url)
    assert outcome.out == "stopped by ann at 2026-01-01T00:00:00.000Z: it went wild\n"
    assert "cavvy stop --release" in outcome.err


def test_stop_release_lets_work_go_on(cli: Cli, coordinator: FakeCoordinator) -> None:
    coordinator.on("POST", "/v1/stop/release", json({"stopped": False}))
    assert cli("stop", "--release", "--url", coordinator.url).out == "not stopped: new work is accepted\n"


def test_stop_takes_one_kind_of_thing_at_a_time(cli: Cli) -> None:
    assert cli("stop", "--all", "--thread", "chat").code == 2


def test_run_is_refused_with_who_stopped_everything_when_why_and_how_to_go_on(
    cli: Cli, coordinator: FakeCoordinator
) -> None:
    detail = "ann stopped everything of this tenant at … it went wild. … `cavvy stop --release` …"
    coordinator.on("POST", "/v1/jobs", problem(409, "stopped", detail))
    outcome = cli("run", "hi", "--url", coordinator.url)
    assert outcome.code == 4
    assert detail in outcome.err
