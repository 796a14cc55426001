"""The coordinator's certificate: made once, kept by its key, or its owner's."""

from __future__ import annotations

import os
import ssl
import stat
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from cavvy import defaults
from cavvy.api.certificates import own_certificate, self_signed
from cavvy.errors import StartError
from tests.certificates import NOW, Authority, write_key

HOSTS = ["127.0.0.1", "localhost", "::1", "box.local", "192.168.1.7"]
NEAR_ITS_END = NOW + timedelta(days=defaults.CERTIFICATE_DAYS - defaults.CERTIFICATE_RENEWAL_DAYS + 1)


@pytest.fixture
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def certificate(directory: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate((directory / "tls.crt").read_bytes())


# Self-signed


@pytest.mark.usefixtures("no_umask")
def test_the_key_and_the_certificate_are_private_even_without_a_umask(tmp_path: Path) -> None:
    self_signed(tmp_path, HOSTS, NOW)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"tls.key": 0o600, "tls.crt": 0o600}


def test_it_is_made_once(tmp_path: Path) -> None:
    first, made = self_signed(tmp_path, HOSTS, NOW), certificate(tmp_path)
    again = self_signed(tmp_path, list(reversed(HOSTS)), NOW + timedelta(days=365))
    assert (again.pin, certificate(tmp_path)) == (first.pin, made)


def test_it_names_the_machine(tmp_path: Path) -> None:
    self_signed(tmp_path, HOSTS, NOW)
    names = certificate(tmp_path).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert sorted(str(name.value) for name in names) == sorted(HOSTS)


def test_near_its_end_it_is_made_anew_and_the_pin_stays(tmp_path: Path) -> None:
    first, made = self_signed(tmp_path, HOSTS, NOW), certificate(tmp_path)
    assert self_signed(tmp_path, HOSTS, NEAR_ITS_END).pin == first.pin
    assert certificate(tmp_path).not_valid_after_utc > made.not_valid_after_utc


def test_with_other_names_it_is_made_anew_and_the_pin_stays(tmp_path: Path) -> None:
    first, made = self_signed(tmp_path, HOSTS, NOW), certificate(tmp_path)
    assert self_signed(tmp_path, [*HOSTS, "10.0.0.9"], NOW).pin == first.pin
    assert certificate(tmp_path) != made


@pytest.mark.parametrize("damage", ["", "no certificate"])
def test_a_certificate_that_is_damaged_is_made_anew_and_the_pin_stays(tmp_path: Path, damage: str) -> None:
    first = self_signed(tmp_path, HOSTS, NOW)
    (tmp_path / "tls.crt").write_text(damage)
    assert self_signed(tmp_path, HOSTS, NOW).pin == first.pin


def test_two_installations_have_two_pins(tmp_path: Path) -> None:
    pins = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        pins.add(self_signed(tmp_path / name, HOSTS, NOW).pin)
    assert len(pins) == 2


def test_a_key_that_others_can_read_is_refused_with_the_chmod(tmp_path: Path) -> None:
    self_signed(tmp_path, HOSTS, NOW)
    (tmp_path / "tls.key").chmod(0o640)
    with pytest.raises(StartError, match=f"chmod 600 {tmp_path}/tls.key"):
        self_signed(tmp_path, HOSTS, NOW)


def test_a_damaged_key_is_refused_and_kept(tmp_path: Path) -> None:
    self_signed(tmp_path, HOSTS, NOW)
    (tmp_path / "tls.key").write_text("no key")
    with pytest.raises(StartError, match="does not hold the key of a certificate"):
        self_signed(tmp_path, HOSTS, NOW)
    assert (tmp_path / "tls.key").read_text() == "no key"


def test_nobody_speaks_an_old_tls_with_it(tmp_path: Path) -> None:
    assert self_signed(tmp_path, HOSTS, NOW).context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_no_authority_vouches_for_it(tmp_path: Path) -> None:
    assert not self_signed(tmp_path, HOSTS, NOW).vouched_for("localhost")


# The owner's


def test_an_authority_that_the_machine_trusts_vouches_for_the_names_it_signed(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = own_certificate(*authority.issue("cavvy.example.org", "127.0.0.2"), NOW)
    assert not own.vouched_for("cavvy.example.org")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))
    assert own.vouched_for("cavvy.example.org")
    assert own.vouched_for("127.0.0.2")
    assert not own.vouched_for("other.example.org")


def test_a_certificate_that_cannot_be_read_is_named(authority: Authority, tmp_path: Path) -> None:
    issued = authority.issue("x")
    with pytest.raises(StartError, match=f"{tmp_path}/none.crt cannot be read: No such file"):
        own_certificate(tmp_path / "none.crt", issued.key, NOW)
    with pytest.raises(StartError, match=f"{tmp_path}/none.key cannot be read: No such file"):
        own_certificate(issued.certificate, tmp_path / "none.key", NOW)


def test_files_that_hold_something_else_are_named(authority: Authority) -> None:
    issued = authority.issue("x")
    with pytest.raises(StartError, match=f"{issued.key} does not hold a certificate"):
        own_certificate(issued.key, issued.key, NOW)
    with pytest.raises(StartError, match=f"{issued.certificate} does not hold a private key"):
        own_certificate(issued.certificate, issued.certificate, NOW)


def test_a_key_of_another_certificate_is_refused(authority: Authority, tmp_path: Path) -> None:
    issued = authority.issue("x")
    other = write_key(tmp_path / "other.key", ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(StartError, match=f"{other} is not the key of the certificate in {issued.certificate}"):
        own_certificate(issued.certificate, other, NOW)


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked_for_it(authority: Authority, tmp_path: Path) -> None:
    issued = authority.issue("x")
    locked = write_key(tmp_path / "locked.key", ec.generate_private_key(ec.SECP256R1()), b"secret")
    with pytest.raises(StartError, match=f"{locked} is encrypted"):
        own_certificate(issued.certificate, locked, NOW)


@pytest.mark.parametrize(("since", "until"), [(-30, -1), (1, 30)], ids=["expired", "not yet valid"])
def test_a_certificate_out_of_its_time_is_refused_with_its_days(authority: Authority, since: int, until: int) -> None:
    issued = authority.issue("x", since=NOW + timedelta(days=since), until=NOW + timedelta(days=until))
    with pytest.raises(StartError, match=r"valid from \d{4}-\d\d-\d\d to \d{4}-\d\d-\d\d only"):
        own_certificate(*issued, NOW)
