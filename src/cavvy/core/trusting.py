"""Trust between users and workers: codes, claims, confirmations, pairings (P16).

Who has guessed too often is refused whatever he sends, right or wrong, and learns nothing. Pairing an enrolled worker
and confirming a claim take no code and go on meanwhile.
"""

from __future__ import annotations

import msgspec

from cavvy import defaults
from cavvy.core.board import Board
from cavvy.core.commands import ClaimTrust, ConfirmTrust, CreateTrustCode, EndTrust, PairWorker
from cavvy.core.effects import Reply, ReplyCode, TrustAnswered
from cavvy.core.enrolment import Enrolment, KnownWorker
from cavvy.core.guesses import Guesses
from cavvy.core.job import Now, WorkerStatus
from cavvy.core.lifecycle import Event
from cavvy.core.matching import serves
from cavvy.core.outbox import Outbox
from cavvy.core.roster import Roster
from cavvy.core.trust import Trust, TrustStatus
from cavvy.core.trust_book import TrustBook

__all__ = ["Trusting"]


class Trusting:
    """Everything that changes who is trusted."""

    def __init__(self, board: Board, enrolment: Enrolment, roster: Roster, book: TrustBook, out: Outbox) -> None:
        self._board = board
        self._enrolment = enrolment
        self._roster = roster
        self._book = book
        self._out = out
        self._guesses = Guesses()

    def sweep(self, now: Now) -> None:
        """What was not confirmed in time goes, and wrong claims are forgotten."""
        self._book.sweep(now)
        self._guesses.sweep(now)

    # -- codes and claims

    def create(self, command: CreateTrustCode, now: Now) -> None:
        if self._book.by_code(command.code_hash) is not None:
            self._out.reply(command.ref, ReplyCode.CODE_CLAIMED)  # the shell makes another
            return
        self._make_room(command)
        trust = Trust(
            id=command.id,
            tenant=command.tenant,
            user_id=command.user_id,
            created_at_ms=now.wall_ms,
            expires_at_ms=now.wall_ms + defaults.TRUST_CODE_TTL_S * 1000,
            code_hash=command.code_hash,
            keyed=command.keyed,
        )
        self._book.put(trust)
        self._reply(command.ref, trust)

    def _make_room(self, command: CreateTrustCode) -> None:
        """The oldest go: whoever names users as he likes shall not fill the memory."""
        mine = [one for one in self._book.of(command.tenant, command.user_id) if one.status is TrustStatus.OPEN]
        for trust in mine[: max(0, len(mine) + 1 - defaults.MAX_TRUST_CODES)]:
            self._book.drop(trust)
        for trust in self._book.oldest_unpaired(command.tenant, defaults.MAX_UNPAIRED_TRUSTS):
            self._book.drop(trust)

    def claim(self, command: ClaimTrust, now: Now) -> None:
        """Who is not enrolled is told so whatever he sends: such a claim says nothing of a code, and counts as none."""
        known = self._enrolment.worker(command.worker)
        if command.session is not None and (known is None or known.revoked):
            self._answer(command, ReplyCode.WORKER_UNKNOWN if known is None else ReplyCode.WORKER_REVOKED)
            return
        if self._guesses.too_many(command, now):
            self._answer(command, ReplyCode.TOO_MANY_CLAIMS)
            return
        trust = self._book.by_code(command.code_hash)
        code = _claimable(trust, command, known, now)
        if code is not ReplyCode.OK:
            self._guesses.note(command, now)
        if trust is None or code is not ReplyCode.OK:
            self._answer(command, code)
            return
        trust = msgspec.structs.replace(trust, worker=command.worker, address=command.address)
        self._book.put(trust)
        self._answer(command, ReplyCode.OK, trust)

    def _answer(self, command: ClaimTrust, code: ReplyCode, trust: Trust | None = None) -> None:
        if command.session is not None:
            self._out.effect(TrustAnswered(session=command.session, code=code, trust=trust))
        else:
            self._out.effect(Reply(ref=command.ref, code=code, trust=trust))

    # -- pairings

    def confirm(self, command: ConfirmTrust, now: Now) -> None:
        trust, known = self._named(command), self._enrolment.worker(command.worker)
        if trust is None:
            self._out.reply(command.ref, ReplyCode.NOT_FOUND)
        elif trust.worker != command.worker:
            self._out.reply(command.ref, ReplyCode.NOT_CLAIMED)
        elif trust.status is TrustStatus.PAIRED:
            self._reply(command.ref, trust)  # said again, because the answer was lost
        elif trust.expires_at_ms <= now.wall_ms:
            self._out.reply(command.ref, ReplyCode.NOT_CLAIMED)
        elif known is not None and known.revoked:
            self._out.reply(command.ref, ReplyCode.WORKER_REVOKED)
        else:
            self._pair(command.ref, trust, now)

    def pair(self, command: PairWorker, now: Now) -> None:
        known = self._enrolment.worker(command.worker)
        code = _pairable(known, command.tenant)
        if code is not ReplyCode.OK:
            self._out.reply(command.ref, code)
            return
        trust = Trust(
            id=command.id,
            tenant=command.tenant,
            user_id=command.user_id,
            created_at_ms=now.wall_ms,
            expires_at_ms=now.wall_ms,
            worker=command.worker,
        )
        self._pair(command.ref, trust, now)

    def _pair(self, ref: int, trust: Trust, now: Now) -> None:
        """Once is enough: a second pairing of the same two is the first."""
        before = self._book.pairing(trust)
        if before is not None:
            if before.id != trust.id and self._book.get(trust.id) is not None:
                self._book.drop(trust)
            self._reply(ref, before)
            return
        trust = msgspec.structs.replace(trust, code_hash=b"", paired_at_ms=now.wall_ms)
        self._book.put(trust)
        self._tell_fleet(trust)
        self._reply(ref, trust)

    def end(self, command: EndTrust, now: Now) -> None:
        trust = self._named(command)
        if trust is None:
            self._out.reply(command.ref, ReplyCode.NOT_FOUND)
            return
        self._book.drop(trust)
        if trust.status is TrustStatus.PAIRED:
            self._tell_fleet(trust)
            self._take_back(trust, now)
        self._reply(command.ref, trust)

    def _take_back(self, trust: Trust, now: Now) -> None:
        """What the worker holds of this user that is PRIVATE waits for another; it is told to stop."""
        board = self._board
        for job_id, lease in list(board.leases.items()):
            job = board.jobs[job_id]
            if lease.worker != trust.worker or (job.needs.tenant, job.needs.owner) != (trust.tenant, trust.user_id):
                continue
            session, epoch = lease.session, lease.epoch
            board.event(job, Event.REVOKED, now, message="Its worker is not trusted any more.")
            if session is not None:
                self._out.stop(session, job_id, epoch, "its user does not trust this worker any more")

    def _tell_fleet(self, trust: Trust) -> None:
        worker = trust.worker or ""
        session, known = self._board.fleet.of_worker(worker), self._enrolment.worker(worker)
        if session is not None and known is not None:
            self._board.reprofile(session, self._roster.profile_of(known, session.profile))

    # -- what there is

    def _named(self, command: ConfirmTrust | EndTrust) -> Trust | None:
        trust = self._book.get(command.id)
        mine = trust is not None and (trust.tenant, trust.user_id) == (command.tenant, command.user_id)
        return trust if mine else None

    def _reply(self, ref: int, trust: Trust) -> None:
        self._out.effect(Reply(ref=ref, code=ReplyCode.OK, trust=trust))


def _claimable(trust: Trust | None, command: ClaimTrust, known: KnownWorker | None, now: Now) -> ReplyCode:
    """Who was not told the code with a key learns more, as Dispatch's clients do; a guess learns nothing."""
    if trust is None or (trust.keyed and command.session is None):
        return ReplyCode.CODE_REFUSED
    vague = trust.keyed
    if trust.worker is not None:
        if command.session is not None and trust.worker == command.worker and trust.expires_at_ms > now.wall_ms:
            return ReplyCode.OK  # said again, because the answer was lost
        return ReplyCode.CODE_REFUSED if vague else ReplyCode.CODE_CLAIMED
    if trust.expires_at_ms <= now.wall_ms:
        return ReplyCode.CODE_REFUSED if vague else ReplyCode.CODE_EXPIRED
    if command.session is not None and (known is None or not serves(known.tenant, trust.tenant)):
        return ReplyCode.CODE_REFUSED
    return ReplyCode.OK


def _pairable(known: KnownWorker | None, tenant: str) -> ReplyCode:
    """Whether a user of `tenant` may trust this worker without a code: somebody has let it in, and it serves him."""
    if known is None or not serves(known.tenant, tenant):
        return ReplyCode.NOT_FOUND
    if known.status is WorkerStatus.WAITING_APPROVAL:
        return ReplyCode.WORKER_WAITS
    return ReplyCode.WORKER_REVOKED if known.revoked else ReplyCode.OK
