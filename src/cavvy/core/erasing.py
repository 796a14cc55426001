"""Erasing: what takes texts, or whole jobs, out of the store. A live job is never touched."""

from __future__ import annotations

from cavvy import defaults
from cavvy.core.board import Board
from cavvy.core.commands import EraseJob, Retain
from cavvy.core.effects import ReplyCode
from cavvy.core.job import Now
from cavvy.core.outbox import Outbox
from cavvy.core.writes import DropIdempotencyKeys, DropJobs, DropRevokedKeys, DropUsedTokens, EraseJobs

__all__ = ["Eraser"]


class Eraser:
    """Remembers for a while what it took, so that nothing brings back a job whose texts are on their way out."""

    def __init__(self, board: Board, out: Outbox) -> None:
        self._board = board
        self._out = out
        self._taken: dict[str, float] = {}

    def has(self, job_id: str) -> bool:
        """Whether the job was erased or deleted lately: whoever read it before does not know."""
        return job_id in self._taken

    def erase(self, command: EraseJob, now: Now) -> None:
        if command.job_id in self._board.jobs:
            self._out.reply(command.ref, ReplyCode.NOT_ENDED, job_id=command.job_id)
            return
        self._taken[command.job_id] = now.mono_s
        self._out.write(EraseJobs(seqs=(command.seq,), at_ms=now.wall_ms))
        self._out.reply(command.ref, ReplyCode.OK, job_id=command.job_id)

    def retain(self, command: Retain, now: Now) -> None:
        due, horizons, limit = command.due, command.horizons, defaults.RETENTION_ROWS
        drop = tuple(one for one in due.drop if one.id not in self._board.jobs)
        erase = tuple(one for one in due.erase if one.id not in self._board.jobs)
        self._taken.update((one.id, now.mono_s) for one in (*drop, *erase))
        if drop:
            self._out.write(DropJobs(seqs=tuple(one.seq for one in drop)))
        if erase:
            self._out.write(EraseJobs(seqs=tuple(one.seq for one in erase), at_ms=now.wall_ms))
        if due.idempotency and horizons.idempotency_ms is not None:
            self._out.write(DropIdempotencyKeys(before_ms=horizons.idempotency_ms, limit=limit))
        if due.tokens and horizons.tokens_ms is not None:
            self._out.write(DropUsedTokens(before_ms=horizons.tokens_ms, limit=limit))
        if due.api_keys and horizons.api_keys_ms is not None:
            self._out.write(DropRevokedKeys(before_ms=horizons.api_keys_ms, limit=limit))
        self._out.reply(command.ref, ReplyCode.OK)

    def forget(self, now: Now) -> None:
        """What was taken so long ago that nobody is still asking."""
        horizon_s = now.mono_s - defaults.ERASED_REMEMBERED_S
        while self._taken and next(iter(self._taken.values())) < horizon_s:
            del self._taken[next(iter(self._taken))]
