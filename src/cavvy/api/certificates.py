"""The coordinator's TLS certificate: its owner's, or one it signs itself and whose key it keeps.

Who has pinned the key of a self-signed certificate goes on trusting it when the certificate is made anew, because the
names of the machine have changed or its end is near: the key stays.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Sequence
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from cavvy import defaults
from cavvy.errors import StartError
from cavvy.private_files import read_private, write_private
from cavvy.protocol.pinning import pin_of

__all__ = ["Certificate", "own_certificate", "self_signed"]

KEY_FILE = "tls.key"
CERTIFICATE_FILE = "tls.crt"


class Certificate(NamedTuple):
    """The server's TLS settings and the pin of its key."""

    context: ssl.SSLContext
    pin: str

    def vouched_for(self, host: str) -> bool:
        """Whether a client with this machine's certificate authorities would accept it for `host`."""
        client_side = ssl.create_default_context()
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = client_side.wrap_bio(to_client, to_server, server_hostname=host)
        server = self.context.wrap_bio(to_server, to_client, server_side=True)
        for _ in range(8):  # flights of a handshake: at most four each way
            for side in (client, server):
                try:
                    side.do_handshake()
                except ssl.SSLWantReadError:
                    continue
                except ssl.SSLError:
                    return False
                if side is client:
                    return True
        return False


def own_certificate(certificate: Path, key: Path, now: datetime) -> Certificate:
    """The certificate (PEM, with its chain) of the coordinator's owner.

    Raises StartError that says which of the files cannot be used, and why.
    """
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
    except OSError as error:
        raise _unusable(certificate, f"cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise _unusable(certificate, "does not hold a certificate in PEM form") from error
    if not found.not_valid_before_utc <= now < found.not_valid_after_utc:
        since, until = found.not_valid_before_utc, found.not_valid_after_utc
        raise _unusable(
            certificate, f"holds a certificate that is valid from {since:%Y-%m-%d} to {until:%Y-%m-%d} only"
        )
    try:
        readable = load_pem_private_key(key.read_bytes(), password=None)
    except OSError as error:
        raise _unusable(key, f"cannot be read: {error.strerror}") from error
    except TypeError as error:
        raise _unusable(key, "is encrypted; write it out without its passphrase, readable by you alone") from error
    except ValueError as error:
        raise _unusable(key, "does not hold a private key in PEM form") from error
    if readable.public_key() != found.public_key():
        raise _unusable(
            key, f"is not the key of the certificate in {certificate}; give the pair that was issued together"
        )
    return _loaded(certificate, key, found)


def self_signed(directory: Path, hosts: Sequence[str], now: datetime) -> Certificate:
    """The certificate in `directory`, made there at first, and again with the same key when it no longer fits.

    Raises StartError when it cannot be kept there, or others could have read its key.
    """
    key_path, path = directory / KEY_FILE, directory / CERTIFICATE_FILE
    try:
        key = _kept_key(key_path)
        found = _kept_certificate(path)
        if found is None or found.public_key() != key.public_key() or not _fits(found, hosts, now):
            found = _sign(key, hosts, now)
            write_private(path, found.public_bytes(Encoding.PEM))
    except OSError as error:
        raise StartError(
            f"Cannot keep a certificate in {directory}: {error.strerror}. Check the disk and who owns it, or choose"
            " another directory with --data-dir."
        ) from error
    return _loaded(path, key_path, found)


def _loaded(certificate: Path, key: Path, found: x509.Certificate) -> Certificate:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key, password="")  # an empty one: never ask at the terminal
    except (OSError, ssl.SSLError) as error:
        raise _unusable(certificate, f"cannot be used for TLS: {error}") from error
    return Certificate(context, pin_of(found.public_bytes(Encoding.DER)))


def _kept_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """The key in `path`, made at first: P-256, which every client and browser knows."""
    if not path.exists():
        made = ec.generate_private_key(ec.SECP256R1())
        with contextlib.suppress(FileExistsError):
            pem = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            write_private(path, pem, replace=False)
    try:
        key = load_pem_private_key(read_private(path), password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise StartError(
            f"{path} does not hold the key of a certificate. Restore it from a backup, or move it away and start again:"
            " workers and clients that pinned it then have to be given new lines."
        )
    return key


def _kept_certificate(path: Path) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def _fits(certificate: x509.Certificate, hosts: Sequence[str], now: datetime) -> bool:
    """Whether it names `hosts` and will for a while."""
    renewal = timedelta(days=defaults.CERTIFICATE_RENEWAL_DAYS)
    if not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc - renewal:
        return False
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(names) == set(_names(hosts))


def _sign(key: ec.EllipticCurvePrivateKey, hosts: Sequence[str], now: datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Cavvy coordinator")])
    usage = x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # for machines whose clock is behind
        .not_valid_after(now + timedelta(days=defaults.CERTIFICATE_DAYS))
        .add_extension(x509.SubjectAlternativeName(_names(hosts)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=False)
        .sign(key, hashes.SHA256())
    )


def _names(hosts: Sequence[str]) -> list[x509.GeneralName]:
    return [_general_name(host) for host in dict.fromkeys(hosts)]


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _unusable(path: Path, why: str) -> StartError:
    return StartError(f"{path} {why}. --tls-cert and --tls-key want a certificate with its chain and its key, as PEM.")
