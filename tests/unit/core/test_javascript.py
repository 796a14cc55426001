"""JSON as JavaScript has it: the bytes that Dispatch's workers hash and sign."""

from __future__ import annotations

import json
import math
from hashlib import sha256

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from cavvy.core.javascript import as_unicode, parse, stringify

#: Texts and the SHA-256 of JSON.stringify(JSON.parse(text)), measured with the original.
VECTORS = [
    (
        '{"sentiment":"positive","confidence":0.9000000000000001}',
        "61455684a6d415314a3a9af96bfe09bad167f52939b2a4a153d266ce67039535",
    ),
    ('{"sentiment":"positive","confidence":1.0}', "d9d676e7f6baf8b501d0602fc0f8dfc93dceaf2d1de95b2a1a1699d1c842c5d1"),
    ('{"sentiment":"positive","confidence":0.5}', "da71434a9aee626c8763616726e2c48aa9084cbcd86625137cd802086439d432"),
    (
        '{"extracted":[{"a":0.0000001,"2":"x","b":1e21,"1":"y","c":1.0,"d":-0.0}],"count":1}',
        "8690a4d56f483f11f77c768714d85a3d12045ac3331dd78fc8d32a5318e8343d",
    ),
]


@pytest.mark.parametrize(("text", "digest"), VECTORS)
def test_the_vectors_of_the_original_hash_to_what_it_signed(text: str, digest: str) -> None:
    assert sha256(stringify(parse(text))).hexdigest() == digest


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ('{"b":1,"10":2,"9":3,"01":4,"-1":5}', '{"9":3,"10":2,"b":1,"01":4,"-1":5}'),
        ('{"x":0,"4294967295":1,"4294967294":2}', '{"4294967294":2,"x":0,"4294967295":1}'),
        ('{"a":1,"b":2,"a":3}', '{"a":3,"b":2}'),
        ('"\\ud83d"', '"\\ud83d"'),
        ('"\\uD83D\\uDE00"', '"😀"'),
        ('"\\u001f\\u007f\\u2028\\/\\b"', '"\\u001f\x7f\u2028/\\b"'),
        ("[1e400,-1e400]", "[null,null]"),
        ("[123456789012345678901234567890]", "[1.2345678901234568e+29]"),
        (" [ true , null , {} ] ", "[true,null,{}]"),
    ],
)
def test_what_javascript_writes_otherwise_than_python(text: str, written: str) -> None:
    assert stringify(parse(text)).decode() == written


@given(st.floats() | st.integers(-(2**60), 2**60).map(float))
def test_numbers_are_written_as_rfc_8785_says_javascript_does(value: float) -> None:
    written = rfc8785.dumps(value).decode() if math.isfinite(value) else "null"
    assert stringify(value).decode() == written


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", "{'a':1}", "", "01", '"\n"', "[1,]", "[" * 100_000])
def test_what_is_no_json_to_javascript_is_none_here(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse(text)


def test_what_is_nested_too_deep_is_not_written() -> None:
    assert stringify(parse("[" * 3 + "]" * 3), depth=3) == b"[[[]]]"
    with pytest.raises(ValueError, match="too deep"):
        stringify(parse("[" * 4 + "]" * 4), depth=3)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_what_was_written_reads_as_the_same_and_is_written_the_same(value: object) -> None:
    written = stringify(json.loads(json.dumps(value), parse_int=float))
    assert stringify(parse(written.decode())) == written


def test_half_a_pair_is_shown_as_a_sign_that_something_is_missing() -> None:
    assert as_unicode(b'{"t":"a\\ud83d","u":"\xf0\x9f\x98\x80"}') == '{"t":"a\ufffd","u":"😀"}'.encode()


def test_an_escape_in_capitals_is_half_a_pair_too() -> None:
    assert as_unicode(b'{"t":"\\\\\\uD83D"}') == '{"t":"\\\\\ufffd"}'.encode()


@pytest.mark.parametrize("data", [b'{"t":"\\\\ud83d"}', b'{"b":1,"a":"\xf0\x9f\x98\x80"}'])
def test_whole_text_is_shown_as_it_is(data: bytes) -> None:
    assert as_unicode(data) == data
