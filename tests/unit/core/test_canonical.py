"""Canonical bytes: the fast way gives what RFC 8785 says, for everything it is used for."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cavvy.core.canonical import canonical, canonical_flat, canonical_text, sha256_hex
from cavvy.core.receipt import Params, ReceiptPayload, params_bytes
from cavvy.core.results import Result
from cavvy.core.writes import Usage

MANY = settings(max_examples=200, deadline=None)

texts = st.text(max_size=40)
#: What JSON escapes, what it need not escape, and what encoders like to escape all the same.
tricky = st.text(
    alphabet='"\\/\b\f\n\r\t\0\x01\x1f\x7f\x80\u00e9\u2028\u2029\ufeff\ufffd\uffff\U0001f40e<>&', max_size=20
)
any_text = texts | tricky
integers = st.integers(min_value=-(2**53) + 1, max_value=2**53 - 1)

results = st.builds(Result, text=any_text, model=any_text, finish_reason=any_text)
payloads = st.builds(
    ReceiptPayload,
    v=integers,
    coordinator=any_text,
    job_id=any_text,
    provider_pubkey=any_text,
    attempt=integers,
    status=any_text,
    input_hash=any_text,
    output_hash=any_text,
    params_hash=any_text,
    model=any_text,
    privacy_class=any_text,
    started_at=any_text,
    completed_at=any_text,
    usage=st.builds(Usage, input_tokens=integers, output_tokens=integers),
    payment_ref=st.none() | any_text,
)
params = st.builds(
    Params,
    model=st.none() | any_text,
    max_tokens=st.none() | integers,
    temperature=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    stop=st.none() | st.lists(any_text, max_size=4),
)


@MANY
@given(results)
def test_p15_the_bytes_of_a_result_are_rfc_8785(result: Result) -> None:
    assert canonical_flat(result) == canonical(result)


@MANY
@given(payloads)
def test_p15_the_bytes_of_a_receipts_payload_are_rfc_8785(payload: ReceiptPayload) -> None:
    assert canonical_flat(payload) == canonical(payload)


@MANY
@given(params)
def test_p15_the_bytes_of_parameters_are_rfc_8785(given_params: Params) -> None:
    assert params_bytes(given_params) == canonical(given_params)


@MANY
@given(results)
def test_the_bytes_are_the_value_in_json(result: Result) -> None:
    assert json.loads(canonical_flat(result)) == {
        "text": result.text, "model": result.model, "finish_reason": result.finish_reason
    }  # fmt: skip


def test_every_parameter_is_there_also_when_it_is_null() -> None:
    assert params_bytes(Params(model="m")) == (
        b'{"max_tokens":null,"model":"m","response_format":null,"stop":null,"temperature":null}'
    )


def test_the_example_of_rfc_8785() -> None:
    """3.2.2 and 3.2.3, as one object."""
    value = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 1e-27],
        "string": '\u20ac$\u000f\nA\'B"\\\\"/',
        "literals": [None, True, False],
    }
    expected = (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    assert canonical(value) == expected.encode()


def test_keys_are_sorted_by_utf_16_as_rfc_8785_says() -> None:
    """3.2.3: an astral character sorts by its surrogates, before U+FB33."""
    keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    ordered = list(json.loads(canonical(dict.fromkeys(keys, 0))))
    assert ordered == ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 2**53, -(2**53), {"a": [2**64]}])
def test_what_rfc_8785_cannot_express_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        canonical(value)


@pytest.mark.parametrize("encode", [canonical, canonical_flat])
def test_text_that_is_not_unicode_is_refused(encode: Any) -> None:
    with pytest.raises(ValueError, match=r"surrogates|UTF-8"):
        encode(Result(text="\ud800", model="m", finish_reason="stop"))


def test_sha_256_is_in_hex() -> None:
    assert sha256_hex(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


documents = st.recursive(
    st.none() | st.booleans() | integers | any_text | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=12,
)


@MANY
@given(documents)
def test_p15_the_bytes_of_any_document_are_rfc_8785(document: Any) -> None:
    assert canonical_text(json.dumps(document)) == canonical(document)


@pytest.mark.parametrize(
    ("text", "data"),
    [
        (' { "b" : [ 1.0 , 1E2 ] , "a" : -0 } ', b'{"a":0,"b":[1,100]}'),
        ("12345678901234567890", b"12345678901234567000"),
        ("1" + "0" * 21, b"1e+21"),
        ("[9007199254740991, 9007199254740993]", b"[9007199254740991,9007199254740992]"),
        ('{"\ufe0f":1,"\U0001f600":2}', '{"\U0001f600":2,"\ufe0f":1}'.encode()),
        ('{"a":1,"a":2}', b'{"a":2}'),
        (
            "[1e20, -1.5e20, 123456789012345680000.0]",
            b"[100000000000000000000,-150000000000000000000,123456789012345680000]",
        ),
        ("[1e-6, -1.5e-6, 1e-7, 0.00001]", b"[0.000001,-0.0000015,1e-7,0.00001]"),
        ("[-0.0, 5e-324, 1.7976931348623157e308]", b"[0,5e-324,1.7976931348623157e+308]"),
    ],
)
def test_numbers_and_keys_are_written_as_rfc_8785_says(text: str, data: bytes) -> None:
    assert canonical_text(text) == data


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", "1e400", "-" + "9" * 5000, "", "{", "[1,]", '"\\ud800"'])
def test_what_has_no_canonical_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        canonical_text(text)
