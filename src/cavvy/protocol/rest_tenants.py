"""Tenants, which only the operator sees."""

from __future__ import annotations

from typing import Annotated

import msgspec

from cavvy import defaults
from cavvy.protocol.rest_keys import NewKey

__all__ = ["NewTenant", "TenantBody", "TenantList", "TenantView"]

Weight = Annotated[float, msgspec.Meta(ge=defaults.TENANT_WEIGHT_MIN, le=defaults.TENANT_WEIGHT_MAX)]


class TenantBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`POST /v1/tenants`: `id` is 1 to 63 of a-z, 0-9 and `-`, not beginning with `-`.

    `weight` is its share of the workers it has in common with others, relative to theirs.
    """

    id: str
    weight: Weight = defaults.TENANT_WEIGHT


class TenantView(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    created_at: str
    weight: float = defaults.TENANT_WEIGHT


class NewTenant(TenantView, frozen=True, kw_only=True):
    """A tenant and its first admin key."""

    admin: NewKey


class TenantList(msgspec.Struct, frozen=True, kw_only=True):
    """Oldest first."""

    tenants: list[TenantView]
