"""Is the port free, does a coordinator answer, does it know the key, and what time is it there?"""

from __future__ import annotations

import errno
import socket
import time
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import NamedTuple

import httpx
import msgspec
import psutil

from cavvy import defaults
from cavvy.cli._doctor.finding import Finding, fine, unknown, wrong
from cavvy.client import _http
from cavvy.client.config import Connection, Setting, Settings
from cavvy.errors import ClientError
from cavvy.protocol.rest_health import Health
from cavvy.protocol.rest_workers import WorkerList, WorkerView

__all__ = ["Answer", "ask", "look_at_clocks", "look_at_coordinator", "look_at_key", "look_at_port"]


class Answer(NamedTuple):
    """What came back from where the coordinator should be. `ahead_s`: its clock is so far ahead of ours."""

    health: Health | None = None
    ahead_s: float | None = None
    key_status: int | None = None
    workers: tuple[WorkerView, ...] = ()
    failure: str = ""

    @property
    def is_open(self) -> bool:
        """Whether it knows the key, whatever that may do."""
        return self.key_status in (HTTPStatus.OK, HTTPStatus.FORBIDDEN)


def ask(place: Connection) -> Answer:
    """Two requests, which change nothing."""
    try:
        with httpx.Client(**_http.options(place), timeout=defaults.DOCTOR_TIMEOUT_S) as client:
            return _asked(client)
    except (httpx.HTTPError, ClientError) as error:
        return Answer(failure=str(error) or type(error).__name__)


def _asked(client: httpx.Client) -> Answer:
    begun_s = time.time()
    answer = client.get("/v1/health")
    middle_s = (begun_s + time.time()) / 2
    try:
        health = msgspec.json.decode(answer.content, type=Health)
    except msgspec.DecodeError:
        return Answer(failure=f"it answered {answer.status_code}, but not as Cavvy does")
    listed = client.get("/v1/workers")
    return Answer(
        health=health,
        ahead_s=_stamp_s(answer) - middle_s if "date" in answer.headers else None,
        key_status=listed.status_code,
        workers=_workers(listed),
    )


def _stamp_s(answer: httpx.Response) -> float:
    """The answer's Date, which is cut to whole seconds, in the middle of its second."""
    return parsedate_to_datetime(answer.headers["date"]).timestamp() + 0.5


def _workers(answer: httpx.Response) -> tuple[WorkerView, ...]:
    if answer.status_code != HTTPStatus.OK:
        return ()
    return tuple(msgspec.json.decode(answer.content, type=WorkerList).workers)


def look_at_coordinator(settings: Settings, answer: Answer) -> list[Finding]:
    url = settings.url.value
    if answer.health is not None:
        return [fine("coordinator", f"{url} answers, version {answer.health.version}")]
    return [unknown("coordinator", f"nothing useful answers at {url}: {answer.failure}", "cavvy up")]


def look_at_key(settings: Settings, answer: Answer) -> list[Finding]:
    """Whether the key opens the coordinator that answers."""
    if answer.health is None:
        return []
    if settings.key.value is None:
        what = f"there is no key for {settings.url.value}"
    elif answer.key_status == HTTPStatus.UNAUTHORIZED:
        what = f"the key from {settings.key.origin} does not open {settings.url.value}"
    else:
        return [fine("key", f"the key from {settings.key.origin} opens {settings.url.value}")]
    return [
        wrong(
            "key",
            what,
            why="Without a valid key no command but `health` is answered.",
            fix="unset CAVVY_API_KEY"
            if settings.key.origin == "CAVVY_API_KEY"
            else "ask the coordinator's owner for a key, then: export CAVVY_API_KEY=KEY",
        )
    ]


def look_at_clocks(answer: Answer) -> list[Finding]:
    """The coordinator's clock against ours, each connected worker's against the coordinator's."""
    clocks = [] if answer.ahead_s is None else [("the coordinator's clock", "this machine's", answer.ahead_s)]
    clocks += [
        (f"the clock of worker {worker.name}", "the coordinator's", worker.skew_ms / 1000)
        for worker in answer.workers
        if worker.skew_ms is not None
    ]
    if not clocks:
        return [unknown("clocks", "no coordinator answers whose clock could be compared")]
    skewed = [
        wrong(
            "clocks",
            f"{whose} is {abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} {reference}",
            why="Times on jobs and receipts contradict each other, and tokens expire too early or too late.",
            fix="set both machines' clocks by the network: sudo timedatectl set-ntp true",
        )
        for whose, reference, ahead_s in clocks
        if abs(ahead_s) * 1000 > defaults.SKEW_WARN_MS
    ]
    return skewed or [fine("clocks", f"{len(clocks)} compared; none is off by {defaults.SKEW_WARN_MS / 1000:.0f} s")]


def look_at_port(port: Setting[int], *, running_at: str | None) -> list[Finding]:
    """`running_at`: where our own coordinator answers, so that no other port is asked for."""
    if running_at is not None:
        return [fine("port", f"the coordinator listens at {running_at}")]
    if port.value == 0 or _is_free(port.value):
        return [fine("port", f"port {port.value} is free" if port.value else "any free port is taken")]
    holder = _listener(port.value)
    return [
        wrong(
            "port",
            f"port {port.value} is taken" + (f" by process {holder.pid} ({holder.name()})" if holder else ""),
            why="A coordinator cannot start there.",
            fix=f"stop what listens there, or take another one: cavvy up --port {min(port.value + 1, 65535)}",
        )
    ]


def _is_free(port: int) -> bool:
    """Whether a coordinator could listen; nobody notices the try."""
    for family, host in ((socket.AF_INET, defaults.HOST), (socket.AF_INET6, "::1")):
        try:
            with socket.socket(family, socket.SOCK_STREAM) as one:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                one.bind((host, port))
                one.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
    return True


def _listener(port: int) -> psutil.Process | None:
    """Who listens, if this account may know."""
    try:
        found = psutil.net_connections("tcp")
        pids = [each.pid for each in found if each.status == psutil.CONN_LISTEN and each.laddr[1:] == (port,)]
        return psutil.Process(pids[0]) if pids and pids[0] else None
    except (psutil.Error, OSError):
        return None
