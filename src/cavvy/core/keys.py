"""Tenants and API keys: who may make and end which."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from cavvy import defaults
from cavvy.core.commands import CreateApiKey, CreateTenant, RevokeApiKey, RotateApiKey
from cavvy.core.effects import KeyChanged, ReplyCode
from cavvy.core.identity import OF_NO_TENANT, ApiKey, Role, Tenant
from cavvy.core.job import Now
from cavvy.core.outbox import Outbox
from cavvy.core.writes import AddApiKey, AddTenant, ReplaceApiKey

__all__ = ["KeyBook"]

#: The roles whose keys a role may make, end and change: in its own tenant, the operator everywhere.
_MANAGED = {Role.OPERATOR: frozenset(Role), Role.ADMIN: frozenset(Role) - OF_NO_TENANT}


class KeyBook:
    """Every tenant, and every key that is not revoked. Who asks is looked up here, not believed. `weigh` is told each
    tenant's weight.
    """

    def __init__(self, out: Outbox, weigh: Callable[[str, float], None]) -> None:
        self._out = out
        self._weigh = weigh
        self._tenants: dict[str, Tenant] = {}
        self._keys: dict[str, ApiKey] = {}

    def know(self, row: ApiKey | Tenant) -> None:
        """Takes up what the store holds."""
        if isinstance(row, Tenant):
            self._know_tenant(row)
        else:
            self._keys[row.key_id] = row

    def create_tenant(self, command: CreateTenant, now: Now) -> None:
        if self._role(command.by, now) is not Role.OPERATOR:
            code = ReplyCode.FORBIDDEN
        elif command.tenant.id in self._tenants:
            code = ReplyCode.TENANT_TAKEN
        else:
            code = ReplyCode.OK
            self._know_tenant(command.tenant)
            self._out.write(AddTenant(tenant=command.tenant))
            self._add(command.key)
        self._out.reply(command.ref, code)

    def create_key(self, command: CreateApiKey, now: Now) -> None:
        key = command.key
        if not self._may_manage(command.by, key, now):
            code = ReplyCode.FORBIDDEN
        elif key.role not in OF_NO_TENANT and key.tenant not in self._tenants:
            code = ReplyCode.NOT_FOUND
        elif self._count(key.tenant, now) >= defaults.MAX_KEYS_PER_TENANT:
            code = ReplyCode.TOO_MANY_KEYS
        else:
            code = ReplyCode.OK
            self._add(key)
        self._out.reply(command.ref, code)

    def revoke(self, command: RevokeApiKey, now: Now) -> None:
        """Repeating it changes nothing. The key that keeps a tenant (or the coordinator) manageable stays."""
        key = self._keys.get(command.key_id)
        if key is None or key.tenant != command.tenant:
            code = ReplyCode.NOT_FOUND
        elif not self._may_manage(command.by, key, now):
            code = ReplyCode.FORBIDDEN
        elif self._is_last(key, now):
            code = ReplyCode.LAST_KEY
        else:
            code = ReplyCode.OK
            del self._keys[key.key_id]
            self._replace(key, replace(key, revoked_at_ms=now.wall_ms))
        self._out.reply(command.ref, code)

    def rotate(self, command: RotateApiKey, now: Now) -> None:
        """A new secret under the same id; the one before goes on for `grace_s`, one older than that ends at once."""
        key = self._keys.get(command.key_id)
        if key is None or key.tenant != command.tenant or key.ends_ms() <= now.wall_ms:
            code = ReplyCode.NOT_FOUND
        elif not self._may_manage(command.by, key, now):
            code = ReplyCode.FORBIDDEN
        else:
            code = ReplyCode.OK
            self._keys[key.key_id] = rotated = replace(
                key,
                secret_hash=command.secret_hash,
                old_secret_hash=key.secret_hash if command.grace_s else None,
                old_until_ms=now.wall_ms + command.grace_s * 1000 if command.grace_s else None,
            )
            self._replace(key, rotated)
        self._out.reply(command.ref, code)

    def _know_tenant(self, tenant: Tenant) -> None:
        self._tenants[tenant.id] = tenant
        self._weigh(tenant.id, tenant.weight)

    def _add(self, key: ApiKey) -> None:
        self._keys[key.key_id] = key
        self._out.write(AddApiKey(key=key))
        self._out.effect(KeyChanged(key=key))

    def _replace(self, before: ApiKey, key: ApiKey) -> None:
        self._out.write(ReplaceApiKey(key=key, secret_hash_before=before.secret_hash))
        self._out.effect(KeyChanged(key=key))

    def _role(self, key_id: str, now: Now) -> Role | None:
        """What the asking key may be now: it can have ended since the request was let in."""
        key = self._keys.get(key_id)
        return Role(key.role) if key is not None and key.ends_ms() > now.wall_ms else None

    def _may_manage(self, by: str, key: ApiKey, now: Now) -> bool:
        role = self._role(by, now)
        if role is None or Role(key.role) not in _MANAGED.get(role, ()):
            return False
        return role is Role.OPERATOR or self._keys[by].tenant == key.tenant

    def _is_last(self, key: ApiKey, now: Now) -> bool:
        """Whether without it nobody could manage its tenant (or the coordinator), now or sooner than with it."""
        if key.role not in _MANAGED:
            return False
        others = (one for one in self._keys.values() if one.role == key.role and one.tenant == key.tenant)
        left_ms = max((one.ends_ms() for one in others if one is not key), default=0.0)
        return max(left_ms, now.wall_ms) < key.ends_ms()

    def _count(self, tenant: str, now: Now) -> int:
        return sum(one.tenant == tenant and one.ends_ms() > now.wall_ms for one in self._keys.values())
