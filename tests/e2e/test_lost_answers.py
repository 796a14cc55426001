"""P11: whatever cuts a submit off, the client repeats it with its key, and it stays one job."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from cavvy.client import AsyncCavvy, Cavvy
from tests.processes import Installation, installed
from tests.proxy import Conversation, Proxy, proxied

pytestmark = pytest.mark.e2e

RUNS = 100
TOGETHER = 10
KEY = re.compile(rb"(?i)idempotency-key: *([^\r]+)")


class CutOnce(Conversation):
    """Cuts each submit off the first time it is seen: `in_request`, else when the answer comes back."""

    def __init__(self, keys: set[bytes], *, in_request: bool) -> None:
        self._keys = keys
        self._in_request = in_request
        self._first = False

    def request(self, piece: bytes) -> int | None:
        found = KEY.search(piece)
        if found is None:
            return None
        self._first = found[1] not in self._keys
        self._keys.add(found[1])
        return len(piece) // 2 if self._in_request and self._first else None

    def answer(self, _: bytes) -> int | None:
        return 0 if self._first else None


class Cut:
    """A coordinator, a proxy in front of it, the keys that were seen, and the jobs that were there before a test."""

    def __init__(self, here: Installation, proxy: Proxy, keys: set[bytes]) -> None:
        self.here = here
        self.url = f"http://127.0.0.1:{proxy.port}"
        self.proxy = proxy
        self.keys = keys
        self.before: set[str] = set()

    @property
    def new(self) -> set[str]:
        return set(self.here.job_ids()) - self.before


@pytest.fixture(scope="module", params=["before the answer", "inside the request"])
def cutting(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cut]:
    keys: set[bytes] = set()
    inside = request.param == "inside the request"
    with installed(tmp_path_factory.mktemp("cut")) as here:
        here.start_coordinator()
        with proxied(here.port, lambda: CutOnce(keys, in_request=inside)) as proxy:
            yield Cut(here, proxy, keys)


@pytest.fixture
def cut(cutting: Cut) -> Cut:
    cutting.before = set(cutting.here.job_ids())
    cutting.keys.clear()
    return cutting


def test_p11_100_submits_of_the_client_that_are_cut_off_are_100_jobs(cut: Cut) -> None:
    with Cavvy(cut.url, cut.here.key) as client, ThreadPoolExecutor(TOGETHER) as threads:
        jobs = list(threads.map(lambda number: client.submit(f"prompt {number}"), range(RUNS)))
    assert len({job.id for job in jobs}) == RUNS
    assert cut.new == {job.id for job in jobs}
    assert len(cut.keys) == RUNS, "each submit had a key of its own"
    assert cut.proxy.connections > RUNS, "each was cut off once"


async def test_p11_100_submits_of_the_async_client_that_are_cut_off_are_100_jobs(cut: Cut) -> None:
    async with AsyncCavvy(cut.url, cut.here.key) as client:
        jobs = []
        for _ in range(RUNS // TOGETHER):
            jobs += await asyncio.gather(*(client.submit(f"prompt {number}") for number in range(TOGETHER)))
    assert cut.new == {job.id for job in jobs}
    assert (len(jobs), len(cut.keys)) == (RUNS, RUNS)


def test_p11_a_batch_that_is_cut_off_is_one_batch(cut: Cut) -> None:
    with Cavvy(cut.url, cut.here.key) as client:
        jobs = client.submit_many([f"prompt {number}" for number in range(RUNS)])
    assert cut.new == {job.id for job in jobs}
    assert (len(jobs), len(cut.keys)) == (RUNS, 1)


def test_p11_the_command_line_repeats_a_submit_that_is_cut_off(cut: Cut) -> None:
    cut.here.environment["CAVVY_API_KEY"] = cut.here.key  # the file's key is for the address in the file
    said = cut.here.cavvy("run", "--detach", "--json", "--url", cut.url, "hi")
    assert said.code == 0, said.err
    assert cut.new == {json.loads(said.out)["id"]}
    assert len(cut.keys) == 1


def test_p11_racing_connections_a_lost_answer_and_a_restart_are_one_job(installation: Installation) -> None:
    coordinator = installation.start_coordinator()

    def post(port: int) -> httpx.Response:
        headers = {"Authorization": f"Bearer {installation.key}", "Idempotency-Key": "once"}
        url = f"http://127.0.0.1:{port}/v1/jobs"
        return httpx.post(url, json={"prompt": "hi"}, headers=headers, trust_env=False, timeout=90)

    with proxied(installation.port, lambda: CutOnce(set(), in_request=False)) as cutting:
        with ThreadPoolExecutor(TOGETHER) as threads:
            lost = threads.submit(post, cutting.port)
            racing = list(threads.map(post, [installation.port] * (TOGETHER - 1)))
        assert isinstance(lost.exception(), httpx.TransportError)
    coordinator.kill()
    installation.start_coordinator()
    again = post(installation.port)
    assert again.status_code == 200
    assert {one.json()["id"] for one in [*racing, again]} == set(installation.job_ids())
    assert len(installation.job_ids()) == 1
