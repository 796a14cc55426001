"""The public test kit: a virtual clock, the whole coordinator in memory, a worker that does as told.

`Stack` drives the pure core over a real store with no sockets and no waiting; `FakeWorker` speaks for one worker in it.
"""

from cavvy.testing.clock import VirtualClock
from cavvy.testing.stack import Stack, dice
from cavvy.testing.stores import FailingStore
from cavvy.testing.workers import FakeWorker

__all__ = ["FailingStore", "FakeWorker", "Stack", "VirtualClock", "dice"]
