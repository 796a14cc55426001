"""The public test kit: a virtual clock, the whole coordinator in memory, workers and providers that do as told.

`Stack` drives the pure core over a store with no sockets and no waiting, and `FakeWorker` speaks for one worker in it;
`live_stack` runs everything over real sockets with a `ScriptedProvider` in place of a model. `Simulation(seed)` shakes
the real shells and cores in virtual time and holds what happened against the promises.
"""

from cavvy.testing.clock import VirtualClock
from cavvy.testing.live import LiveStack, live_stack
from cavvy.testing.providers import ScriptedProvider
from cavvy.testing.simulation import Simulation
from cavvy.testing.stack import Stack, dice
from cavvy.testing.stores import FailingStore
from cavvy.testing.workers import FakeLegacyWorker, FakeWorker

__all__ = [
    "FailingStore",
    "FakeLegacyWorker",
    "FakeWorker",
    "LiveStack",
    "ScriptedProvider",
    "Simulation",
    "Stack",
    "VirtualClock",
    "dice",
    "live_stack",
]
