"""How the native API says no."""

from __future__ import annotations

import msgspec

from cavvy.protocol.rest_stop import StopView

__all__ = ["Problem"]


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """RFC 9457 problem+json.

    `code` is documented; `detail` says what to do; `outcome` says whether anything was written.
    """

    type: str
    title: str
    status: int
    detail: str
    code: str
    error: str
    field: str | None = None
    allowed: list[str] | None = None
    outcome: str | None = None
    job_id: str | None = None
    request_id: str | None = None
    stop: StopView | None = None
