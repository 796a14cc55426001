"""What people compare of a worker's key."""

from __future__ import annotations

import pytest

from cavvy.protocol.fingerprint import same_fingerprint, worker_fingerprint

KEY = "ab" * 32
SHOWN = "K8PV-5RHZ-2M2C-T1B6-0SAK"


def test_it_is_a_hundred_bits_of_the_keys_hash_in_groups_of_four() -> None:
    assert worker_fingerprint(KEY) == SHOWN


def test_another_key_has_another_one() -> None:
    assert worker_fingerprint("ab" * 31 + "ac") != SHOWN


@pytest.mark.parametrize("given", [SHOWN, SHOWN.lower(), SHOWN.replace("-", ""), SHOWN.replace("-", " ")])
def test_it_may_be_typed_as_people_do(given: str) -> None:
    assert same_fingerprint(KEY, given)


@pytest.mark.parametrize("given", ["", SHOWN[:-1], SHOWN[:-5], SHOWN + "0", SHOWN[:-1] + "é"])
def test_less_or_more_is_another_one(given: str) -> None:
    assert not same_fingerprint(KEY, given)
