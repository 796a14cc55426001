"""What a socket of one of Dispatch's workers was given, and what came of it."""

from __future__ import annotations

import hashlib
import hmac
import uuid
from typing import Any

import msgspec

from cavvy.core.canonical import sha256_hex
from cavvy.core.job import AttemptRef, JobType, PrivacyClass
from cavvy.core.reading import Reading
from cavvy.protocol import legacy as wire

__all__ = ["LegacyTask", "pseudonym"]

#: Stands for a receipt that is none, or does not belong to its output: it is refused like any that does not verify.
_NO_RECEIPT = b""


class LegacyTask:
    """What this socket was given last and has not answered: a job's attempt, or the challenge.

    Its output and its receipt may come in two frames, in any order.
    """

    def __init__(self, job_id: str, epoch: int = 0) -> None:
        self.ref = AttemptRef(job_id, epoch)
        self.result: bytes | None = None
        self.receipt: bytes | None = None
        self.hash_said: Any = None
        self.reading: Reading | None = None

    def take(self, frame: wire.LegacyComplete) -> None:
        """Notes the first output; whatever comes after it is not asked for."""
        if self.result is not None:
            return
        self.result, self.hash_said = frame.output, frame.output_hash
        if frame.receipt is not None:
            self.take_receipt(frame.receipt)

    @property
    def vouched(self) -> bytes:
        """The receipt of the output; none that could count if the output was said to have another hash."""
        said = self.result is not None and self.hash_said == sha256_hex(self.result)
        return self.receipt if self.receipt is not None and said else _NO_RECEIPT

    def take_receipt(self, receipt: bytes) -> None:
        """Notes the first receipt."""
        if self.receipt is None:
            self.receipt = receipt

    def as_challenge(self) -> wire.LegacyAssign:
        """The frame that gives it to a worker that is to prove its key; it looks like any job."""
        return wire.LegacyAssign(
            job_id=self.ref.job_id,
            job_type=JobType.TASK.value,
            payload=wire.challenge_payload(),
            policy="CHEAP",
            privacy_class=PrivacyClass.PUBLIC.value,
            user_id=f"user_{uuid.uuid4().hex[:20]}",
        )


def pseudonym(seed: bytes, worker: str, tenant: str, user_id: str) -> str:
    """What this worker is told of who asks: the same name for the same user, and another one than any other worker
    gets. Nobody without the coordinator's seed can tell whose it is.
    """
    named = msgspec.json.encode(["cavvy/pseudonym/v1", worker, tenant, user_id])
    return "user_" + hmac.new(seed, named, hashlib.sha256).hexdigest()[:20]
