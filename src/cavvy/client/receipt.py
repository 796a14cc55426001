"""Receipts on the reader's side: verified offline, from the envelope, the worker's key and the result bytes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

import msgspec

from cavvy.core import legacy_receipt as legacy
from cavvy.core import receipt as core
from cavvy.core.canonical import sha256_hex
from cavvy.errors import ReceiptInvalid, ReceiptUndecidable
from cavvy.protocol.rest_receipt import ReceiptView

__all__ = ["Check", "Receipt", "Verdict", "envelope_of", "verdict"]


class Check(NamedTuple):
    """One thing that was looked at. `ok` is None when it could not be: `detail` says what is missing or wrong."""

    name: str
    ok: bool | None
    detail: str
    needed: bool = True


class Verdict(StrEnum):
    VALID = "valid"
    INVALID = "invalid"
    UNDECIDABLE = "undecidable"


def verdict(checks: Sequence[Check]) -> Verdict:
    """What the checks come to: anything wrong is invalid, anything needed and missing is undecidable."""
    if any(check.ok is False for check in checks):
        return Verdict.INVALID
    return Verdict.UNDECIDABLE if any(check.ok is None and check.needed for check in checks) else Verdict.VALID


def envelope_of(view: ReceiptView) -> bytes:
    """The envelope behind what a job shows of its receipt: the same signed bytes, as the payload has only one form.

    Raises ReceiptInvalid when something of it is missing.
    """
    if view.v is None:
        signed = {name: getattr(view, name) for name in legacy.LegacyReceipt.__struct_fields__}
        return legacy.seal_as_sent(signed, view.signature)
    try:
        payload = msgspec.convert(view.signed(), core.ReceiptPayload)
    except msgspec.ValidationError as error:
        raise ReceiptInvalid(f"the receipt cannot be read: {error}") from error
    return core.envelope(payload, view.signature)


class Receipt:
    """The envelope's exact bytes (`envelope`) and what was signed (`payload`).

    `key` (hex) and `result` (the exact bytes `Cavvy.result` gives) are what `verify` uses when it is not given others.
    `mended` result bytes are those that a job shows: with U+FFFD for half a character, which only JavaScript calls
    text. Raises ReceiptInvalid when the envelope cannot be read.
    """

    def __init__(
        self,
        envelope: bytes,
        *,
        key: str | None = None,
        result: bytes | None = None,
        job_id: str | None = None,
        mended: bool = False,
    ) -> None:
        self.envelope = envelope
        self._opened = (
            legacy.open_legacy(envelope.strip()) if legacy.is_legacy(envelope) else core.open_envelope(envelope)
        )
        self._key = key
        self._result = result
        self._job_id = job_id
        self._mended = mended

    def __repr__(self) -> str:
        return f"<Receipt of job {self.payload.job_id}, worker {self.payload.provider_pubkey[:16]}…>"

    @property
    def payload(self) -> core.ReceiptPayload | legacy.LegacyReceipt:
        """What the worker signed; believe it only after `verify`."""
        return self._opened.payload

    def verify(
        self, *, key: str | None = None, result: bytes | None = None
    ) -> core.ReceiptPayload | legacy.LegacyReceipt:
        """The payload, once every check passed. Asks nobody; needs the worker's public `key` (hex).

        Raises ReceiptInvalid naming the first wrong thing, ReceiptUndecidable when no key is known. Without result
        bytes the output hash is not checked: `checks` says so.
        """
        checks = self.checks(key=key, result=result)
        found = verdict(checks)
        if found is Verdict.INVALID:
            raise ReceiptInvalid(_first(checks, ok=False))
        if found is Verdict.UNDECIDABLE:
            raise ReceiptUndecidable(_first(checks, ok=None))
        return self.payload

    def checks(self, *, key: str | None = None, result: bytes | None = None) -> list[Check]:
        """Every check with its outcome, in the order signature, worker key, statement, output hash."""
        key = self._key if key is None else key
        output_hash = self._output_hash(self._result if result is None else result)
        if output_hash.ok is False and result is None and self._mended:
            output_hash = Check(
                "output hash",
                None,
                "the result is shown with U+FFFD for half a character; pass what `Cavvy.result` gives",
            )
        return [self._signature(), self._worker_key(key), self._statement(), output_hash]

    def _signature(self) -> Check:
        try:
            if isinstance(self._opened, core.OpenedReceipt):
                core.check_signature(self._opened)
            else:
                legacy.check_legacy_signature(self._opened)
        except ReceiptInvalid as error:
            return Check("signature", False, str(error))
        return Check("signature", True, f"by {self.payload.provider_pubkey}")

    def _worker_key(self, key: str | None) -> Check:
        if key is None:
            return Check("worker key", None, "unknown; pass the worker's key, or verify by job id once")
        if not re.fullmatch("[0-9a-fA-F]{64}", key):
            return Check("worker key", None, "the key given is not 64 hex digits")
        if key.lower() != self.payload.provider_pubkey:
            return Check("worker key", False, f"the receipt is signed by another key than {key.lower()}")
        return Check("worker key", True, "is the key expected")

    def _statement(self) -> Check:
        payload = self.payload
        if self._job_id is not None and payload.job_id != self._job_id:
            return Check("statement", False, f"is about job {payload.job_id}, not {self._job_id}")
        if isinstance(payload, legacy.LegacyReceipt):
            return Check("statement", True, f"job {payload.job_id} completed at {payload.completed_at}")
        if payload.v != 2:
            return Check("statement", None, f"version {payload.v} is not known to this Cavvy; upgrade it")
        if payload.status != "completed":
            return Check("statement", False, f"says {payload.status!r}, and only completions carry receipts")
        return Check("statement", True, f"job {payload.job_id} completed by {payload.model} at {payload.completed_at}")

    def _output_hash(self, result: bytes | None) -> Check:
        if result is None:
            return Check("output hash", None, "no result bytes given", needed=False)
        found = sha256_hex(result)
        if found != self.payload.output_hash:
            return Check(
                "output hash", False, f"the result hashes to {found}, the receipt says {self.payload.output_hash}"
            )
        return Check("output hash", True, found)


def _first(checks: Sequence[Check], *, ok: bool | None) -> str:
    return next(f"{check.name}: {check.detail}" for check in checks if check.ok is ok and check.needed | (ok is False))
