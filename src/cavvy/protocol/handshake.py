"""The mutual challenge: both ends sign one transcript of both keys, both nonces and what the worker claims.

Signed bytes: `cavvy/ws-auth/v1` NUL role NUL, then each part behind its length (8 bytes, big-endian): coordinator key,
audience URL, worker key, server nonce, worker nonce, SHA-256(capabilities), SHA-256(token or nothing).
A signature made for another coordinator or another URL is therefore worth nothing here.
"""

from __future__ import annotations

import hashlib

import msgspec

from cavvy.core import ed25519

__all__ = ["CloseCode", "Transcript", "key_fingerprint"]


class CloseCode:
    """WebSocket close codes of the worker protocol."""

    RESTART = 1012  # the coordinator stops: keep running, reconnect
    SLOW = 1013  # frames piled up
    BAD_FRAME = 4400  # a frame before `register`, or one that cannot be one
    UNPROVEN = 4401  # the signature or the nonce is wrong
    NOT_ALLOWED = 4403  # unknown, revoked, or the token is used up
    SILENT = 4408  # no register in time, or no heartbeat for a lease
    OTHER_INSTANCE = 4409  # another process with the same key is alive
    FAILED = 4500  # this login could not be carried out: try again
    UNAVAILABLE = 4503  # the store does not take writes now: try again


class Transcript(msgspec.Struct, frozen=True, kw_only=True):
    """What both ends sign."""

    coordinator_key: bytes
    audience: str
    worker_key: bytes
    server_nonce: bytes
    worker_nonce: bytes
    capabilities: bytes
    token: str | None

    def _bytes(self, role: str) -> bytes:
        parts = (
            self.coordinator_key,
            self.audience.encode(),
            self.worker_key,
            self.server_nonce,
            self.worker_nonce,
            hashlib.sha256(self.capabilities).digest(),
            hashlib.sha256((self.token or "").encode()).digest(),
        )
        head = b"cavvy/ws-auth/v1\0" + role.encode() + b"\0"
        return head + b"".join(len(part).to_bytes(8, "big") + part for part in parts)

    def sign_as_worker(self, seed: bytes) -> str:
        return ed25519.sign(seed, self._bytes("worker")).hex()

    def sign_as_coordinator(self, seed: bytes) -> str:
        return ed25519.sign(seed, self._bytes("coordinator")).hex()

    def worker_proven(self, signature: str) -> bool:
        """Whether the worker signed this transcript with a sound key."""
        return ed25519.is_valid_key(self.worker_key) and ed25519.verify(
            self.worker_key, self._bytes("worker"), bytes.fromhex(signature)
        )

    def coordinator_proven(self, signature: str) -> bool:
        """Whether the coordinator signed this transcript."""
        try:
            raw = bytes.fromhex(signature)
        except ValueError:
            return False
        return ed25519.verify(self.coordinator_key, self._bytes("coordinator"), raw)


def key_fingerprint(key: bytes) -> str:
    """The 128-bit fingerprint of a coordinator's key that a worker token ends in."""
    return hashlib.sha256(key).hexdigest()[:32]
