"""The workers of Dispatch's in a simulation: some do what they should, some anything else that a worker may do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from enum import StrEnum, auto
from random import Random

from websockets.exceptions import ConnectionClosedError

from cavvy.core import javascript
from cavvy.core.job import JobType
from cavvy.testing.simulation.coordinator import SimulatedCoordinator
from cavvy.testing.simulation.dispatched import Hand
from cavvy.testing.simulation.errands import right_output
from cavvy.testing.simulation.history import History
from cavvy.testing.simulation.legacy_frames import FORGERIES, Frame, LegacyVoice, as_text
from cavvy.testing.simulation.network import LegacyLink

__all__ = ["Odd", "SimulatedLegacyWorker"]

HEARTBEAT_S = 10.0
#: How long after its answer to the challenge a worker says what it has left of earlier sockets.
PROVEN_S = 0.5
STUBS: tuple[Frame | None, ...] = (
    {"error": "the model is gone"},
    {"text": "[STUB] made up", "model": "stub-v1"},
    None,
)


class Odd(StrEnum):
    """What a worker may do with a job instead."""

    VANISH = auto()
    LATE = auto()
    HANG = auto()
    FORGE = auto()
    STUB = auto()
    REJECT = auto()
    MEDDLE = auto()  # answers a job that it was not given, before its own
    COME_BACK = auto()  # vanishes, and answers over the next socket
    HANG_UP = auto()  # between the output and the receipt, which comes over the next socket


class SimulatedLegacyWorker:
    """One machine with such a worker on it, which starts again by itself. `odd` is how often it does not do with a job
    what it should.
    """

    def __init__(self, name: str, history: History, dice: Random, coordinator: SimulatedCoordinator) -> None:
        self.name = name
        self.history = history
        self.dice = dice
        self.piece_s = 0.5
        self.odd = 0.0
        self.down_s = (0.1, 5.0)
        self.unreachable_until_s = 0.0
        self.link: LegacyLink | None = None
        self._coordinator = coordinator
        self._voice = LegacyVoice(dice.randbytes(32))
        self._job_types = dice.choice((("LLM_INFER", "TASK"), ("LLM_INFER", "TASK"), ("TASK",), ("LLM_INFER",)))
        self._kind = dice.choice(("DESKTOP", "SEEKER"))
        self._unsaid: list[Frame] = []
        self._earlier = self._voice.completion("an earlier one", {"text": "done", "model": "m"})
        self._life: asyncio.Task[None] | None = None
        self._running: asyncio.Task[None] | None = None
        self._known: set[str] = set()  # what was given or answered over this socket
        self._busy: str | None = None  # with which of it
        hand = Hand(job_types=frozenset(JobType(one) for one in self._job_types), legacy=True)
        history.enlisted(self.key, hand)

    @property
    def key(self) -> str:
        return self._voice.key

    @property
    def now_s(self) -> float:
        return asyncio.get_running_loop().time()

    def start(self) -> None:
        self._life = asyncio.get_running_loop().create_task(self._live())

    def kill(self) -> None:
        """kill -9: its kernel closes the connection."""
        if self._running is not None and not self._running.done():
            self._note("is killed")
            if self.link is not None:
                self.link.vanish(by_worker=True)
            self._running.cancel()

    def drain(self, within_s: float) -> None:
        """TERM, which it does not know."""
        self.kill()

    def clear_up(self) -> None:
        """From now on it does what it should, with what it has not begun yet."""
        self.odd = 0.0
        self.piece_s = min(self.piece_s, 0.5)
        self.unreachable_until_s = 0.0

    def _note(self, what: str) -> None:
        self.history.note(self.now_s, f"{self.name} {what}")

    # -- one process after the other, each with one socket

    async def _live(self) -> None:
        while True:
            self._running = asyncio.get_running_loop().create_task(self._run())
            await asyncio.wait((self._running,))
            if not self._running.cancelled() and (error := self._running.exception()) is not None:
                self.history.broken("worker", f"{self.name} died of {error!r}")
            self.link = None
            await asyncio.sleep(self.dice.uniform(*self.down_s))

    async def _run(self) -> None:
        try:
            link = await self._dial()
        except OSError:
            return
        tasks: list[asyncio.Task[None]] = []
        self._known, self._busy = set(), None
        try:
            tasks.append(asyncio.create_task(self._beat(link)))
            await link.send(as_text(self._voice.registration(link.worker, self._kind, self._job_types)))
            while True:
                frame = json.loads(await link.recv())
                if frame["type"] == "job_assign":
                    tasks.append(asyncio.create_task(self._take(link, frame)))
        except ConnectionClosedError as closed:
            code = closed.rcvd.code if closed.rcvd is not None else None
            self._note(f"lost its socket: {code}")
        finally:
            for task in tasks:
                task.cancel()
            await link.close()

    async def _dial(self) -> LegacyLink:
        """Raises OSError. Now and then it says that somebody else's key is its own."""
        if self.now_s < self.unreachable_until_s:
            await asyncio.sleep(self.dice.uniform(0.1, 5.0))
            raise TimeoutError("no route")
        link = self.link = await self._coordinator.dial(LegacyLink)
        link.worker = self.key
        if self.odd and self.dice.random() < self.odd / 4:
            link.worker = self.dice.choice(list(self.history.dispatched.hands))
        return link

    async def _beat(self, link: LegacyLink) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            await self._send(link, {"type": "heartbeat", "provider_pubkey": link.worker, "metrics": {}})

    async def _send(self, link: LegacyLink, frame: Frame) -> None:
        if "receipt" in frame:
            self.history.dispatched.said(self._voice.envelope(frame), link)
        if "job_id" in frame:
            self._known.add(frame["job_id"])  # it may be answered before it is given again
            self._busy = None if frame["job_id"] == self._busy else self._busy
        try:
            await link.send(as_text(frame))
        except ConnectionClosedError:
            self._note("has nobody to tell")

    # -- what it does with a job

    async def _take(self, link: LegacyLink, job: Frame) -> None:
        """What comes first is there to prove its key, and looks like any job."""
        first, job_id = not link.proven, job["job_id"]
        if job_id not in self._known:
            if self._busy is not None and not first:
                self.history.broken("slots", f"{self.name} was given a job before it answered {self._busy}", job_id)
            self._busy = job_id
            self._known.add(job_id)
        await asyncio.sleep(self.dice.expovariate(1 / (0.01 if first else self.piece_s)))
        output = right_output(JobType(job["job_type"]), job["payload"])
        whole = self._voice.completion(job_id, output)
        odd = self.dice.choice(list(Odd)) if self.dice.random() < (self.odd / 4 if first else self.odd) else None
        if not first:
            self._note(f"answers {job_id}: {odd or 'as it should'}")
        link.proven = link.proven or (link.worker == self.key and odd is not Odd.FORGE)
        if odd is None:
            await self._answer(link, whole)
        else:
            await _ODDITIES[odd](self, link, whole)
        self._earlier = whole
        if first and link.proven:
            await self._say_what_is_left(link)

    async def _answer(self, link: LegacyLink, whole: Frame) -> None:
        """In one frame, or in two in any order."""
        frames = [whole] if self.dice.random() < 0.5 else list(self._voice.in_two(whole))
        self.dice.shuffle(frames)
        for frame in frames:
            await self._send(link, frame)

    async def _say_what_is_left(self, link: LegacyLink) -> None:
        await asyncio.sleep(PROVEN_S)
        while self._unsaid:
            await self._send(link, self._unsaid.pop(0))

    # -- what else it may do

    async def _vanish(self, link: LegacyLink, whole: Frame) -> None:
        self.kill()

    async def _late(self, link: LegacyLink, whole: Frame) -> None:
        await asyncio.sleep(self.dice.uniform(5, 90))
        await self._answer(link, whole)

    async def _hang(self, link: LegacyLink, whole: Frame) -> None:
        """Until somebody starts it again."""
        await asyncio.sleep(self.dice.uniform(20, 200))
        self.kill()

    async def _forge(self, link: LegacyLink, whole: Frame) -> None:
        forge = self.dice.choice(FORGERIES)
        await self._answer(link, forge(self._voice, whole, self._earlier, self.dice))

    async def _stub(self, link: LegacyLink, whole: Frame) -> None:
        await self._answer(link, self._voice.completion(whole["job_id"], self.dice.choice(STUBS)))

    async def _reject(self, link: LegacyLink, whole: Frame) -> None:
        await self._send(link, {"type": "job_reject", "job_id": whole["job_id"], "reason": "no time"})

    async def _meddle(self, link: LegacyLink, whole: Frame) -> None:
        others = [one for one in self.history.jobs if one != whole["job_id"]]
        if others:
            stolen = javascript.parse('{"text": "stolen", "method": "stolen", "model": "m"}')
            await self._answer(link, self._voice.completion(self.dice.choice(others), stolen))
        await self._answer(link, whole)

    async def _come_back(self, link: LegacyLink, whole: Frame) -> None:
        self._unsaid.append(whole)
        self.kill()

    async def _hang_up(self, link: LegacyLink, whole: Frame) -> None:
        output, receipt = self._voice.in_two(whole)
        await self._send(link, output)
        self._unsaid += [output, receipt]
        self.kill()


_ODDITIES: dict[Odd, Callable[[SimulatedLegacyWorker, LegacyLink, Frame], Awaitable[None]]] = {
    one: getattr(SimulatedLegacyWorker, f"_{one}") for one in Odd
}
