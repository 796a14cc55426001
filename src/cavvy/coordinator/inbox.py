"""What waits for the engine's next round, and the wake-up that ends its sleep."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterator

from cavvy import defaults
from cavvy.core.commands import Command, Heartbeat, JobCompleted, Progress
from cavvy.core.foresight import StopCommand

__all__ = ["Inbox"]


class Inbox:
    """Commands in the order they came."""

    def __init__(self) -> None:
        self._commands: deque[Command] = deque()
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._commands)

    def __iter__(self) -> Iterator[Command]:
        return iter(self._commands)

    def put(self, command: Command) -> None:
        self._commands.append(command)
        self._wake.set()

    def take(self) -> list[Command]:
        """All of them."""
        commands = list(self._commands)
        self._commands.clear()
        return commands

    def take_asks(self) -> list[Command]:
        """Those somebody waits for an answer of, but stops."""
        asks: list[Command] = [
            one for one in self._commands if hasattr(one, "ref") and not isinstance(one, StopCommand)
        ]
        self._commands = deque(one for one in self._commands if not hasattr(one, "ref") or isinstance(one, StopCommand))
        return asks

    def take_heartbeats(self) -> list[Heartbeat]:
        """Takes out what would pile up as well: one result is enough of each attempt, and signs of life say nothing
        when all clocks are put forward in the end.
        """
        beats, kept = [], dict[object, Command]()
        for command in self._commands:
            if isinstance(command, Heartbeat):
                beats.append(command)
            elif isinstance(command, JobCompleted):
                kept[command.session, command.job_id, command.epoch] = command
            elif not isinstance(command, Progress):
                kept[len(kept), id(command)] = command
        self._commands = deque(kept.values())
        return beats

    def wake(self) -> None:
        """Whoever sleeps goes on."""
        self._wake.set()

    async def sleep(self, seconds: float) -> None:
        """Until the next command, a wake-up, or so long."""
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await self._wake.wait()

    async def gather(self) -> None:
        """Lets what the sockets have ready join the batch: a commit costs far more than a turn of the loop."""
        for _ in range(defaults.GATHER_TURNS):
            waiting = len(self._commands)
            await asyncio.sleep(0)
            if len(self._commands) == waiting:
                return
