"""The page "Troubleshooting" knows every sentence that a job says when it waits, and what it names exists."""

from __future__ import annotations

import re

import pytest

from cavvy.api.problems import CODES
from cavvy.core.job import FailureCode, JobType, Needs, Terms, WorkerStatus
from cavvy.core.matching import Held, Offer, Profile, waiting_reason
from cavvy.core.times import reason_with_times
from tests.docs.test_api_page import ROOT
from tests.unit.cli.every_command import commands

PAGE = (ROOT / "docs" / "howto" / "troubleshooting.md").read_text(encoding="utf-8")
METRICS = (ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
#: The sentences of its tables, up to where they say something of one job.
SENTENCES = [re.split("[…']", one)[0].strip() for one in re.findall(r"^\| `([^`]+)` \|", PAGE, re.MULTILINE)]


def offer(status: WorkerStatus, model: str = "m", held: Held | None = None) -> Offer:
    profile = Profile(tenant="t", job_types=frozenset({JobType.LLM_INFER}), models=frozenset({model}))
    return Offer(profile, status, held)


@pytest.mark.parametrize(
    "online",
    [
        pytest.param([], id="nobody"),
        pytest.param([offer(WorkerStatus.APPROVED)], id="busy"),
        pytest.param([offer(WorkerStatus.PAUSED)], id="paused"),
        pytest.param([offer(WorkerStatus.WAITING_APPROVAL)], id="waiting for approval"),
        pytest.param([offer(WorkerStatus.DRAINING)], id="draining"),
        pytest.param([offer(WorkerStatus.APPROVED, "other")], id="another model"),
        *(pytest.param([offer(WorkerStatus.APPROVED, held=one)], id=one.name.lower()) for one in Held),
    ],
)
def test_every_reason_to_wait_is_on_the_page(online: list[Offer]) -> None:
    reason = waiting_reason(Needs(tenant="t", model="m"), online)
    assert [one for one in SENTENCES if reason.startswith(one)]


def test_every_sentence_about_a_job_that_may_not_start_yet_is_on_the_page() -> None:
    source = (ROOT / "src" / "cavvy" / "core" / "queued.py").read_text(encoding="utf-8")
    said = [re.split("[{]", one)[0] for one in re.findall(r'Queued\(f?"([^"]+)"', source)]
    said.append(reason_with_times("", Terms(not_before_ms=2**40), 0))
    assert len(said) == 4
    assert [one for one in said if not any(one.startswith(known) for known in SENTENCES)] == []


def test_every_code_a_job_can_fail_with_now_is_on_the_page() -> None:
    of_features_to_come = {
        FailureCode.NO_TRUSTED_WORKER, FailureCode.BUDGET_EXCEEDED, FailureCode.INVALID_OUTPUT,
    }  # fmt: skip
    assert [one.value for one in FailureCode if one not in of_features_to_come and f"`{one}`" not in PAGE] == []


def test_every_command_it_names_exists() -> None:
    named = {tuple(one.split()) for one in re.findall(r"cavvy ([a-z]+(?: [a-z]+)?)", PAGE)}
    known = {tuple(one.split()) for one in commands()}
    groups = {one[0] for one in known if len(one) == 2}
    assert [one for one in named if (one not in known if one[0] in groups else (one[0],) not in known)] == []


def test_every_number_it_names_exists() -> None:
    assert [
        one for one in re.findall(r"cavvy_[a-z_]+", PAGE) if f"`{one}" not in METRICS and one != "cavvy_worker"
    ] == []


def test_every_refusal_it_names_exists() -> None:
    named = re.findall(r"^\| (\d{3}) `([a-z_]+)`", PAGE, re.MULTILINE)
    assert named
    assert [one for one in named if CODES[one[1]][0] != int(one[0])] == []
