"""Bearer keys: `cav_<role>_<12 id>_<43 secret><6 checksum>`. Only SHA-256 of the secret is kept; tenants come from
keys alone.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import string
import zlib
from collections.abc import Iterable
from enum import StrEnum
from typing import Any

import msgspec
from litestar import Request

from cavvy import defaults
from cavvy.api.problems import ProblemError
from cavvy.core.writes import AddApiKey
from cavvy.store.base import ApiKeyRecord

__all__ = [
    "MANAGES",
    "READS",
    "SUBMITS",
    "Caller",
    "KeyRing",
    "Role",
    "first_keys",
    "new_key",
    "new_worker_token",
]

_ALPHABET = string.digits + string.ascii_letters
_DUMMY = hashlib.sha256(b"no such key").digest()


class Role(StrEnum):
    OPERATOR = "operator"  # the coordinator: tenants, their keys, shared workers; no jobs
    ADMIN = "admin"  # all of one tenant
    SUBMIT = "submit"  # its jobs: submit, cancel, read
    READ = "read"  # sees its jobs and workers, changes nothing
    WORKER = "worker"


#: Which roles a route of a tenant is open to.
MANAGES = (Role.ADMIN,)
SUBMITS = (Role.ADMIN, Role.SUBMIT)
READS = (Role.ADMIN, Role.SUBMIT, Role.READ)

#: `wrk` begins a worker's enrolment token.
_PREFIX = {Role.OPERATOR: "opr", Role.ADMIN: "adm", Role.SUBMIT: "sub", Role.READ: "ro", Role.WORKER: "wkr"}


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, as the key says."""

    key_id: str
    role: Role
    tenant: str
    user_id: str


class KeyRing:
    """All keys, in memory: a look-up is a dictionary and one constant-time comparison."""

    def __init__(self, keys: Iterable[ApiKeyRecord]) -> None:
        self._keys = {key.key_id: (key.secret_hash, _caller(key)) for key in keys}

    def authenticate(self, request: Request[Any, Any, Any], *roles: Role) -> Caller:
        """The caller behind the request's bearer key.

        Raises ProblemError: 401 without a valid key, 403 for its role.
        """
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        caller = self._caller_of(token.strip()) if scheme.lower() == "bearer" else None
        if caller is None:
            detail = "Send a valid key as 'Authorization: Bearer cav_…'; `cavvy up` writes yours to credentials.toml."
            raise ProblemError("unauthorized", detail, headers={"WWW-Authenticate": "Bearer"})
        if caller.role not in roles:
            raise ProblemError("forbidden", _too_small(caller.role, roles))
        return caller

    def _caller_of(self, token: str) -> Caller | None:
        parts = token.split("_", 3)
        if len(parts) != 4 or not token.isascii():
            return None
        known, caller = self._keys.get(parts[2], (_DUMMY, None))
        same = hmac.compare_digest(hashlib.sha256(token.encode()).digest(), known)
        return caller if same else None


def new_key(role: Role, tenant: str, user_id: str, now_ms: int) -> tuple[str, AddApiKey]:
    """A fresh key, shown once, and the write that makes it known."""
    key_id = _random(12)
    body = f"cav_{_PREFIX[role]}_{key_id}_{_random(43)}"
    token = body + _checksum(body)
    record = AddApiKey(
        key_id=key_id,
        secret_hash=hashlib.sha256(token.encode()).digest(),
        role=role.value,
        tenant=tenant,
        user_id=user_id,
        created_at_ms=now_ms,
    )
    return token, record


def first_keys(now_ms: int) -> dict[Role, tuple[str, AddApiKey]]:
    """What a new installation starts with: the operator's key and the default tenant's admin key."""
    return {role: new_key(role, defaults.TENANT, defaults.USER, now_ms) for role in (Role.OPERATOR, Role.ADMIN)}


def new_worker_token(fingerprint: str) -> str:
    """A single-use enrolment token that also names the coordinator's key."""
    return f"cav_wrk_{_random(43)}_{fingerprint}"


def _too_small(role: Role, wanted: tuple[Role, ...]) -> str:
    if role is Role.OPERATOR:
        return (
            "The operator's key manages tenants, keys and shared workers; jobs and workers belong to a tenant. "
            f"Use a key of that tenant with the role {' or '.join(wanted)}."
        )
    return f"This key's role is {role}; this needs {' or '.join(wanted)}. An admin makes keys with `cavvy keys create`."


def _caller(key: ApiKeyRecord) -> Caller:
    return Caller(key_id=key.key_id, role=Role(key.role), tenant=key.tenant, user_id=key.user_id)


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _checksum(text: str) -> str:
    """CRC-32 in base 62, six digits: scanners and the log redactor recognise a key without looking it up."""
    number, digits = zlib.crc32(text.encode()), ""
    for _ in range(6):
        number, index = divmod(number, 62)
        digits = _ALPHABET[index] + digits
    return digits
