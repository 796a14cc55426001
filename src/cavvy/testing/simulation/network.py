"""Connections of workers: frames that are late, doubled, out of order or gone, and ends that do not know of each
other's end.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
from websockets.exceptions import ConnectionClosedError
from websockets.frames import Close

from cavvy import defaults

__all__ = ["LegacyLink", "Link", "Weather"]

#: How long the worker's keep-alive needs to see that nothing comes back.
NOTICED_S = defaults.LEASE_TTL_S
#: Keeps frames in order: timers of the same instant would come in any.
STEP_S = 1e-5


class Weather(msgspec.Struct, kw_only=True):
    """How the network behaves now. The three chances are per frame."""

    dice: Random
    delay_s: tuple[float, float] = (0.0005, 0.02)
    drop: float = 0.0
    double: float = 0.0
    overtake: float = 0.0

    def delay(self) -> float:
        return self.dice.uniform(*self.delay_s)

    def clear_up(self) -> None:
        self.drop = self.double = self.overtake = 0.0
        self.delay_s = (0.0005, 0.02)


class _Ping:
    """A WebSocket ping on its way, and its pong on the way back."""

    def __init__(self) -> None:
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class _Lane:
    """Frames one way, in order unless the weather says otherwise. Pings are `pinged`, nobody reads them."""

    def __init__(self, weather: Weather, pinged: Callable[[_Ping], None]) -> None:
        self._pinged = pinged
        self._weather = weather
        self._arrived: deque[Any] = deque()
        self._more = asyncio.Event()
        self._last_s = 0.0
        self.held_until_s = 0.0
        self.silent = False

    def send(self, item: Any, *, certain: bool = False) -> None:
        weather, loop = self._weather, asyncio.get_running_loop()
        if self.silent or (not certain and weather.dice.random() < weather.drop):
            return
        at_s = loop.time() + weather.delay()
        if certain or weather.dice.random() >= weather.overtake:
            at_s = self._last_s = max(at_s, self._last_s + STEP_S)
        loop.call_at(at_s, self._arrive, item)
        if not certain and weather.dice.random() < weather.double:
            loop.call_at(at_s + weather.delay(), self._arrive, item)

    def _arrive(self, item: Any) -> None:
        loop = asyncio.get_running_loop()
        if self.silent:
            return
        if loop.time() < self.held_until_s:
            self._last_s = max(self.held_until_s, self._last_s + STEP_S)
            loop.call_at(self._last_s, self._arrive, item)
            return
        if isinstance(item, _Ping):
            self._pinged(item)
            return
        self._arrived.append(item)
        self._more.set()

    def end(self) -> None:
        """Whoever waits for the next one hears that none will come."""
        self._arrived.append(None)
        self._more.set()

    async def room(self) -> None:
        """Returns when the line takes more: a stuck one does not."""
        await asyncio.sleep(max(0.0, self.held_until_s - asyncio.get_running_loop().time()))

    async def next(self) -> Any:
        while not self._arrived:
            self._more.clear()
            await self._more.wait()
        return self._arrived.popleft()


def _nobody() -> None:
    """Nobody wants to know."""


class Link:
    """One connection: the worker's end looks like a `websockets` connection, the coordinator's like ASGI's calls."""

    def __init__(self, weather: Weather) -> None:
        self._up = _Lane(weather, self._answer)
        self._down = _Lane(weather, self._answered)
        self.served_by: asyncio.Task[None] | None = None
        self.hear: Callable[[], None] = _nobody
        self.worker = ""  # the key of whoever dialled
        self._closed = False
        self._lost = False

    # -- the worker's end; `hear` is called for each sign of life that comes

    async def send(self, frame: str) -> None:
        if self._lost:
            raise ConnectionClosedError(None, None)
        self._up.send({"type": "websocket.receive", "text": frame})

    async def recv(self, decode: bool | None = None) -> bytes:
        if self._lost:
            raise ConnectionClosedError(None, None)
        item = await self._down.next()
        if isinstance(item, Close) or item is None:
            self._lost = True
            raise ConnectionClosedError(item, None)
        self.hear()
        return bytes(item)

    async def ping(self) -> asyncio.Future[None]:
        """What is returned is done when the coordinator's process has answered."""
        if self._lost:
            raise ConnectionClosedError(None, None)
        ping = _Ping()
        self._up.send(ping, certain=True)
        return ping.answered

    def _answer(self, ping: _Ping) -> None:
        if not self._closed:
            self._down.send(ping, certain=True)

    def _answered(self, ping: _Ping) -> None:
        self.hear()
        if not ping.answered.done():
            ping.answered.set_result(None)

    async def close(self, *_: Any) -> None:
        """The worker leaves."""
        if not self._lost:
            self._lost = True
            self._up.send({"type": "websocket.disconnect"}, certain=True)
            self._down.end()

    # -- the coordinator's end

    async def receive(self) -> dict[str, Any]:
        if self._closed:
            return {"type": "websocket.disconnect"}
        event: dict[str, Any] = await self._up.next()
        self._closed = event["type"] == "websocket.disconnect"
        return event

    async def transmit(self, message: dict[str, Any]) -> None:
        await self._down.room()
        if self._closed:
            raise OSError("the connection is gone")
        if message["type"] == "websocket.close":
            self._closed = True
            self._down.send(Close(message["code"], message["reason"]), certain=True)
        else:
            self._down.send(message["text"].encode())

    # -- what may befall it

    def cut(self) -> None:
        """Both ends hear of it."""
        self._up.send({"type": "websocket.disconnect"}, certain=True)
        self._down.send(None, certain=True)

    def go_silent(self) -> None:
        """Nothing passes any more and nobody is told; the worker finds out by its keep-alive."""
        self._up.silent = self._down.silent = True
        asyncio.get_running_loop().call_later(NOTICED_S, self._worker_notices)

    def _worker_notices(self) -> None:
        self._down.silent = False
        self._down.send(None, certain=True)

    def hold(self, seconds: float) -> None:
        """Frames wait: the worker's machine is suspended, or the line is stuck. The keep-alive is not that patient."""
        until_s = asyncio.get_running_loop().time() + seconds
        self._up.held_until_s = self._down.held_until_s = until_s
        if seconds > NOTICED_S:
            asyncio.get_running_loop().call_at(until_s + 0.01, self.cut)

    def vanish(self, *, by_worker: bool) -> None:
        """One end's process is killed: its kernel closes the connection, the other end hears of it."""
        if by_worker:
            self._lost = True
            self._up.send({"type": "websocket.disconnect"}, certain=True)
            self._up.silent = False
        else:
            self._closed = True
            self._down.send(None, certain=True)


class LegacyLink(Link):
    """One of a worker of Dispatch's. `proven`: it has signed what it was asked to, with the key it says is its own."""

    def __init__(self, weather: Weather) -> None:
        super().__init__(weather)
        self.challenged = False
        self.proven = False
        self.over_s: float | None = None  # since when the coordinator serves it no more
