"""Whether a completion is what its receipt says, found out again beside the coordinator: P15."""

from __future__ import annotations

from cavvy.core.canonical import sha256_hex
from cavvy.core.legacy_receipt import check_legacy, is_legacy, open_legacy
from cavvy.core.receipt import check_signature, open_envelope
from cavvy.core.writes import CompleteJob
from cavvy.errors import ReceiptInvalid

__all__ = ["doubt"]


def doubt(write: CompleteJob, worker: str) -> str | None:
    """What is wrong with the receipt of a completion that was taken of `worker`, if anything."""
    try:
        if is_legacy(write.receipt):
            check_legacy(open_legacy(write.receipt), sha256_hex(write.result), job_id=write.job_id, worker=worker)
            return None
        opened = open_envelope(write.receipt)
        check_signature(opened)
    except ReceiptInvalid as error:
        return str(error)
    payload = opened.payload
    claims = payload.job_id, payload.attempt, payload.provider_pubkey, payload.output_hash
    known = write.job_id, write.epoch, worker, sha256_hex(write.result)
    return None if claims == known else f"it is of {claims}, should be of {known}"
