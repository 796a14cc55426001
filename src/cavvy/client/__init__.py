"""The SDK. `Cavvy` and `AsyncCavvy` do the I/O; everything they know is in the modules they share:

`_protocol` (requests and answers), `_flow` (repeating, waiting, streaming; as generators that yield what to do next),
`_sse` (the event stream), `_job` and `receipt` (what callers get), `config` (where the coordinator is, which key).
"""

from __future__ import annotations

from cavvy.client._async import AsyncCavvy, AsyncJobStream
from cavvy.client._job import Job, JobPage
from cavvy.client._sync import Cavvy, JobStream
from cavvy.client.receipt import Receipt
from cavvy.protocol.rest import Delta, EventsCursor, JobChange, StopView, WorkerView

__all__ = [
    "AsyncCavvy",
    "AsyncJobStream",
    "Cavvy",
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
