"""Whether the coordinator serves."""

from __future__ import annotations

import msgspec

__all__ = ["Health"]


class Health(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where Dispatch's clients are served, they see how many workers are online; `network` and `timestamp` are theirs
    too.
    """

    status: str
    version: str
    workers_online: int | None = None
    network: str | None = None
    timestamp: str | None = None
