"""TLS that accepts exactly one public key, whoever signed the certificate around it.

A pin is the SHA-256 of the certificate's SubjectPublicKeyInfo (DER), in lower hex. It is compared inside the TLS
handshake, so that nothing is ever sent to a peer with another key: no request, no key, no token.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import ssl

__all__ = ["PinMismatch", "pin_of", "pinned_context", "valid_pin"]


class PinMismatch(ssl.SSLCertVerificationError):
    """The peer proved another key than the pinned one; `found` is its pin."""

    def __init__(self, found: str) -> None:
        super().__init__(1, f"the certificate's key is not the pinned one but {found}")
        self.found = found


def valid_pin(text: str) -> str | None:
    """`text` as a pin, None if it cannot be one."""
    pin = text.strip().lower()
    return pin if re.fullmatch(r"[0-9a-f]{64}", pin) else None


def pin_of(certificate: bytes) -> str:
    """The pin of a certificate (DER)."""
    from cryptography import x509  # 40 ms that plain connections are spared
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = x509.load_der_x509_certificate(certificate).public_key()
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def pinned_context(pin: str) -> ssl.SSLContext:
    """A client's TLS settings: the handshake raises PinMismatch unless the peer has the key of `pin`."""
    context = _PinnedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False  # the key is the name
    context.verify_mode = ssl.CERT_NONE
    context.pin = pin
    context.sslobject_class = _PinnedObject
    context.sslsocket_class = _PinnedSocket
    return context


class _PinnedContext(ssl.SSLContext):
    pin: str


class _PinnedObject(ssl.SSLObject):
    """What asyncio, uvloop and anyio speak TLS with."""

    def do_handshake(self) -> None:
        super().do_handshake()
        _check(self)


class _PinnedSocket(ssl.SSLSocket):
    """What blocking sockets speak TLS with."""

    def do_handshake(self, block: bool = False) -> None:
        super().do_handshake(block)
        _check(self)


def _check(peer: ssl.SSLObject | ssl.SSLSocket) -> None:
    assert isinstance(peer.context, _PinnedContext)
    certificate = peer.getpeercert(binary_form=True)
    found = pin_of(certificate) if certificate else "nothing"
    if not hmac.compare_digest(found, peer.context.pin):
        raise PinMismatch(found)
