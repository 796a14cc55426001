"""Who may see what in a simulation: P16, told from what was committed and from what users were told."""

from __future__ import annotations

from cavvy.core.pairings import User
from cavvy.core.trust import Trust, TrustStatus
from cavvy.core.writes import DropTrust, InsertJob, PutTrust

__all__ = ["Trusted"]


class Trusted:
    """`over` are the workers and users of whom the user was told that it is over, whatever the store says."""

    def __init__(self) -> None:
        self.over: set[tuple[str, User]] = set()
        self._trusts: dict[str, Trust] = {}

    def committed(self, write: PutTrust | DropTrust) -> None:
        if isinstance(write, PutTrust):
            self._trusts[write.trust.id] = write.trust
        else:
            self._trusts.pop(write.id, None)

    def may_see(self, job: InsertJob, worker: str) -> bool:
        if job.needs.owner is None:
            return True
        user = job.needs.tenant, job.needs.owner
        paired = any(
            (one.worker, one.tenant, one.user_id, one.status) == (worker, *user, TrustStatus.PAIRED)
            for one in self._trusts.values()
        )
        return paired and (worker, user) not in self.over
