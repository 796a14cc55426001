"""Token buckets: what they let through, and how much they remember."""

from __future__ import annotations

import pytest

from cavvy import defaults
from cavvy.api.limits import Bucket, FailureLimit, RateLimits


def taken(bucket: Bucket, now_s: float, tries: int = 100) -> int:
    return sum(bucket.take(now_s) for _ in range(tries))


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    bucket = Bucket(per_s=2, burst=5)
    assert [taken(bucket, at_s) for at_s in (0.0, 0.0, 0.5, 1.5, 100.0)] == [5, 0, 1, 2, 5]


def test_an_empty_bucket_says_when_to_come_back() -> None:
    bucket = Bucket(per_s=0.25, burst=1)
    assert bucket.take(10.0)
    assert not bucket.take(10.0)
    assert bucket.wait_s() == 4
    assert bucket.take(14.0)


def test_asking_in_vain_costs_nothing() -> None:
    bucket = Bucket(per_s=1, burst=1)
    assert taken(bucket, 0.0) == 1
    assert taken(bucket, 1.0) == 1


FIVE = RateLimits(auth_failures_per_s=1, auth_failures_burst=5)


def failures(limit: FailureLimit, *addresses: str) -> list[int]:
    """How many failures of each address are answered."""
    return [sum(limit.failed(address, 0.0) == 0 for _ in range(10)) for address in addresses]


def test_each_address_has_failures_of_its_own() -> None:
    assert failures(FailureLimit(FIVE), "192.0.2.1", "192.0.2.2") == [5, 5]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param("2001:db8::1", "2001:db8::ffff:1", id="one /64"),
        pytest.param("::ffff:192.0.2.1", "192.0.2.1", id="IPv4 in IPv6"),
        pytest.param("fe80::1%eth0", "fe80::2%eth1", id="with a zone"),
    ],
)
def test_one_machine_of_many_addresses_is_one(first: str, second: str) -> None:
    assert failures(FailureLimit(FIVE), first, second) == [5, 0]


def test_two_networks_are_two() -> None:
    assert failures(FailureLimit(FIVE), "2001:db8:0:1::1", "2001:db8:0:2::1") == [5, 5]


def test_what_is_remembered_is_bounded_and_the_longest_ago_goes_first() -> None:
    limit = FailureLimit(FIVE, most=3)
    failures(limit, "a", "b", "c", "a", "d")
    assert len(limit) == 3
    assert failures(limit, "a", "b") == [0, 5]


def test_the_load_of_a_benchmark_is_far_from_the_limit_of_a_key() -> None:
    assert defaults.KEY_REQUESTS_PER_S >= 5 * 2000
    bucket = Bucket(defaults.KEY_REQUESTS_PER_S, defaults.KEY_REQUESTS_BURST)
    assert all(bucket.take(at / 4000) for at in range(40_000))
