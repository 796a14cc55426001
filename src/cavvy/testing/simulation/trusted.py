"""Who may see what in a simulation: P16, told from what was committed and from what users were told."""

from __future__ import annotations

from cavvy.core.trust import Trust, TrustStatus
from cavvy.core.writes import DropTrust, GrantJob, InsertJob, PutTrust

__all__ = ["Trusted"]


class Trusted:
    """`over` are the (worker, user) of whom a user was told that it is over, whatever the store says."""

    def __init__(self) -> None:
        self.over: set[tuple[str, str]] = set()
        self._trusts: dict[str, Trust] = {}
        self._owners: dict[str, str | None] = {}
        self._holders: dict[tuple[str, int], str] = {}

    def inserted(self, write: InsertJob) -> None:
        self._owners[write.id] = write.needs.owner

    def granted(self, write: GrantJob) -> None:
        self._holders[write.job_id, write.epoch] = write.worker

    def committed(self, write: PutTrust | DropTrust) -> None:
        if isinstance(write, PutTrust):
            self._trusts[write.trust.id] = write.trust
        else:
            self._trusts.pop(write.id, None)

    def holder(self, job_id: str, epoch: int) -> str:
        return self._holders.get((job_id, epoch), "")

    def may_see(self, job_id: str, worker: str) -> bool:
        user = self._owners.get(job_id)
        if user is None:
            return True
        paired = any(
            (one.worker, one.user_id, one.status) == (worker, user, TrustStatus.PAIRED) for one in self._trusts.values()
        )
        return paired and (worker, user) not in self.over
