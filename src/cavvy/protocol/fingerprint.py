"""A worker's key as people compare it: on its own screen, and where somebody is asked to trust it."""

from __future__ import annotations

import hashlib

__all__ = ["same_fingerprint", "worker_fingerprint"]

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's: nothing in it is taken for something else
_DIGITS, _GROUP = 20, 4  # 100 bits of the hash


def worker_fingerprint(key: str) -> str:
    """Of the key (hex): the first 100 bits of its SHA-256 in base 32, in groups of four."""
    number = int.from_bytes(hashlib.sha256(bytes.fromhex(key)).digest()) >> (256 - 5 * _DIGITS)
    digits = "".join(_ALPHABET[number >> 5 * place & 31] for place in reversed(range(_DIGITS)))
    return "-".join(digits[at : at + _GROUP] for at in range(0, _DIGITS, _GROUP))


def same_fingerprint(key: str, given: str) -> bool:
    """Whether somebody has given this key's fingerprint, however he wrote it: in lower case, without the dashes."""
    written = given.upper().replace("-", "").replace(" ", "")
    return written == worker_fingerprint(key).replace("-", "")
