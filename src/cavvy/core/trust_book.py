"""Every code, claim and pairing there is."""

from __future__ import annotations

from itertools import islice

from cavvy.core.job import Now
from cavvy.core.outbox import Outbox
from cavvy.core.pairings import Pairings, User
from cavvy.core.trust import Trust
from cavvy.core.writes import DropTrust, PutTrust

__all__ = ["TrustBook"]


class TrustBook:
    """What changes here is written in the same commit; `pairings` follows it."""

    def __init__(self, pairings: Pairings, out: Outbox) -> None:
        self._pairings = pairings
        self._out = out
        self._trusts: dict[str, Trust] = {}
        self._codes: dict[bytes, str] = {}
        self._of: dict[User, dict[str, Trust]] = {}
        self._unpaired: dict[str, dict[str, None]] = {}

    def know(self, trust: Trust) -> None:
        """Takes up what the store holds."""
        user = trust.tenant, trust.user_id
        self._trusts[trust.id] = self._of.setdefault(user, {})[trust.id] = trust
        if trust.code_hash:
            self._codes[trust.code_hash] = trust.id
        if trust.pairs is None:
            self._unpaired.setdefault(trust.tenant, {})[trust.id] = None
        else:
            self._unpaired.get(trust.tenant, {}).pop(trust.id, None)
            self._pairings.add(trust.pairs, user)

    def get(self, trust_id: str) -> Trust | None:
        return self._trusts.get(trust_id)

    def by_code(self, code_hash: bytes) -> Trust | None:
        return self._trusts.get(self._codes.get(code_hash, ""))

    def of(self, tenant: str, user_id: str) -> list[Trust]:
        """This user's, in order of creation."""
        return list(self._of.get((tenant, user_id), {}).values())

    def oldest_unpaired(self, tenant: str, most: int) -> list[Trust]:
        """The codes and claims of all its users that have to go, for there to be room for one more among `most`."""
        waiting = self._unpaired.get(tenant, {})
        return [self._trusts[one] for one in islice(waiting, max(0, len(waiting) + 1 - most))]

    def pairing(self, trust: Trust) -> Trust | None:
        """The pairing of the user and the worker that `trust` is about, if they are paired."""
        return next((one for one in self.of(trust.tenant, trust.user_id) if one.pairs == trust.worker), None)

    def put(self, trust: Trust) -> None:
        before = self._trusts.get(trust.id)
        if before is not None:
            self._codes.pop(before.code_hash, None)  # a pairing has none
        self.know(trust)
        self._out.write(PutTrust(trust=trust))

    def drop(self, trust: Trust) -> None:
        user = trust.tenant, trust.user_id
        mine = self._of[user]
        del self._trusts[trust.id], mine[trust.id]
        if not mine:
            del self._of[user]
        self._unpaired.get(trust.tenant, {}).pop(trust.id, None)
        self._codes.pop(trust.code_hash, None)
        if trust.pairs is not None:
            self._pairings.discard(trust.pairs, user)
        self._out.write(DropTrust(id=trust.id))

    def sweep(self, now: Now) -> None:
        """What was not confirmed in time goes."""
        unpaired = [self._trusts[one] for of_tenant in self._unpaired.values() for one in of_tenant]
        for trust in unpaired:
            if trust.expires_at_ms <= now.wall_ms:
                self.drop(trust)
