"""Bearer keys: `cav_<role>_<12 id>_<43 secret><6 checksum>`. Only SHA-256 of the secret is kept; tenants come from
keys alone.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import secrets
import string
import zlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import msgspec
from litestar import Request
from litestar.types import Scope

from cavvy import defaults
from cavvy.api.addressing import address_of
from cavvy.api.limits import Bucket, FailureLimit, RateLimits
from cavvy.api.problems import ProblemError
from cavvy.core.identity import ApiKey, Role
from cavvy.core.job import Now

__all__ = [
    "ANONYMOUS",
    "MANAGES",
    "MEASURES",
    "OPERATES",
    "READS",
    "SUBMITS",
    "Caller",
    "KeyRing",
    "Role",
    "first_keys",
    "new_key",
    "new_secret",
    "new_worker_token",
    "of_this_machine",
]

#: Which roles a route is open to.
OPERATES = (Role.OPERATOR,)
MANAGES = (Role.ADMIN,)
MEASURES = (Role.OPERATOR, Role.METRICS)
SUBMITS = (Role.ADMIN, Role.SUBMIT)
READS = (Role.ADMIN, Role.SUBMIT, Role.READ)

#: `wrk` begins a worker's enrolment token.
_PREFIX = {
    Role.OPERATOR: "opr",
    Role.ADMIN: "adm",
    Role.SUBMIT: "sub",
    Role.READ: "ro",
    Role.WORKER: "wkr",
    Role.METRICS: "met",
}
_FLAG = " Dispatch's clients send none: a coordinator started with --dispatch serves them on its own machine."
_ELSEWHERE = " Without a key only programs on the coordinator's own machine are served, and none behind a proxy."
_ALPHABET = string.digits + string.ascii_letters


#: How what a proxy writes begins: who comes from it is nobody of this machine, whatever the socket says.
_OF_PROXIES = ("forwarded", "via", "x-forwarded-", "x-original-", "x-real-ip", "x-client-ip", "true-client-ip", "cf-")


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, as the key says; `secret_hash` is that of the secret that was sent."""

    key_id: str
    role: Role
    tenant: str
    user_id: str
    act_for_users: bool = False
    secret_hash: bytes = b""


#: Who asks without a key, where that is allowed.
ANONYMOUS = Caller(
    key_id="anonymous", role=Role.SUBMIT, tenant=defaults.DISPATCH_TENANT, user_id="anonymous", act_for_users=True
)


class _Secret(NamedTuple):
    """Who sends it, and until when it is good (infinity: no end is known)."""

    caller: Caller
    ends_ms: float

    def left_s(self, clock: Callable[[], Now]) -> float:
        return math.inf if self.ends_ms == math.inf else max(0.0, (self.ends_ms - clock().wall_ms) / 1000)


class _Held:
    """A key that is good, and how much it has asked lately."""

    __slots__ = ("bucket", "newest", "old")

    def __init__(self, key: ApiKey, bucket: Bucket) -> None:
        self.bucket = bucket
        self.newest = _Secret(_caller(key, key.secret_hash), key.ends_ms())
        self.old = _Secret(_caller(key, key.old_secret_hash or bytes(32)), min(key.ends_ms(), key.old_until_ms or 0))


#: Looked at where there is no such key, so that it takes as long.
_NOBODY = _Secret(Caller(key_id="", role=Role.WORKER, tenant="", user_id="", secret_hash=bytes(32)), 0.0)


class KeyRing:
    """All keys that are not revoked, in memory: a look-up is a dictionary and one constant-time comparison.

    With `dispatch`, who comes from this machine needs none on the routes of Dispatch's clients.
    """

    def __init__(self, clock: Callable[[], Now], limits: RateLimits | None = None, *, dispatch: bool = False) -> None:
        self._clock = clock
        self._dispatch = dispatch
        self._limits = limits or RateLimits()
        self._anonymous = Bucket(self._limits.key_requests_per_s, self._limits.key_requests_burst)
        self._failures = FailureLimit(self._limits)
        self._keys: dict[str, _Held] = {}

    def load(self, keys: Iterable[ApiKey]) -> None:
        """Takes up what the store holds."""
        for key in keys:
            self.take(key)

    def take(self, key: ApiKey) -> None:
        """A key as it is from now on; to be called when that is durable."""
        held = self._keys.pop(key.key_id, None)
        if key.revoked_at_ms is None:
            bucket = held.bucket if held else Bucket(self._limits.key_requests_per_s, self._limits.key_requests_burst)
            self._keys[key.key_id] = _Held(key, bucket)

    def authenticate(self, request: Request[Any, Any, Any], *roles: Role) -> Caller:
        """The caller behind the request's bearer key.

        Raises ProblemError: 401 without a valid key, 403 for its role, 429 when it asks too often, or when its address
        failed too often. No failure of others stops a valid key.
        """
        now = self._clock()
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        held, caller = self._find(token.strip()) if scheme.lower() == "bearer" else (None, None)
        if held is None or caller is None:
            raise self._failure(request, now, given=bool(token))
        _take(held.bucket, now)
        if caller.role not in roles:
            raise ProblemError("forbidden", _too_small(caller.role, roles))
        return caller

    def authenticate_or_anonymous(self, request: Request[Any, Any, Any], *roles: Role) -> Caller:
        """As `authenticate`; who sends no key and comes from this machine is ANONYMOUS, where that is allowed."""
        if "authorization" in request.headers:
            return self.authenticate(request, *roles)
        now = self._clock()
        if not self.admits_anonymous(request):
            raise self._failure(request, now, given=False, hint=_FLAG if not self._dispatch else _ELSEWHERE)
        _take(self._anonymous, now, whose="Whoever sends no key")
        return ANONYMOUS

    def admits_anonymous(self, request: Request[Any, Any, Any]) -> bool:
        """Whether such a request needs no key on the routes of Dispatch's clients."""
        return self._dispatch and of_this_machine(request.scope)

    def left_s(self, caller: Caller) -> float:
        """For how many seconds more the secret that `caller` sent is good; 0 when it has ended, infinity if no end is
        known.
        """
        if caller is ANONYMOUS:
            return math.inf
        held = self._keys.get(caller.key_id)
        if held is not None:
            for secret in (held.newest, held.old):
                if secret.caller.secret_hash == caller.secret_hash:
                    return secret.left_s(self._clock)
        return 0.0

    def check(self, caller: Caller, **extra: Any) -> None:
        """Raises ProblemError (401) when the caller's key has ended since it was let in."""
        if not self.left_s(caller):
            detail = "This key was revoked or has expired meanwhile; ask an admin for another one."
            raise ProblemError("unauthorized", detail, headers={"WWW-Authenticate": "Bearer"}, **extra)

    def _find(self, token: str) -> tuple[_Held | None, Caller | None]:
        parts = token.split("_", 3)
        if len(parts) != 4 or not token.isascii():
            return None, None
        held = self._keys.get(parts[2])
        digest = hashlib.sha256(token.encode()).digest()
        for secret in (held.newest, held.old) if held is not None else (_NOBODY, _NOBODY):
            if hmac.compare_digest(digest, secret.caller.secret_hash) and secret.left_s(self._clock):
                return held, secret.caller
        return None, None

    def _failure(self, request: Request[Any, Any, Any], now: Now, *, given: bool, hint: str = "") -> ProblemError:
        client = request.scope.get("client")
        wait_s = self._failures.failed(client[0] if client else "", now.mono_s)
        if wait_s:
            detail = "Too many requests without a valid key came from this address; send a valid one."
            return ProblemError("rate_limited", detail, headers={"Retry-After": str(wait_s)})
        detail = "Send a valid key as 'Authorization: Bearer cav_…'; "
        if given:
            detail += "this one is wrong, revoked or expired. An admin makes another with `cavvy keys create`."
        else:
            detail += f"`cavvy up` writes yours to credentials.toml.{hint}"
        return ProblemError("unauthorized", detail, headers={"WWW-Authenticate": "Bearer"})


def _take(bucket: Bucket, now: Now, *, whose: str = "This key") -> None:
    if not bucket.take(now.mono_s):
        detail = f"{whose} has asked too often; slow down, and come back after Retry-After seconds."
        raise ProblemError("rate_limited", detail, headers={"Retry-After": str(bucket.wait_s())})


def of_this_machine(scope: Scope) -> bool:
    """Whether it comes from this machine, and through no proxy that says so."""
    client = scope.get("client")
    peer = address_of(client[0]) if client else None
    names = (name.decode("latin-1").lower() for name, _ in scope["headers"])
    return peer is not None and peer.is_loopback and not any(name.startswith(_OF_PROXIES) for name in names)


def new_secret(role: Role, key_id: str) -> tuple[str, bytes]:
    """What the key's owner gets to see once, and its hash."""
    body = f"cav_{_PREFIX[role]}_{key_id}_{_random(43)}"
    token = body + _checksum(body)
    return token, hashlib.sha256(token.encode()).digest()


def new_key(role: Role, tenant: str, user_id: str, now_ms: int, **more: Any) -> tuple[str, ApiKey]:
    """A fresh key, shown once, and what is kept of it; `more` are further fields of ApiKey."""
    key_id = _random(12)
    token, secret_hash = new_secret(role, key_id)
    key = ApiKey(
        key_id=key_id,
        secret_hash=secret_hash,
        role=role.value,
        tenant=tenant,
        user_id=user_id,
        created_at_ms=now_ms,
        **more,
    )
    return token, key


def first_keys(now_ms: int) -> dict[Role, tuple[str, ApiKey]]:
    """What a new installation starts with: the operator's key, which is of no tenant, and the default tenant's admin
    key. Its owner may act for any user: programs that name their own users work with it as they are.
    """
    return {
        Role.OPERATOR: new_key(Role.OPERATOR, "", defaults.USER, now_ms),
        Role.ADMIN: new_key(Role.ADMIN, defaults.TENANT, defaults.USER, now_ms, act_for_users=True),
    }


def new_worker_token(fingerprint: str) -> str:
    """A single-use enrolment token that also names the coordinator's key."""
    return f"cav_wrk_{_random(43)}_{fingerprint}"


def _too_small(role: Role, wanted: tuple[Role, ...]) -> str:
    if role is Role.OPERATOR:
        return (
            "The operator's key manages tenants, keys and shared workers; jobs and workers belong to a tenant. "
            f"Use a key of that tenant with the role {' or '.join(wanted)}."
        )
    if wanted == OPERATES:
        return f"This key's role is {role}; this needs the operator's, which is in the credentials file of `cavvy up`."
    return f"This key's role is {role}; this needs {' or '.join(wanted)}. An admin makes keys with `cavvy keys create`."


def _caller(key: ApiKey, secret_hash: bytes) -> Caller:
    return Caller(
        key_id=key.key_id,
        role=Role(key.role),
        tenant=key.tenant,
        user_id=key.user_id,
        act_for_users=key.act_for_users,
        secret_hash=secret_hash,
    )


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _checksum(text: str) -> str:
    """CRC-32 in base 62, six digits: scanners and the log redactor recognise a key without looking it up."""
    number, digits = zlib.crc32(text.encode()), ""
    for _ in range(6):
        number, index = divmod(number, 62)
        digits = _ALPHABET[index] + digits
    return digits
