"""Whether the coordinator serves."""

from __future__ import annotations

import msgspec

__all__ = ["Health"]


class Health(msgspec.Struct, frozen=True, kw_only=True):
    status: str
    version: str
