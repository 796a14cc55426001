"""What the coordinator's sessions tell of changes, passed on to those who want to know."""

from __future__ import annotations

from cavvy.api.auth import KeyRing
from cavvy.api.feed import Feed
from cavvy.coordinator.meter import Meter
from cavvy.core.effects import JobEffect
from cavvy.core.identity import ApiKey
from cavvy.core.latch import StopLatch

__all__ = ["Watching"]


class Watching:
    """Keys for the key ring, jobs for the meter; everything for the tenants' events."""

    def __init__(self, ring: KeyRing, feed: Feed, meter: Meter) -> None:
        self._ring = ring
        self._feed = feed
        self._meter = meter

    def job(self, effect: JobEffect) -> None:
        self._meter.job(effect)
        self._feed.job(effect)

    def workers(self, owner: str) -> None:
        self._feed.workers(owner)

    def stop(self, latch: StopLatch) -> None:
        self._feed.stop_changed(latch)

    def key(self, key: ApiKey) -> None:
        self._ring.take(key)
        self._feed.wake()
