"""What Dispatch's workers say in a simulation: honest frames, and receipts that are wrong in one thing each."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from random import Random
from typing import Any

from cavvy.core import ed25519, javascript
from cavvy.core.canonical import sha256_hex
from cavvy.core.legacy_receipt import seal_as_sent

__all__ = ["FORGERIES", "Frame", "LegacyVoice", "as_text"]

Frame = dict[str, Any]


def as_text(frame: Frame) -> str:
    return javascript.stringify(javascript.parse(json.dumps(frame))).decode()


class LegacyVoice:
    """Speaks with one key. No two of its receipts are alike."""

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._receipts = 0
        self.key = ed25519.public_key(seed).hex()

    def registration(self, key: str, kind: str, job_types: tuple[str, ...]) -> Frame:
        """Says that `key` is its own."""
        return {"type": "register", "provider_pubkey": key, "provider_type": kind, "capabilities": job_types}

    def completion(self, job_id: str, output: Any, **wrong: Any) -> Frame:
        """`wrong` replaces fields of the receipt before it is signed."""
        hashed = sha256_hex(javascript.stringify(output))
        self._receipts += 1
        receipt = {
            "job_id": job_id,
            "provider_pubkey": self.key,
            "output_hash": hashed,
            "completed_at": f"2026-01-01T00:{self._receipts // 60:02}:{self._receipts % 60:02}.000Z",
            "payment_ref": None,
            **wrong,
        }
        signature = ed25519.sign(self._seed, javascript.stringify(receipt))
        return {
            "type": "job_complete",
            "job_id": job_id,
            "output": output,
            "output_hash": hashed,
            "receipt": receipt,
            "receipt_signature": base64.b64encode(signature).decode(),
        }

    @staticmethod
    def in_two(whole: Frame) -> tuple[Frame, Frame]:
        """The output, and the receipt by itself."""
        output = {name: what for name, what in whole.items() if not name.startswith("receipt")}
        alone = {"type": "receipt_submit", "receipt": whole["receipt"], "signature": whole["receipt_signature"]}
        return output, alone

    @staticmethod
    def envelope(frame: Frame) -> bytes:
        """What the coordinator keeps of the receipt in this frame."""
        signature = frame["receipt_signature"] if "receipt_signature" in frame else frame.get("signature")
        return seal_as_sent(frame.get("receipt"), signature)


def _another_signature(voice: LegacyVoice, whole: Frame, _: Frame, dice: Random) -> Frame:
    return whole | {"receipt_signature": base64.b64encode(dice.randbytes(64)).decode()}


def _another_key(voice: LegacyVoice, whole: Frame, _: Frame, dice: Random) -> Frame:
    """A sound receipt, of somebody else."""
    return LegacyVoice(dice.randbytes(32)).completion(whole["job_id"], whole["output"])


def _another_output(voice: LegacyVoice, whole: Frame, _: Frame, dice: Random) -> Frame:
    """The receipt is of another output than the one that came."""
    return whole | {"output": {"text": "another", "model": "m", "method": "guess"}}


def _an_earlier_receipt(voice: LegacyVoice, whole: Frame, earlier: Frame, dice: Random) -> Frame:
    """Sound and its own, of another job."""
    return whole | {name: earlier[name] for name in ("receipt", "receipt_signature")}


def _another_hash(voice: LegacyVoice, whole: Frame, _: Frame, dice: Random) -> Frame:
    return voice.completion(whole["job_id"], whole["output"], output_hash="0" * 64)


def _no_receipt(voice: LegacyVoice, whole: Frame, _: Frame, dice: Random) -> Frame:
    return whole | {"receipt": "good", "receipt_signature": 1.0}


#: Each makes a completion that must not count from an honest one, and from one of an earlier job.
FORGERIES: tuple[Callable[[LegacyVoice, Frame, Frame, Random], Frame], ...] = (
    _another_signature,
    _another_key,
    _another_output,
    _an_earlier_receipt,
    _another_hash,
    _no_receipt,
)
