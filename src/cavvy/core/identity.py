"""Tenants and API keys, as data: who somebody is, and what their role is."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from cavvy import defaults

__all__ = ["OF_NO_TENANT", "ApiKey", "Role", "Tenant"]


class Role(StrEnum):
    OPERATOR = "operator"  # the coordinator: tenants, their keys, shared workers; no jobs
    ADMIN = "admin"  # all of one tenant
    SUBMIT = "submit"  # its jobs: submit, cancel, read
    READ = "read"  # sees its jobs and workers, changes nothing
    WORKER = "worker"
    METRICS = "metrics"  # reads the coordinator's numbers, and nothing else; of no tenant


#: The roles whose keys are the coordinator's own, and of no tenant.
OF_NO_TENANT = frozenset({Role.OPERATOR, Role.METRICS})


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """`weight` is its share of the workers it has in common with others, relative to theirs."""

    id: str
    created_at_ms: int
    weight: float = defaults.TENANT_WEIGHT


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A bearer key: its public id and the SHA-256 of its secret.

    `tenant` is empty for those of OF_NO_TENANT. `old_secret_hash` is good as well until `old_until_ms`. `created_by` is
    the id of the key that asked for it, empty for a coordinator's first ones.
    """

    key_id: str
    secret_hash: bytes
    role: str
    tenant: str
    user_id: str
    created_at_ms: int
    name: str | None = None
    created_by: str = ""
    act_for_users: bool = False
    expires_at_ms: int | None = None
    revoked_at_ms: int | None = None
    old_secret_hash: bytes | None = None
    old_until_ms: int | None = None

    def ends_ms(self) -> float:
        """When nobody can use it any more; infinity if that is not known yet."""
        ends = [at_ms for at_ms in (self.expires_at_ms, self.revoked_at_ms) if at_ms is not None]
        return min(ends, default=float("inf"))
