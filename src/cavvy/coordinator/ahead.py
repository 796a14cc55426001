"""Stops that hold before they are durable, because the store takes no writes or takes too long over one.

They are in the engine's inbox besides, to be decided and written as soon as the store allows. Until that has happened
no grant of what they stop is sent, whatever else was decided before them. If the process ends first, they are lost.
"""

from __future__ import annotations

from msgspec.structs import replace

from cavvy import logs
from cavvy.core.commands import StopTenant
from cavvy.core.coordinator import Coordinator
from cavvy.core.effects import Reply
from cavvy.core.foresight import StopCommand, concerns
from cavvy.core.latch import StopLatch

__all__ = ["Ahead"]

log = logs.get_logger()


class Ahead:
    """Every stop that holds and is not durable yet, with the answer that was given to it."""

    def __init__(self) -> None:
        self._stops: dict[int, tuple[StopCommand, Reply]] = {}

    def hold(self, command: StopCommand, reply: Reply) -> None:
        log.warning("stop_before_its_commit", stop=type(command).__name__, tenant=command.tenant, by=command.by)
        self._stops[command.ref] = command, reply

    def answered(self, command: StopCommand) -> Reply | None:
        """What was said to the same wish before: repeating it must not fill the inbox."""
        wish = _wish(command)
        return next((reply for held, reply in self._stops.values() if _wish(held) == wish), None)

    def settle(self, ref: int) -> None:
        """It is durable, or can never be."""
        self._stops.pop(ref, None)

    def tell_lost(self) -> None:
        """The process ends before they could be written: whoever asked for them has to ask again."""
        for command, _ in self._stops.values():
            kind, hint = type(command).__name__, "after the next start what it stopped runs; stop it again then"
            log.error("stop_was_not_written", stop=kind, tenant=command.tenant, by=command.by, hint=hint)

    def stops(self, core: Coordinator, job_id: str) -> bool:
        """Whether no grant of this job may be sent any more."""
        if not self._stops:
            return False
        job = core.header(job_id)
        return job is not None and any(concerns(command, job) for command, _ in self._stops.values())

    def latch_of(self, tenant: str) -> StopLatch | None:
        """The latch that holds for this tenant before it is durable, if there is one."""
        found = (
            reply.stop
            for command, reply in self._stops.values()
            if isinstance(command, StopTenant) and command.tenant == tenant
        )
        return next((latch for latch in found if latch is not None and latch.latched), None)


def _wish(command: StopCommand) -> StopCommand:
    return replace(command, ref=0, by="", reason=None)
