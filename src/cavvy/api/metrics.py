"""`GET /metrics`: the whole coordinator in numbers, for Prometheus. A scrape counts no jobs: that is done already."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterator

import psutil
from litestar import Response, get

from cavvy.api.auth import MEASURES
from cavvy.api.documented import documented
from cavvy.api.examples import METRICS
from cavvy.api.exposition import MEDIA_TYPE, Family, Sample, counter, gauge, histogram, render
from cavvy.api.jobs import AnyRequest, known_query
from cavvy.api.services import Services, services
from cavvy.coordinator.meter import Meter
from cavvy.core.job import TERMINAL, AttemptEnd, Effort, FailureCode, JobStatus, WorkerStatus
from cavvy.version import __version__

__all__ = ["metrics"]


@get(
    "/metrics",
    operation_class=documented(
        "The coordinator in numbers",
        answers={200: ("Prometheus' text format, version 0.0.4", str)},
        example=METRICS,
        media_type="text/plain",
    ),
)
async def metrics(request: AnyRequest) -> Response[str]:
    """Of all tenants together, hence with a key of the role `metrics`, or the operator's.

    Counters begin with the process. No label names a job, a key, a user, a tenant or a model.
    """
    here = services(request)
    here.caller(request, *MEASURES)
    known_query(request)
    text = render([*_jobs(here), *_done(here.meter), *_workers(here), *_store(here), *_open(here), *_process()])
    return Response(text, media_type=MEDIA_TYPE, headers={"Cache-Control": "no-store"})


def _jobs(here: Services) -> Iterator[Family]:
    build = Sample(1, {"version": __version__, "python": platform.python_version()})
    yield Family("cavvy_build_info", "gauge", "Which version this is.", [build])
    samples = [
        Sample(here.engine.census.count(status, effort), {"status": status, "effort": effort})
        for status in JobStatus
        if status not in TERMINAL
        for effort in Effort
    ]
    yield Family("cavvy_jobs", "gauge", "Jobs that have not ended.", samples)


def _done(meter: Meter) -> Iterator[Family]:
    submitted = {one.value: meter.submitted[one] for one in Effort}
    yield counter("cavvy_jobs_submitted_total", "Jobs accepted.", submitted, "effort")
    yield counter("cavvy_jobs_completed_total", "Jobs completed.", meter.completed)
    failed = {one.value: meter.failed[one] for one in FailureCode}
    yield counter("cavvy_jobs_failed_total", "Jobs failed; code aborted is a stop.", failed, "code")
    yield counter("cavvy_attempts_granted_total", "Jobs given to a worker, the same ones again too.", meter.granted)
    ends = {one.value: meter.attempts[one] for one in AttemptEnd}
    yield counter("cavvy_attempts_ended_total", "Attempts ended; a lost one's job was given away again.", ends, "end")
    tokens = {"input": meter.input_tokens, "output": meter.output_tokens}
    yield counter("cavvy_tokens_total", "Tokens, as the workers count them.", tokens, "kind")
    yield histogram("cavvy_job_wait_seconds", "From submitting to the first worker.", meter.waits)
    yield histogram("cavvy_job_first_token_seconds", "From submitting to the first text.", meter.first_tokens)
    yield histogram("cavvy_job_run_seconds", "From a worker's start to the job's end.", meter.runs)
    yield histogram("cavvy_job_stop_seconds", "From asking a running job to stop to its end.", meter.stops)


def _workers(here: Services) -> Iterator[Family]:
    online = here.sessions.online().values()
    statuses = Counter(one.status for one in online)
    shown = {one.value: statuses[one] for one in WorkerStatus if one is not WorkerStatus.REVOKED}
    yield gauge("cavvy_workers_online", "Workers that are connected.", shown, "status")
    slots = sum(one.slots for one in online)
    free, stopping = sum(one.free for one in online), sum(one.stopping for one in online)
    states = {"free": free, "busy": max(0, slots - free - stopping), "stopping": stopping}
    about = "What connected workers can do at once; stopping: the model goes on with what was stopped."
    yield gauge("cavvy_worker_slots", about, states, "state")
    age_s = here.sessions.oldest_heartbeat_s()
    yield gauge("cavvy_worker_heartbeat_age_seconds", "Since the worker silent for longest was heard.", age_s)


def _store(here: Services) -> Iterator[Family]:
    yield gauge("cavvy_store_failing", "1 while the store takes no writes.", here.engine.failing)
    yield histogram("cavvy_store_commit_seconds", "What a transaction took.", here.meter.commits)
    yield histogram("cavvy_store_commit_writes", "What a transaction wrote.", here.meter.writes)


def _open(here: Services) -> Iterator[Family]:
    streams = {"job": here.hub.streams, "tenant": here.feed.listeners}
    yield gauge("cavvy_event_streams", "Streams of events that are open.", streams, "of")
    yield gauge("cavvy_worker_sockets", "Workers' WebSockets, those that are logging in too.", here.sessions.sockets)
    yield gauge("cavvy_connections", "Connections, WebSockets too.", here.connections())


def _process() -> Iterator[Family]:
    """What every process has, under the names that every client library uses."""
    this = psutil.Process()
    with this.oneshot():
        cpu, memory, started_s = this.cpu_times(), this.memory_info(), this.create_time()
    yield counter("process_cpu_seconds_total", "User and system CPU time.", cpu.user + cpu.system)
    yield gauge("process_resident_memory_bytes", "Resident memory.", memory.rss)
    yield gauge("process_start_time_seconds", "When it started, in seconds since 1970.", started_s)
    yield gauge("process_open_fds", "Open files.", this.num_fds())
