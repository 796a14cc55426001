"""The SDK. `Cavvy` and `AsyncCavvy` (each with its `…_managing` and `…_wire`) do the I/O; what they know they share:

`_protocol` (requests and answers), `_flow` (repeating, waiting, streaming; as generators that yield what to do next),
`_sse` (the event stream), `_work`, `_compute`, `_hosted` and `_routing` (what `ComputeRouter` is asked, what it says,
and to whom), `_job` and `receipt` (what callers get), `config` (where the coordinator is, which key). The names below
are loaded when first used: a coordinator reads its settings with `config` and needs no HTTP client.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cavvy.client._async import AsyncCavvy, AsyncJobStream
    from cavvy.client._compute import ComputeQuote
    from cavvy.client._job import Job, JobPage
    from cavvy.client._routing import ComputeResult
    from cavvy.client._sync import Cavvy, JobStream
    from cavvy.client.receipt import Receipt
    from cavvy.client.router import AsyncComputeRouter, ComputeRouter
    from cavvy.protocol.rest_events import Delta, EventsCursor, JobChange
    from cavvy.protocol.rest_stop import StopView
    from cavvy.protocol.rest_workers import WorkerView

__all__ = [
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
    "JobPage",
    "JobStream",
    "Receipt",
    "StopView",
    "WorkerView",
]

_HOME_OF = {
    "AsyncCavvy": "cavvy.client._async",
    "AsyncComputeRouter": "cavvy.client.router",
    "AsyncJobStream": "cavvy.client._async",
    "Cavvy": "cavvy.client._sync",
    "ComputeQuote": "cavvy.client._compute",
    "ComputeResult": "cavvy.client._routing",
    "ComputeRouter": "cavvy.client.router",
    "Delta": "cavvy.protocol.rest_events",
    "EventsCursor": "cavvy.protocol.rest_events",
    "Job": "cavvy.client._job",
    "JobChange": "cavvy.protocol.rest_events",
    "JobPage": "cavvy.client._job",
    "JobStream": "cavvy.client._sync",
    "Receipt": "cavvy.client.receipt",
    "StopView": "cavvy.protocol.rest_stop",
    "WorkerView": "cavvy.protocol.rest_workers",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'cavvy.client' has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value
