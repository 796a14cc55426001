"""What leaves the coordinator of a simulation for its workers, held against what is stored at that moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from cavvy.core.job import AttemptRef
from cavvy.protocol import legacy
from cavvy.protocol import messages as wire
from cavvy.testing.simulation.network import LegacyLink, Link

if TYPE_CHECKING:
    from cavvy.testing.simulation.process import Process

__all__ = ["watch"]

_decode_legacy = msgspec.json.Decoder(
    legacy.LegacyAssign | legacy.LegacyRegisterAck | legacy.LegacyHeartbeatAck | legacy.LegacyError
).decode


async def watch(process: Process, text: str, link: Link) -> None:
    """A frame is about to leave over `link`."""
    if isinstance(link, LegacyLink):
        message = _decode_legacy(text)
        if isinstance(message, legacy.LegacyAssign):
            await _dispatched(process, message, link)
        return
    frame = wire.decode_coordinator_message(text.encode())
    if isinstance(frame, wire.JobAssign):
        await _assigned(process, AttemptRef(frame.job_id, frame.epoch), link)
    elif isinstance(frame, wire.CompleteAck):
        await _acknowledged(process, frame)


async def _dispatched(process: Process, message: legacy.LegacyAssign, link: LegacyLink) -> None:
    """The first one only asks for a proof of the key."""
    if not link.challenged and await process.node.record(message.job_id) is None:
        link.challenged = True
        return
    ref = AttemptRef(message.job_id, process.sessions.sent[message.job_id].epoch)
    process.node.history.dispatched_to(link, ref)
    await _assigned(process, ref, link)


async def _assigned(process: Process, ref: AttemptRef, link: Link) -> None:
    node = process.node
    node.history.note(node.now_s, f"coordinator sends job_assign {ref.job_id} epoch {ref.epoch}")
    if node.process is process:  # one that was usurped cannot know yet; what its grants do is fenced
        node.history.assigned(ref, await node.record(ref.job_id), link.worker)


async def _acknowledged(process: Process, frame: wire.CompleteAck) -> None:
    node, ref = process.node, AttemptRef(frame.job_id, frame.epoch)
    node.history.note(node.now_s, f"coordinator: {frame.verdict} {ref.job_id} epoch {ref.epoch}")
    node.history.acknowledged(ref, frame.verdict, await node.record(frame.job_id))
