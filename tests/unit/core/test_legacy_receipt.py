"""p15: receipts of Dispatch's form: the original's own bytes are good, and everything else is refused."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from cavvy import defaults
from cavvy.core.canonical import sha256_hex
from cavvy.core.ed25519 import public_key, sign
from cavvy.core.legacy_receipt import check_legacy, is_legacy, open_legacy, seal_as_sent
from cavvy.errors import ReceiptInvalid

SEED = bytes([7] * 32)
KEY = "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c"
JOB = "00000000-0000-4000-8000-000000000001"
RESULT = b'{"sentiment":"positive","confidence":0.5}'
RECEIPT: dict[str, Any] = {
    "job_id": JOB,
    "provider_pubkey": KEY,
    "output_hash": "da71434a9aee626c8763616726e2c48aa9084cbcd86625137cd802086439d432",
    "completed_at": "2026-01-02T03:04:05.678Z",
    "payment_ref": None,
}
SIGNATURE = "Cqpd4Na7xOUbCyVXJN1I/tnYcWLISYBRtEMUx5ksrb4Jm4qLG06dN6OMpKksJ5v/Nk+zNKVrGo38KmsLdOw0Ag=="


def signed(receipt: dict[str, Any], seed: bytes = SEED) -> bytes:
    message = json.dumps(receipt, separators=(",", ":"), ensure_ascii=False).encode()
    return seal_as_sent(receipt, base64.b64encode(sign(seed, message)).decode())


def checked(envelope: bytes, result: bytes = RESULT, **expected: Any) -> None:
    check_legacy(open_legacy(envelope), sha256_hex(result), **({"job_id": JOB, "worker": KEY} | expected))


def test_p15_the_vector_of_the_original_verifies() -> None:
    checked(seal_as_sent(RECEIPT, SIGNATURE))


def test_p15_the_signed_bytes_are_those_that_were_kept() -> None:
    envelope = seal_as_sent(RECEIPT, SIGNATURE)
    assert is_legacy(envelope)
    assert open_legacy(envelope).payload_bytes in envelope


def test_p15_another_order_of_the_members_verifies_if_it_was_signed_so() -> None:
    checked(signed(dict(reversed(RECEIPT.items()))))


def test_p15_another_order_than_the_signed_one_is_refused() -> None:
    with pytest.raises(ReceiptInvalid, match="signature is wrong"):
        checked(seal_as_sent(dict(reversed(RECEIPT.items())), SIGNATURE))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"job_id": "00000000-0000-4000-8000-000000000002"}, "job_id"),
        ({"output_hash": "ab" * 32}, "output_hash"),
        ({"output_hash": "not-a-hash"}, "output_hash"),
        ({"output_hash": "sha256:" + RECEIPT["output_hash"]}, "output_hash"),
        ({"provider_pubkey": public_key(bytes(32)).hex()}, "provider_pubkey"),
        ({"provider_pubkey": "someone-else"}, "provider_pubkey"),
        ({"provider_pubkey": KEY.upper()}, "provider_pubkey"),
        ({"completed_at": "yesterday"}, "completed_at"),
        ({"payment_ref": "somebody's"}, "payment_ref"),
        ({"more": "1"}, "more"),
        ({"job_id": None}, "job_id"),
    ],
)
def test_p15_a_field_that_is_not_so_is_named(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ReceiptInvalid, match=named):
        checked(signed(RECEIPT | changes))


@pytest.mark.parametrize(
    ("receipt", "signature"),
    [
        (None, SIGNATURE),
        ([], SIGNATURE),
        ("x", SIGNATURE),
        ({}, SIGNATURE),
        (RECEIPT, None),
        (RECEIPT, 1.0),
        (RECEIPT, ""),
        (RECEIPT, "A" * 88),
        (RECEIPT, SIGNATURE.rstrip("=")),
        (RECEIPT, SIGNATURE[:-3] + "h=="),
        (RECEIPT, SIGNATURE + "\n"),
        (RECEIPT, base64.b64encode(bytes(64)).decode()),
        (RECEIPT | {"payment_ref": "x" * defaults.MAX_LEGACY_RECEIPT_BYTES}, SIGNATURE),
        (RECEIPT | {"payment_ref": "\ud83d"}, SIGNATURE),
    ],
)
def test_p15_what_is_no_receipt_is_refused(receipt: Any, signature: Any) -> None:
    with pytest.raises(ReceiptInvalid):
        checked(seal_as_sent(receipt, signature))


@pytest.mark.parametrize("data", [b"", b"null", b"{}", b"\xff", b'{"receipt":{},"signature":"","x":1}', b"[" * 4000])
def test_p15_bytes_that_nobody_sealed_are_refused(data: bytes) -> None:
    with pytest.raises(ReceiptInvalid):
        open_legacy(data)


def test_p15_what_is_said_of_a_bad_receipt_can_be_stored() -> None:
    with pytest.raises(ReceiptInvalid) as refused:
        open_legacy(seal_as_sent(RECEIPT | {"\ud83d": "x"}, SIGNATURE))
    assert str(refused.value).encode()


def test_p15_a_second_spelling_of_the_same_receipt_is_refused() -> None:
    with pytest.raises(ReceiptInvalid, match="as JavaScript writes it"):
        open_legacy(seal_as_sent(RECEIPT, SIGNATURE).replace(b'","', b'", "', 1))


def test_p15_another_output_than_the_signed_one_is_refused() -> None:
    with pytest.raises(ReceiptInvalid, match="output_hash"):
        checked(signed(RECEIPT), RESULT.replace(b"0.5", b"0.6"))


def test_p15_a_good_receipt_of_another_job_is_refused() -> None:
    with pytest.raises(ReceiptInvalid, match="job_id"):
        checked(signed(RECEIPT), job_id="00000000-0000-7000-8000-000000000009")


def test_p15_another_workers_good_receipt_is_refused() -> None:
    with pytest.raises(ReceiptInvalid, match="provider_pubkey"):
        checked(signed(RECEIPT), worker=public_key(bytes(32)).hex())


def test_p15_a_key_for_which_anybody_can_sign_is_refused() -> None:
    everybodys = "01" + "00" * 31
    forged = seal_as_sent(RECEIPT | {"provider_pubkey": everybodys}, base64.b64encode(bytes([1] + [0] * 63)).decode())
    with pytest.raises(ReceiptInvalid, match="sound"):
        checked(forged, worker=everybodys)


def test_p15_a_worker_that_was_not_told_the_jobs_payment_need_not_sign_it() -> None:
    checked(signed(RECEIPT | {"payment_ref": None}), payment_ref="paid-1")


def test_p15_the_jobs_own_payment_may_stand_in_it() -> None:
    checked(signed(RECEIPT | {"payment_ref": "paid-1"}), payment_ref="paid-1")
