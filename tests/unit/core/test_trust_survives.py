"""Whatever users and workers say in whatever order: what the core knows of trust is what a restart would take up."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from cavvy import defaults
from cavvy.core.commands import ClaimTrust, Command, ConfirmTrust, CreateTrustCode, EndTrust, PairWorker
from cavvy.core.trust import Trust, TrustStatus
from cavvy.testing import FakeWorker, Stack

USERS = ("ann", "bob")
CODES = ("A", "B", "C")
IDS = st.sampled_from(["tru_1", "tru_2", "tru_3"])
USER, CODE, WHO = st.sampled_from(USERS), st.sampled_from(CODES), st.integers(0, 1)
SAYS = st.one_of(
    st.tuples(st.just("create"), IDS, USER, CODE, st.booleans()),
    st.tuples(st.just("claim"), CODE, WHO, st.booleans()),
    st.tuples(st.just("confirm"), IDS, USER, WHO),
    st.tuples(st.just("pair"), IDS, USER, WHO),
    st.tuples(st.just("end"), IDS, USER),
    st.tuples(st.just("time"), st.sampled_from([1, 1800, 3600])),
    st.tuples(st.just("restart")),
)


class World(Stack):
    """Two workers, one of them of all tenants."""

    async def open(self) -> None:
        await self.start()
        self.workers = [FakeWorker(self, "one"), FakeWorker(self, "two")]
        await self.workers[0].join()
        await self.workers[1].join(tenant=defaults.SHARED)

    def command(self, what: str, *said: object) -> Command:
        ref, tenant = self.next_ref(), defaults.TENANT
        match what, said:
            case "create", (str(trust), str(user), str(code), bool(keyed)):
                return CreateTrustCode(
                    ref=ref, id=trust, tenant=tenant, user_id=user, code_hash=code.encode(), keyed=keyed
                )
            case "claim", (str(code), int(who), bool(proven)):
                worker = self.workers[who]
                session = worker.session if proven else None
                return ClaimTrust(
                    ref=ref, code_hash=code.encode(), worker=worker.key, address="10.0.0.1", session=session
                )
            case "confirm", (str(trust), str(user), int(who)):
                return ConfirmTrust(ref=ref, id=trust, tenant=tenant, user_id=user, worker=self.workers[who].key)
            case "pair", (str(trust), str(user), int(who)):
                return PairWorker(ref=ref, id=trust, tenant=tenant, user_id=user, worker=self.workers[who].key)
            case "end", (str(trust), str(user)):
                return EndTrust(ref=ref, id=trust, tenant=tenant, user_id=user)
        raise AssertionError(what)

    async def stored(self) -> dict[str, Trust]:
        return {one.id: one for user in USERS for one in await self.store.trusts(defaults.TENANT, user)}

    async def may_say(self, what: object, said: list[object]) -> bool:
        """An id is made anew for each code and pairing; only what was said before is said again under the same one."""
        known = (await self.stored()).get(str(said[0]))
        if what not in ("create", "pair") or known is None:
            return True
        again = what == "pair" and (known.user_id, known.worker) == (said[1], self.workers[int(str(said[2]))].key)
        return again and known.status is TrustStatus.PAIRED

    async def check(self) -> None:
        """What is stored, what is known, who is trusted and what the fleet was told are one."""
        stored, core = await self.stored(), self.core
        assert core._trust_book._trusts == stored
        assert {one.code_hash: one.id for one in stored.values() if one.code_hash} == core._trust_book._codes
        for worker in self.workers:
            paired = {
                (one.tenant, one.user_id)
                for one in stored.values()
                if one.worker == worker.key and one.status is TrustStatus.PAIRED
            }
            assert core._board.pairings.of(worker.key) == paired
            session = core._board.fleet.of_worker(worker.key)
            assert session is None or session.profile.pairs == paired


@settings(deadline=None, max_examples=150)
@given(said=st.lists(SAYS, max_size=25))
def test_p16_what_the_core_knows_of_trust_is_what_a_restart_would_take_up(said: list[tuple[object, ...]]) -> None:
    asyncio.run(_live(said))


async def _live(said: list[tuple[object, ...]]) -> None:
    world = World()
    await world.open()
    for what, *more in said:
        if what == "restart":
            await world.restart()
            for worker in world.workers:
                await worker.connect()
        elif what == "time":
            world.clock.advance(float(str(more[0])))
            await world.do(*(worker.beat() for worker in world.workers))
        elif await world.may_say(what, more):
            await world.do(world.command(str(what), *more))
        await world.check()
