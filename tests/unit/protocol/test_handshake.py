"""Both ends sign one transcript, and a signature over any other is worth nothing."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from nacl.signing import VerifyKey

from cavvy.core.ed25519 import public_key
from cavvy.protocol.handshake import CloseCode, Transcript, key_fingerprint

WORKER_SEED, COORDINATOR_SEED = b"\x01" * 32, b"\x02" * 32
PARTS: dict[str, Any] = {
    "coordinator_key": public_key(COORDINATOR_SEED),
    "audience": "ws://127.0.0.1:4010",
    "worker_key": public_key(WORKER_SEED),
    "server_nonce": b"\x03" * 32,
    "worker_nonce": b"\x04" * 32,
    "capabilities": b'{"slots":1}',
    "token": "cav_wrk_secret",
}
OTHERS: dict[str, Any] = {
    "coordinator_key": public_key(b"\x09" * 32),
    "audience": "ws://127.0.0.1:4011",
    "worker_key": public_key(b"\x08" * 32),
    "server_nonce": b"\x03" * 31 + b"\x00",
    "worker_nonce": b"\x04" * 31 + b"\x00",
    "capabilities": b'{"slots":2}',
    "token": None,
}
SMALL_ORDER_KEY = b"\x01" + bytes(31)


def transcript(**changes: Any) -> Transcript:
    return Transcript(**(PARTS | changes))


def test_a_worker_proves_its_key() -> None:
    assert transcript().worker_proven(transcript().sign_as_worker(WORKER_SEED))


def test_a_coordinator_proves_its_key() -> None:
    assert transcript().coordinator_proven(transcript().sign_as_coordinator(COORDINATOR_SEED))


@pytest.mark.parametrize("part", PARTS)
def test_a_workers_signature_is_worth_nothing_when_anything_differs(part: str) -> None:
    assert not transcript(**{part: OTHERS[part]}).worker_proven(transcript().sign_as_worker(WORKER_SEED))


@pytest.mark.parametrize("part", PARTS)
def test_a_coordinators_signature_is_worth_nothing_when_anything_differs(part: str) -> None:
    signature = transcript().sign_as_coordinator(COORDINATOR_SEED)
    assert not transcript(**{part: OTHERS[part]}).coordinator_proven(signature)


def test_what_one_end_signed_does_not_serve_the_other() -> None:
    """A coordinator cannot be made to sign what logs a worker in, nor the other way round."""
    both = transcript(worker_key=PARTS["coordinator_key"])
    assert not both.worker_proven(both.sign_as_coordinator(COORDINATOR_SEED))
    assert not both.coordinator_proven(both.sign_as_worker(COORDINATOR_SEED))


def test_no_byte_can_move_from_one_part_to_the_next() -> None:
    """Each part stands behind its length, so two different transcripts are never the same bytes."""
    one, other = transcript(server_nonce=b"12", worker_nonce=b"3"), transcript(server_nonce=b"1", worker_nonce=b"23")
    assert one.sign_as_worker(WORKER_SEED) != other.sign_as_worker(WORKER_SEED)


@pytest.mark.parametrize("role", ["worker", "coordinator"])
def test_the_signed_bytes_are_those_that_are_documented(role: str) -> None:
    parts = [
        PARTS["coordinator_key"],
        PARTS["audience"].encode(),
        PARTS["worker_key"],
        PARTS["server_nonce"],
        PARTS["worker_nonce"],
        hashlib.sha256(PARTS["capabilities"]).digest(),
        hashlib.sha256(PARTS["token"].encode()).digest(),
    ]
    body = b"cavvy/ws-auth/v1\0" + role.encode() + b"\0"
    for part in parts:
        body += len(part).to_bytes(8, "big") + part
    signature = getattr(transcript(), f"sign_as_{role}")(WORKER_SEED)
    VerifyKey(public_key(WORKER_SEED)).verify(body, bytes.fromhex(signature))


def test_no_token_is_signed_as_the_hash_of_nothing() -> None:
    assert transcript(token=None).sign_as_worker(WORKER_SEED) == transcript(token="").sign_as_worker(WORKER_SEED)


def test_a_key_of_small_order_proves_nothing() -> None:
    forged = (SMALL_ORDER_KEY + bytes(32)).hex()
    assert not transcript(worker_key=SMALL_ORDER_KEY).worker_proven(forged)


@pytest.mark.parametrize("signature", ["", "00", "zz" * 64, "00" * 64, "\u0660" * 128])
def test_what_is_no_signature_proves_no_coordinator(signature: str) -> None:
    assert not transcript().coordinator_proven(signature)


def test_a_fingerprint_is_128_bits_of_sha_256() -> None:
    key = PARTS["coordinator_key"]
    assert key_fingerprint(key) == hashlib.sha256(key).digest()[:16].hex()


def test_every_close_code_of_our_own_is_in_the_range_for_applications_and_means_one_thing() -> None:
    codes = [code for name, code in vars(CloseCode).items() if name.isupper()]
    assert len(set(codes)) == len(codes)
    assert all(code in (1012, 1013) or 4000 <= code <= 4999 for code in codes)
