"""Rate limits: token buckets in memory. A bucket holds a burst and refills steadily."""

from __future__ import annotations

import ipaddress
import math

import msgspec

from cavvy import defaults

__all__ = ["Bucket", "FailureLimit", "RateLimits", "network_of"]


class RateLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What is allowed: requests of one key, and failed authentications from one address."""

    key_requests_per_s: int = defaults.KEY_REQUESTS_PER_S
    key_requests_burst: int = defaults.KEY_REQUESTS_BURST
    auth_failures_per_s: int = defaults.AUTH_FAILURES_PER_S
    auth_failures_burst: int = defaults.AUTH_FAILURES_BURST


class Bucket:
    """`per_s` tokens a second, at most `burst` at once. Full at the start."""

    __slots__ = ("_at_s", "_burst", "_per_s", "_tokens")

    def __init__(self, per_s: float, burst: int) -> None:
        self._per_s = per_s
        self._burst = burst
        self._tokens = float(burst)
        self._at_s = -math.inf

    def take(self, now_s: float) -> bool:
        """Takes a token if there is one."""
        tokens = self._tokens + (now_s - self._at_s) * self._per_s
        if tokens > self._burst:
            tokens = self._burst
        self._at_s = now_s
        if tokens < 1.0:
            self._tokens = tokens
            return False
        self._tokens = tokens - 1.0
        return True

    def wait_s(self) -> int:
        """How many whole seconds until there is a token again."""
        return max(1, math.ceil((1.0 - self._tokens) / self._per_s))


class FailureLimit:
    """A bucket for each address that failed lately: the ones that failed longest ago are forgotten first."""

    def __init__(self, limits: RateLimits, *, most: int = defaults.AUTH_FAILURE_ADDRESSES) -> None:
        self._limits = limits
        self._most = most
        self._buckets: dict[str, Bucket] = {}

    def failed(self, address: str, now_s: float) -> int:
        """Notes a failure; 0 while it may be answered, else for how many seconds to stay away."""
        name = network_of(address)
        bucket = self._buckets.pop(name, None)
        if bucket is None:
            bucket = Bucket(self._limits.auth_failures_per_s, self._limits.auth_failures_burst)
        self._buckets[name] = bucket
        if len(self._buckets) > self._most:
            del self._buckets[next(iter(self._buckets))]
        return 0 if bucket.take(now_s) else bucket.wait_s()

    def __len__(self) -> int:
        return len(self._buckets)


def network_of(address: str) -> str:
    """An IPv6 machine has a whole /64 to come from."""
    if ":" not in address:
        return address
    try:
        parsed = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    return str(parsed.ipv4_mapped) if parsed.ipv4_mapped else parsed.packed[:8].hex()
