"""Ed25519: the vectors of RFC 8032, and everything that only looks like a key or a signature."""

from __future__ import annotations

import pytest
from nacl import bindings

from cavvy.core.ed25519 import is_valid_key, public_key, sign, verify

ORDER = 2**252 + 27742317777372353535851937790883648493
SEED = bytes(range(32))
KEY = public_key(SEED)
SIGNATURE = sign(SEED, b"hello")

#: RFC 8032, 7.1: seed, public key, message, signature.
VECTORS = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
    (
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
        "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b589"
        "09351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
    ),
]

#: The points whose order divides 8: for such a key anyone can make signatures.
SMALL_ORDER = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
]


@pytest.mark.parametrize(("seed", "key", "message", "signature"), VECTORS, ids=["1", "2", "3", "sha-abc"])
def test_the_vectors_of_rfc_8032(seed: str, key: str, message: str, signature: str) -> None:
    text = bytes.fromhex(message)
    assert public_key(bytes.fromhex(seed)).hex() == key
    assert sign(bytes.fromhex(seed), text).hex() == signature
    assert verify(bytes.fromhex(key), text, bytes.fromhex(signature))


def test_a_signature_is_over_its_message_only() -> None:
    assert verify(KEY, b"hello", SIGNATURE)
    assert not verify(KEY, b"hello!", SIGNATURE)


def test_a_signature_is_of_its_key_only() -> None:
    assert not verify(public_key(bytes(32)), b"hello", SIGNATURE)


@pytest.mark.parametrize("position", range(64))
def test_a_signature_with_one_bit_changed_is_wrong(position: int) -> None:
    changed = bytearray(SIGNATURE)
    changed[position] ^= 1
    assert not verify(KEY, b"hello", bytes(changed))


@pytest.mark.parametrize("key", [b"", KEY[:-1], KEY + b"\0", KEY.hex().encode(), b"\xff" * 32])
def test_a_malformed_key_verifies_nothing_and_raises_nothing(key: bytes) -> None:
    assert not verify(key, b"hello", SIGNATURE)


@pytest.mark.parametrize("signature", [b"", SIGNATURE[:-1], SIGNATURE + b"\0", SIGNATURE.hex().encode(), bytes(64)])
def test_a_malformed_signature_is_wrong_and_raises_nothing(signature: bytes) -> None:
    assert not verify(KEY, b"hello", signature)


def test_a_second_form_of_a_signature_is_refused() -> None:
    """S + L fits the same equation; RFC 8032 wants S below L, so that a signature has one form."""
    scalar = int.from_bytes(SIGNATURE[32:], "little") + ORDER
    malleable = SIGNATURE[:32] + scalar.to_bytes(32, "little")
    assert not verify(KEY, b"hello", malleable)


@pytest.mark.parametrize("key", SMALL_ORDER)
def test_a_key_of_small_order_is_not_valid(key: str) -> None:
    assert not is_valid_key(bytes.fromhex(key))


@pytest.mark.parametrize("key", SMALL_ORDER)
def test_the_forgery_that_fits_a_key_of_small_order_is_refused(key: str) -> None:
    assert not verify(bytes.fromhex(key), b"anything", bytes.fromhex(key) + bytes(32))


def test_a_key_with_a_small_order_part_is_not_valid() -> None:
    mixed = bindings.crypto_core_ed25519_add(KEY, bytes.fromhex(SMALL_ORDER[-1]))
    assert not is_valid_key(mixed)


@pytest.mark.parametrize("key", [b"", KEY[:-1], KEY + b"\0", b"\xff" * 32, (2**255 - 19 + 1).to_bytes(32, "little")])
def test_what_is_no_canonical_point_is_no_valid_key(key: bytes) -> None:
    assert not is_valid_key(key)


def test_the_key_of_any_seed_is_valid() -> None:
    assert all(is_valid_key(public_key(bytes([number]) * 32)) for number in range(256))
