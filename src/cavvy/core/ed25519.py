"""Ed25519 by libsodium: strict about keys of small order, non-canonical points and malleable signatures."""

from __future__ import annotations

from nacl import bindings
from nacl.exceptions import CryptoError

__all__ = ["is_valid_key", "public_key", "sign", "verify"]


def public_key(seed: bytes) -> bytes:
    """The 32-byte public key of a 32-byte seed."""
    return bindings.crypto_sign_seed_keypair(seed)[0]


def is_valid_key(key: bytes) -> bool:
    """Whether `key` is a canonical point of the prime-order group: no key of small order, for which anyone can sign."""
    return len(key) == 32 and bool(bindings.crypto_core_ed25519_is_valid_point(key))


def sign(seed: bytes, message: bytes) -> bytes:
    """The 64-byte detached signature of `message`."""
    _, secret = bindings.crypto_sign_seed_keypair(seed)
    return bindings.crypto_sign(message, secret)[:64]


def verify(key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` is `key`'s over `message`; False, never an exception, for anything malformed."""
    if len(key) != 32 or len(signature) != 64:
        return False
    try:
        bindings.crypto_sign_open(signature + message, key)
    except CryptoError:
        return False
    return True
