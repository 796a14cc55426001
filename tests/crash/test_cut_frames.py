"""A proxy between worker and coordinator cuts a frame in two, or swallows it: every job ends once, called once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.processes import Installation, ScriptedWorker, installed, until
from tests.proxy import Conversation, Proxy, proxied, text_of
from tests.scripted_worker import ANSWER

pytestmark = pytest.mark.crash


class Cut:
    """Which frame is to be cut next, in its middle or before its first byte. It is cut once."""

    def __init__(self) -> None:
        self.frame: bytes | None = None
        self.middle = False

    def look(self, piece: bytes) -> int | None:
        if self.frame is None or self.frame not in text_of(piece):
            return None
        self.frame = None
        return len(piece) // 2 if self.middle else 0


class Cutting(Conversation):
    def __init__(self, cut: Cut) -> None:
        self._cut = cut

    def request(self, piece: bytes) -> int | None:
        return self._cut.look(piece)

    answer = request


class Line:
    """A coordinator, and a worker that is connected through a proxy."""

    def __init__(self, here: Installation, proxy: Proxy, worker: ScriptedWorker, cut: Cut) -> None:
        self.here = here
        self.proxy = proxy
        self.worker = worker
        self.cut = cut


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    cut = Cut()
    with installed(tmp_path_factory.mktemp("line")) as here:
        here.start_coordinator()
        with proxied(here.port, lambda: Cutting(cut)) as proxy:
            worker = here.start_worker(slots=1, dial=proxy.port)
            yield Line(here, proxy, worker, cut)
            assert worker.terminate().code == 0


@pytest.mark.parametrize("middle", [True, False], ids=["in its middle", "before it"])
@pytest.mark.parametrize("frame", ["job_assign", "job_started", "job_complete", "complete_ack"])
def test_p13_a_line_cut_at_a_frame_costs_a_job_nothing_but_time(line: Line, frame: str, middle: bool) -> None:
    here, worker, calls, connections = line.here, line.worker, len(line.worker.calls), line.proxy.connections
    line.cut.middle, line.cut.frame = middle, f'"{frame}"'.encode()
    job = here.ended_job(here.submit())
    until("the frame is cut, and the worker comes back", lambda: line.proxy.connections > connections)
    assert line.cut.frame is None
    assert (job["status"], job["output"]) == ("completed", ANSWER)
    assert [one["end"] for one in job["attempts"]].count("completed") == 1
    assert not any(one["counted"] for one in job["attempts"]), "nobody has failed"
    assert len(worker.calls) == calls + 1, "the provider is called once"
    following = here.ended_job(here.submit("again"))
    assert (following["status"], len(following["attempts"])) == ("completed", 1), "the slot is free again"
