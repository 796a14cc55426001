"""Every code, claim and pairing there is."""

from __future__ import annotations

from cavvy.core.job import Now
from cavvy.core.outbox import Outbox
from cavvy.core.pairings import Pairings
from cavvy.core.trust import Trust, TrustStatus
from cavvy.core.writes import DropTrust, PutTrust

__all__ = ["TrustBook"]


class TrustBook:
    """What changes here is written in the same commit; `pairings` follows it."""

    def __init__(self, pairings: Pairings, out: Outbox) -> None:
        self._pairings = pairings
        self._out = out
        self._trusts: dict[str, Trust] = {}
        self._codes: dict[bytes, str] = {}

    def know(self, trust: Trust) -> None:
        """Takes up what the store holds."""
        self._trusts[trust.id] = trust
        if trust.code_hash:
            self._codes[trust.code_hash] = trust.id
        if trust.worker is not None and trust.status is TrustStatus.PAIRED:
            self._pairings.add(trust.worker, (trust.tenant, trust.user_id))

    def get(self, trust_id: str) -> Trust | None:
        return self._trusts.get(trust_id)

    def by_code(self, code_hash: bytes) -> Trust | None:
        return self._trusts.get(self._codes.get(code_hash, ""))

    def of(self, tenant: str, user_id: str) -> list[Trust]:
        """This user's, in order of creation."""
        return [one for one in self._trusts.values() if (one.tenant, one.user_id) == (tenant, user_id)]

    def pairing(self, trust: Trust) -> Trust | None:
        """The pairing of the user and the worker that `trust` is about, if they are paired."""
        mine = self.of(trust.tenant, trust.user_id)
        return next((one for one in mine if one.worker == trust.worker and one.status is TrustStatus.PAIRED), None)

    def put(self, trust: Trust) -> None:
        before = self._trusts.get(trust.id)
        if before is not None and before.code_hash != trust.code_hash:
            self._codes.pop(before.code_hash, None)
        self.know(trust)
        self._out.write(PutTrust(trust=trust))

    def drop(self, trust: Trust) -> None:
        del self._trusts[trust.id]
        self._codes.pop(trust.code_hash, None)
        if trust.worker is not None and trust.status is TrustStatus.PAIRED:
            self._pairings.discard(trust.worker, (trust.tenant, trust.user_id))
        self._out.write(DropTrust(id=trust.id))

    def sweep(self, now: Now) -> None:
        """What was not confirmed in time goes."""
        for trust in list(self._trusts.values()):
            if trust.status is not TrustStatus.PAIRED and trust.expires_at_ms <= now.wall_ms:
                self.drop(trust)
