"""Cavvy: a self-hosted dispatcher for AI jobs.

`core` decides and does no I/O; `store`, `coordinator` and `api` are the server around it, `worker` and `providers` the
process that runs jobs. `protocol` is what they say to each other; `client` and `cli` are how people use them. The names
below are the public ones, loaded when first used, so that `import cavvy` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cavvy.version import __version__

if TYPE_CHECKING:
    from cavvy.client import (
        AsyncCavvy,
        AsyncComputeRouter,
        AsyncJobStream,
        Cavvy,
        ComputeQuote,
        ComputeResult,
        ComputeRouter,
        Delta,
        EventsCursor,
        Job,
        JobChange,
        JobStream,
        Receipt,
        StopView,
        WorkerView,
    )
    from cavvy.core.job import FailureCode, JobStatus
    from cavvy.errors import (
        AttemptRestarted,
        CavvyError,
        ClientError,
        ComputeFailed,
        InvalidInput,
        JobFailed,
        JobTimeout,
        NoCoordinator,
        ReceiptError,
        ReceiptInvalid,
        ReceiptUndecidable,
        RequestRefused,
    )


__all__ = [
    "AsyncCavvy",
    "AsyncComputeRouter",
    "AsyncJobStream",
    "AttemptRestarted",
    "Cavvy",
    "CavvyError",
    "ClientError",
    "ComputeFailed",
    "ComputeQuote",
    "ComputeResult",
    "ComputeRouter",
    "Delta",
    "EventsCursor",
    "FailureCode",
    "InvalidInput",
    "Job",
    "JobChange",
    "JobFailed",
    "JobStatus",
    "JobStream",
    "JobTimeout",
    "NoCoordinator",
    "Receipt",
    "ReceiptError",
    "ReceiptInvalid",
    "ReceiptUndecidable",
    "RequestRefused",
    "StopView",
    "WorkerView",
    "__version__",
]

_HOMES = {
    "cavvy.client": (
        "AsyncCavvy",
        "AsyncComputeRouter",
        "AsyncJobStream",
        "Cavvy",
        "ComputeQuote",
        "ComputeResult",
        "ComputeRouter",
        "Delta",
        "EventsCursor",
        "Job",
        "JobChange",
        "JobStream",
        "Receipt",
        "StopView",
        "WorkerView",
    ),
    "cavvy.core.job": ("FailureCode", "JobStatus"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'cavvy' has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF.get(name, "cavvy.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
