"""API keys: what they are and how they are asked for."""

from __future__ import annotations

import msgspec

from cavvy import defaults

__all__ = ["NOT_BUILT_KEY_FIELDS", "KeyBody", "KeyList", "KeyView", "NewKey", "OwnKey", "RotateBody"]


class OwnKey(msgspec.Struct, frozen=True, kw_only=True):
    """What the key in the request is; the operator's has no tenant."""

    id: str
    role: str
    tenant: str | None
    user: str


#: Fields of a key whose feature is not built yet.
NOT_BUILT_KEY_FIELDS = frozenset({"budget"})


class KeyBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`POST /v1/keys`. `user` is `owner` if not given; `expires_at` is ISO 8601, none: it does not expire."""

    role: str
    name: str | None = None
    user: str | None = None
    act_for_users: bool = False
    expires_at: str | None = None


class RotateBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`POST /v1/keys/{id}/rotate`; the body may be missing. For `grace_s` seconds the old secret goes on."""

    grace_s: int = defaults.KEY_GRACE_S


class KeyView(msgspec.Struct, frozen=True, kw_only=True):
    """An API key without its secret. `status` is `active`, `expired` or `revoked`.

    `tenant` is null for the operator's; `created_by` is the id of the key that asked for it, null for the first ones.
    """

    id: str
    role: str
    status: str
    tenant: str | None
    name: str | None
    user: str
    act_for_users: bool
    created_at: str
    created_by: str | None
    expires_at: str | None
    revoked_at: str | None
    old_secret_until: str | None


class NewKey(KeyView, frozen=True, kw_only=True):
    """A key and its secret, which is shown this once.

    `login` is what goes behind `cavvy login` on another machine: the coordinator's address, the secret, the pin.
    """

    key: str
    login: str


class KeyList(msgspec.Struct, frozen=True, kw_only=True):
    """Oldest first."""

    keys: list[KeyView]
