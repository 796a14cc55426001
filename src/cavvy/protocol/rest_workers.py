"""Workers, as the native API shows them, and the tokens they join with."""

from __future__ import annotations

import msgspec

from cavvy.core.job import JobType, WorkerStatus

__all__ = ["WorkerList", "WorkerToken", "WorkerTokenBody", "WorkerView"]


class WorkerView(msgspec.Struct, frozen=True, kw_only=True):
    """A worker: `key` (hex) is what its receipts are signed with; the rest from `slots` on is null while it is
    offline. `leaving`: it was told to end, takes nothing new and finishes what it runs. Until `cooling_until`
    it gets nothing: it did not take the last jobs it was given. `stopping` slots still end what was stopped;
    `unanswered_stops` were not answered in time since it connected. A `shared` one serves every tenant; all but the
    operator see only its `job_types` and `models`.
    """

    id: str
    key: str
    name: str
    status: WorkerStatus
    shared: bool = False
    enrolled_at: str
    online: bool
    slots: int | None = None
    free: int | None = None
    job_types: list[JobType] | None = None
    models: list[str] | None = None
    version: str | None = None
    skew_ms: int | None = None
    leaving: bool | None = None
    cooling_until: str | None = None
    stopping: int | None = None
    unanswered_stops: int | None = None


class WorkerList(msgspec.Struct, frozen=True, kw_only=True):
    workers: list[WorkerView]


class WorkerTokenBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`POST /v1/worker-tokens`; the body may be missing. `shared` is the operator's, whose tokens all have it.

    Who joins with a `private` one is also trusted with the PRIVATE jobs of the key's user.
    """

    needs_approval: bool = False
    shared: bool = False
    private: bool = False


class WorkerToken(msgspec.Struct, frozen=True, kw_only=True):
    """`POST /v1/worker-tokens`: single use; `join` is what goes behind `cavvy worker --join`."""

    token: str
    join: str
    expires_at: str
