"""p15: a receipt verifies offline."""

from __future__ import annotations

import msgspec
import pytest

from cavvy.client import Job, Receipt
from cavvy.core.javascript import as_unicode
from cavvy.errors import ReceiptInvalid, ReceiptUndecidable
from tests.unit.client.fake_coordinator import completed
from tests.unit.client.receipts import (
    KEY,
    OTHER_KEY,
    RESULT,
    SMALL_ORDER_KEY,
    legacy,
    of_small_order,
    sealed,
    shown,
    tampered,
)


def test_p15_a_right_receipt_is_valid() -> None:
    assert Receipt(sealed()).verify(key=KEY, result=RESULT).model == "m"


def test_p15_the_key_may_be_in_capitals() -> None:
    Receipt(sealed()).verify(key=KEY.upper(), result=RESULT)


def test_p15_without_the_result_the_output_hash_is_not_checked_and_says_so() -> None:
    receipt = Receipt(sealed())
    receipt.verify(key=KEY)
    assert [(check.name, check.ok) for check in receipt.checks(key=KEY)] == [
        ("signature", True), ("worker key", True), ("statement", True), ("output hash", None),
    ]  # fmt: skip


def test_p15_another_result_is_invalid() -> None:
    with pytest.raises(ReceiptInvalid, match="output hash"):
        Receipt(sealed()).verify(key=KEY, result=RESULT + b" ")


def test_p15_an_unknown_key_is_undecidable() -> None:
    with pytest.raises(ReceiptUndecidable, match="worker key"):
        Receipt(sealed()).verify(result=RESULT)


def test_p15_another_workers_key_is_invalid() -> None:
    with pytest.raises(ReceiptInvalid, match="another key"):
        Receipt(sealed()).verify(key=OTHER_KEY, result=RESULT)


def test_p15_a_changed_payload_is_invalid() -> None:
    with pytest.raises(ReceiptInvalid, match="signature"):
        Receipt(tampered()).verify(key=KEY)


def test_p15_a_key_of_small_order_signs_nothing() -> None:
    with pytest.raises(ReceiptInvalid, match="sound"):
        Receipt(of_small_order()).verify(key=SMALL_ORDER_KEY)


def test_p15_what_is_wrong_weighs_more_than_what_is_missing() -> None:
    with pytest.raises(ReceiptInvalid, match="signature"):
        Receipt(tampered()).verify()


def test_p15_only_completions_have_receipts() -> None:
    with pytest.raises(ReceiptInvalid, match="failed"):
        Receipt(sealed(status="failed")).verify(key=KEY)


def test_p15_an_unknown_version_is_undecidable() -> None:
    with pytest.raises(ReceiptUndecidable, match="version 3"):
        Receipt(sealed(v=3)).verify(key=KEY)


def test_p15_a_receipt_for_another_job_is_invalid() -> None:
    with pytest.raises(ReceiptInvalid, match="is about job"):
        Receipt(sealed(job_id="another"), job_id="this").verify(key=KEY)


@pytest.mark.parametrize("envelope", [b"", b"{}", b"\xff", sealed()[:-1], sealed().replace(b'"sig":"', b'"sig":"!')])
def test_what_is_no_envelope_is_invalid(envelope: bytes) -> None:
    with pytest.raises(ReceiptInvalid, match="cannot be read"):
        Receipt(envelope)


def test_the_receipt_of_a_job_verifies_with_what_the_job_brings() -> None:
    attempts = [
        {
            "attempt": number, "worker": key, "worker_id": "w", "granted_at": "", "started_at": None, "ended_at": None,
            "end": end, "counted": False, "input_salt": "", "usage": None,
        }
        for number, key, end in ((1, OTHER_KEY, "lost"), (2, KEY, "completed"))
    ]  # fmt: skip
    view = completed("Paris.", attempts=attempts, receipt=shown()) | {"result": msgspec.Raw(RESULT)}
    job = msgspec.json.decode(msgspec.json.encode(view), type=Job)
    assert job.receipt is not None
    assert job.receipt.envelope == sealed()
    job.receipt.verify()


HALF = rb'{"text":"horse \ud83d..."}'


def with_half_a_character(result: bytes) -> Receipt:
    """The receipt, for the output HALF, of a job that shows this result."""
    view = completed("horse", receipt=legacy(HALF)) | {"result": msgspec.Raw(result)}
    receipt = msgspec.json.decode(msgspec.json.encode(view), type=Job).receipt
    assert receipt is not None
    return receipt


def test_p15_a_result_that_a_job_cannot_show_exactly_is_undecidable() -> None:
    with pytest.raises(ReceiptUndecidable, match=r"U\+FFFD for half a character"):
        with_half_a_character(as_unicode(HALF)).verify(key=KEY)


def test_p15_its_exact_bytes_are_valid() -> None:
    with_half_a_character(as_unicode(HALF)).verify(key=KEY, result=HALF)


@pytest.mark.parametrize("other", [b'{"text":"cow ..."}', as_unicode(HALF)])
def test_p15_bytes_that_are_given_and_are_others_are_invalid(other: bytes) -> None:
    with pytest.raises(ReceiptInvalid, match="output hash"):
        with_half_a_character(as_unicode(HALF)).verify(key=KEY, result=other)


def test_p15_a_result_that_shows_no_half_character_and_is_another_is_invalid() -> None:
    with pytest.raises(ReceiptInvalid, match="output hash"):
        with_half_a_character(b'{"text":"cow ..."}').verify(key=KEY)


def test_a_job_that_has_not_completed_has_no_receipt() -> None:
    job = Job(id="", number=1, status="pending", job_type="", privacy_class="", user_id="", created_at="")  # type: ignore[arg-type]
    assert job.receipt is None
    assert job.result is None


def test_p15_a_receipt_that_was_changed_on_its_way_is_invalid() -> None:
    """`verified` is the coordinator's word; the reader's check does not need it."""
    view = completed("Paris.", receipt=shown() | {"payment_ref": "pay_2"}) | {"result": msgspec.Raw(RESULT)}
    job = msgspec.json.decode(msgspec.json.encode(view), type=Job)
    assert job.receipt is not None
    with pytest.raises(ReceiptInvalid, match="signature"):
        job.receipt.verify(key=KEY)


def test_a_receipt_without_all_its_fields_is_invalid() -> None:
    view = completed("Paris.", receipt={name: value for name, value in shown().items() if name != "params_hash"})
    job = msgspec.json.decode(msgspec.json.encode(view), type=Job)
    with pytest.raises(ReceiptInvalid, match="cannot be read"):
        _ = job.receipt
