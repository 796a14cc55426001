"""Workers with an answer that is too long, or with a wrong clock: each costs at most the one job."""

from __future__ import annotations

from cavvy import defaults
from tests.processes import Installation

HOUR_S = 3600


def test_a_result_over_the_limit_ends_in_one_clear_failure(installation: Installation) -> None:
    installation.start_coordinator()
    worker = installation.start_worker()
    job = installation.ended_job(installation.submit(f"repeat {defaults.MAX_OUTPUT_BYTES + 1} x"))
    assert (job["status"], job["failure"]["code"]) == ("failed", "output_too_large")
    assert (len(job["attempts"]), len(worker.calls)) == (1, 1)
    assert installation.ended_job(installation.submit())["status"] == "completed"
    assert worker.heard.count("register_ack") == 1, "its connection was closed"


def test_the_longest_result_fits_even_if_each_byte_takes_six_in_json(installation: Installation) -> None:
    installation.start_coordinator()
    worker = installation.start_worker()
    job = installation.ended_job(installation.submit(f"repeat {defaults.MAX_OUTPUT_BYTES} \x01"))
    assert (job["status"], job["output"]) == ("completed", "\x01" * defaults.MAX_OUTPUT_BYTES)
    assert worker.heard.count("register_ack") == 1


def test_a_worker_whose_clock_is_an_hour_off_completes_its_jobs_and_its_skew_is_shown(
    installation: Installation,
) -> None:
    installation.start_coordinator()
    installation.environment["CAVVY_TEST_CLOCK_S"] = str(HOUR_S)
    worker = installation.start_worker()
    assert installation.ended_job(installation.submit())["status"] == "completed"
    (shown,) = installation.http.get("/v1/workers").json()["workers"]
    assert abs(shown["skew_ms"] - HOUR_S * 1000) < 60_000
    assert f"skew_ms:          {shown['skew_ms']}" in installation.cavvy("workers", "show", worker.name).out
    assert "clock differs from the coordinator's" in worker.err
