"""P16: users who trust workers, and PRIVATE jobs of theirs, among all the other things that happen to jobs."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from cavvy.core.commands import Command
from cavvy.core.effects import Reply, ReplyCode
from tests.stateful.model import Job
from tests.stateful.play import Play

__all__ = ["MAX_JOBS", "TrustRules"]

MAX_JOBS = 12
USERS = ("owner", "ann")


class TrustRules(Play):
    """Who trusts whom, and what is PRIVATE."""

    async def _open(self) -> None:
        """To begin with, each trusts one worker and the first both."""
        await super()._open()
        for player, user in ((self.players[0], USERS[0]), (self.players[1], USERS[0]), (self.players[1], USERS[1])):
            self.model.trusted.add((player.key, user))
            await self._expect_done(self.stack.pairing(player.key, user))

    @rule(data=st.data(), user=st.sampled_from(USERS))
    def pair(self, data: st.DataObject, user: str) -> None:
        """What waits for somebody to trust may start in the same commit."""
        player = data.draw(st.sampled_from([one for one in self.players if not one.legacy]), "worker")
        self.model.trusted.add((player.key, user))
        self.run(self._expect_done(self.stack.pairing(player.key, user)))

    @precondition(lambda self: self.model.trusted)
    @rule(data=st.data())
    def unpair(self, data: st.DataObject) -> None:
        """What the worker holds of this user is taken back, uncounted, and never comes back."""
        worker, user = data.draw(st.sampled_from(sorted(self.model.trusted)), "trust")
        self.model.trusted.discard((worker, user))
        for job in self.model.jobs.values():
            if job.active and (job.newest.worker, job.owner) == (worker, user):
                job.give_back("revoked")
        self.run(self._expect_done(self.stack.unpairing(worker, user)))

    async def _expect_done(self, command: Command) -> None:
        effects = await self.batch(command)
        assert [one.code for one in effects if isinstance(one, Reply)] == [ReplyCode.OK]

    @precondition(lambda self: len(self.model.jobs) < MAX_JOBS)
    @rule(user=st.sampled_from(USERS), waits=st.booleans())
    def submit_private(self, user: str, waits: bool) -> None:
        """It waits for a busy worker that its user trusts, and for one that is not there only if it may."""
        command = self.stack.submission(private=True, user_id=user, waits_untrusted=waits)
        there = [one for one in self.players if one.online and not one.leaving]
        trusted = any((one.key, user) in self.model.trusted for one in there)
        self.model.jobs[command.id] = job = Job(command.id, owner=user)
        if not trusted and not waits:
            job.status, job.code = "failed", "no_trusted_worker"
        self.run(self._expect_reply(command, ReplyCode.OK if trusted or waits else ReplyCode.NO_TRUSTED))

    async def _expect_reply(self, command: Command, code: ReplyCode) -> None:
        effects = await self.batch(command)
        assert [one.code for one in effects if isinstance(one, Reply)] == [code]
