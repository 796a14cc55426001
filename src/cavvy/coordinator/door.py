"""The engine's door: commands come in by it, and while it is shut nobody may ask for anything new."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from cavvy import logs
from cavvy.coordinator.asked import Answer, Asked
from cavvy.coordinator.inbox import Inbox
from cavvy.core.commands import Command, SubmitJob

__all__ = ["CommandFailed", "Door", "StoreUnavailable"]

log = logs.get_logger()

STOPPING = "the coordinator is stopping"


class StoreUnavailable(Exception):
    """The store takes no writes now. `accepted` is False when this command was surely not taken, None when unknown."""

    def __init__(self, reason: str, accepted: bool | None) -> None:
        super().__init__(reason)
        self.accepted = accepted


class CommandFailed(Exception):
    """This command cannot be carried out: the store refused it, or deciding it raised."""


class Door:
    """`shut` says why it is; `failing`: because the store takes no writes; `stopping`: for good."""

    def __init__(self) -> None:
        self.shut: str | None = "starting"
        self.failing = False
        self.stopping = False
        self.inbox = Inbox()
        self.asked = Asked()

    async def ask(self, command: Command, ref: int) -> Answer:
        """See Engine.ask."""
        self._knock()
        future = self.asked.expect(ref)
        self.inbox.put(command)
        try:
            return await future
        finally:
            self.asked.forget(ref)

    async def ask_all(self, commands: Sequence[SubmitJob]) -> list[Answer | CommandFailed]:
        """See Engine.ask_all."""
        self._knock()
        futures = [self.asked.expect(command.ref) for command in commands]
        for command in commands:
            self.inbox.put(command)
        try:
            answers = await asyncio.gather(*futures, return_exceptions=True)
        finally:
            for command in commands:
                self.asked.forget(command.ref)
        answered: list[Answer | CommandFailed] = []
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, CommandFailed):
                raise answer
            answered.append(answer)
        return answered

    def _knock(self) -> None:
        if self.shut is not None:
            raise StoreUnavailable(self.shut, accepted=False)

    def open(self) -> None:
        self.shut = None

    def close(self) -> None:
        """Who waits for an answer still gets it."""
        self.stopping, self.shut = True, STOPPING
        self.inbox.wake()

    def end(self) -> None:
        """Nothing is answered any more."""
        self._shut(STOPPING)
        self.asked.fail_all(StoreUnavailable(STOPPING, accepted=None))

    def begin_failing(self, error: Exception) -> None:
        log.error("store_takes_no_writes", error=str(error), hint="it is tried again until it does; see to the disk")
        self.failing = True
        self._shut(f"The store takes no writes now ({error}); nothing accepted is lost.")

    def end_failing(self, after_s: float) -> None:
        log.info("store_takes_writes_again", after_s=round(after_s, 3))
        self.failing = False
        self.shut = STOPPING if self.stopping else None

    def _shut(self, reason: str) -> None:
        """From now on asks are refused; those the core has not seen are told that nothing was taken. Stops stay."""
        self.shut = reason
        self.asked.fail(self.inbox.take_asks(), StoreUnavailable(reason, accepted=False))
