"""p15: what is signed, what is checked, and everything that is not a receipt."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import rfc8785
from nacl.signing import VerifyKey

from cavvy.core.canonical import canonical_flat, sha256_hex
from cavvy.core.ed25519 import public_key, sign
from cavvy.core.job import JobType
from cavvy.core.reading import ResultForm, read
from cavvy.core.receipt import (
    Expected,
    ReceiptPayload,
    check,
    check_signature,
    input_hash,
    open_envelope,
    seal,
)
from cavvy.core.results import Result, output_text, parse_result, parse_task_result
from cavvy.core.writes import Usage
from cavvy.errors import ReceiptInvalid

SEED = bytes(range(32))
KEY = public_key(SEED).hex()
OTHER_SEED = bytes(32)
OTHER_KEY = public_key(OTHER_SEED).hex()
SMALL_ORDER_KEY = "01" + "00" * 31
TYPE = "application/vnd.cavvy.receipt.v2+json"

RESULT = canonical_flat(Result(text="Paris.\n", model="m", finish_reason="stop"))
FIELDS: dict[str, Any] = {
    "v": 2,
    "coordinator": "cc" * 32,
    "job_id": "j-1",
    "provider_pubkey": KEY,
    "attempt": 3,
    "status": "completed",
    "input_hash": "aa" * 32,
    "output_hash": sha256_hex(RESULT),
    "params_hash": "bb" * 32,
    "model": "m",
    "privacy_class": "PUBLIC",
    "started_at": "2026-01-01T00:00:00.000Z",
    "completed_at": "2026-01-01T00:00:01.000Z",
    "usage": Usage(input_tokens=5, output_tokens=2),
    "payment_ref": None,
}
EXPECTED = Expected(
    coordinator="cc" * 32,
    job_id="j-1",
    attempt=3,
    worker=KEY,
    input_hash="aa" * 32,
    params_hash="bb" * 32,
    privacy_class="PUBLIC",
)
ANSWER = ResultForm(JobType.LLM_INFER)


def sealed(seed: bytes = SEED, **changes: Any) -> bytes:
    return seal(ReceiptPayload(**(FIELDS | changes)), seed)


def pre_authentication(body: bytes) -> bytes:
    """DSSE's PAE, spelled out here once more."""
    return b" ".join([b"DSSEv1", str(len(TYPE)).encode(), TYPE.encode(), str(len(body)).encode(), body])


def signed(body: bytes, *, seed: bytes = SEED, keyid: str = KEY) -> bytes:
    """An envelope with a good signature over whatever `body` is."""
    return msgspec.json.encode({
        "payload": base64.b64encode(body).decode(),
        "payloadType": TYPE,
        "signatures": [{"keyid": keyid, "sig": base64.b64encode(sign(seed, pre_authentication(body))).decode()}],
    })  # fmt: skip


BODY = rfc8785.dumps(msgspec.to_builtins(ReceiptPayload(**FIELDS)))


def envelope(**changes: Any) -> dict[str, Any]:
    outer: dict[str, Any] = msgspec.json.decode(sealed())
    return outer | changes


# -- the round trip


def test_p15_what_was_sealed_opens_and_checks() -> None:
    opened = open_envelope(sealed())
    check_signature(opened)
    assert opened.payload == ReceiptPayload(**FIELDS)
    check(opened, read(RESULT, ANSWER), EXPECTED)


def test_p15_the_payload_is_rfc_8785_in_a_dsse_envelope() -> None:
    outer = msgspec.json.decode(sealed())
    assert sorted(outer) == ["payload", "payloadType", "signatures"]
    assert outer["payloadType"] == TYPE
    assert [one["keyid"] for one in outer["signatures"]] == [KEY]
    assert base64.b64decode(outer["payload"]) == BODY


def test_p15_anybody_can_check_the_signature_with_nothing_of_ours() -> None:
    outer = msgspec.json.decode(sealed())
    body = base64.b64decode(outer["payload"])
    signature = base64.b64decode(outer["signatures"][0]["sig"])
    VerifyKey(bytes.fromhex(KEY)).verify(pre_authentication(body), signature)


def test_p15_an_envelope_made_by_others_opens_too() -> None:
    opened = open_envelope(signed(BODY))
    check_signature(opened)
    assert opened.payload_bytes == BODY


def test_the_hash_of_the_input_is_salted() -> None:
    assert input_hash(b"salt", b"input") == hashlib.sha256(b"saltinput").hexdigest()


# -- tampering


@pytest.mark.parametrize("field", sorted(FIELDS))
def test_p15_a_changed_field_breaks_the_signature(field: str) -> None:
    value = FIELDS[field]
    other: Any = f"{value}x"
    if isinstance(value, int):
        other = value + 1
    elif isinstance(value, Usage):
        other = Usage(input_tokens=6, output_tokens=2)
    elif field == "provider_pubkey":
        other = OTHER_KEY
    elif field.endswith("_at"):
        other = "2026-01-01T00:00:02.000Z"
    changed = msgspec.json.decode(sealed(**{field: other}))
    right = envelope()
    keyid = changed["signatures"][0]["keyid"]
    forged = right | {"payload": changed["payload"], "signatures": [right["signatures"][0] | {"keyid": keyid}]}
    with pytest.raises(ReceiptInvalid, match="the signature is wrong"):
        check_signature(open_envelope(msgspec.json.encode(forged)))


@pytest.mark.parametrize(
    "field", [field for field in sorted(FIELDS) if field not in ("started_at", "completed_at", "usage")]
)
def test_p15_a_signed_payload_that_says_anything_else_is_refused_by_name(field: str) -> None:
    """Times and usage are the worker's claims; everything else the coordinator knows by itself."""
    other: Any = FIELDS[field] + 1 if isinstance(FIELDS[field], int) else "another"
    with pytest.raises(ReceiptInvalid, match=f"^{field} is"):
        check(open_envelope(sealed(**{field: other})), read(RESULT, ANSWER), EXPECTED)


def test_p15_another_result_is_refused() -> None:
    other = canonical_flat(Result(text="Rome.", model="m", finish_reason="stop"))
    with pytest.raises(ReceiptInvalid, match="output_hash is"):
        check(open_envelope(sealed()), read(other, ANSWER), EXPECTED)


def test_p15_a_result_of_another_model_is_refused() -> None:
    other = canonical_flat(Result(text="Paris.", model="n", finish_reason="stop"))
    with pytest.raises(ReceiptInvalid, match="model is"):
        check(open_envelope(sealed(output_hash=sha256_hex(other))), read(other, ANSWER), EXPECTED)


def test_p15_somebody_elses_signature_is_refused() -> None:
    forged = open_envelope(sealed(OTHER_SEED))
    with pytest.raises(ReceiptInvalid, match="the signature is wrong"):
        check(forged, read(RESULT, ANSWER), EXPECTED)
    with pytest.raises(ReceiptInvalid, match="the signature is wrong"):
        check_signature(forged)


def test_p15_a_signature_over_the_bare_payload_is_refused() -> None:
    """The type is inside what is signed, so that a signature cannot serve two purposes."""
    bare = base64.b64encode(sign(SEED, BODY)).decode()
    with pytest.raises(ReceiptInvalid, match="the signature is wrong"):
        check_signature(open_envelope(msgspec.json.encode(envelope(signatures=[{"keyid": KEY, "sig": bare}]))))


def test_p15_a_key_of_small_order_proves_nothing() -> None:
    body = BODY.replace(KEY.encode(), SMALL_ORDER_KEY.encode())
    forged = msgspec.json.encode({
        "payload": base64.b64encode(body).decode(),
        "payloadType": TYPE,
        "signatures": [
            {
                "keyid": SMALL_ORDER_KEY,
                "sig": base64.b64encode(bytes.fromhex(SMALL_ORDER_KEY) + bytes(32)).decode(),
            }
        ],
    })  # fmt: skip
    with pytest.raises(ReceiptInvalid, match="sound"):
        check_signature(open_envelope(forged))


@pytest.mark.parametrize("key", ["", "zz" * 32, KEY[:-2], KEY + "00", KEY.upper(), f" {KEY}", f"{KEY}\n"])
def test_p15_a_key_that_is_not_64_hex_digits_proves_nothing(key: str) -> None:
    with pytest.raises(ReceiptInvalid, match="provider_pubkey is not"):
        check_signature(open_envelope(sealed(provider_pubkey=key)))


# -- form


@pytest.mark.parametrize(
    ("body", "says"),
    [
        pytest.param(b" " + BODY, "RFC 8785", id="a space before"),
        pytest.param(BODY + b"\n", "RFC 8785", id="a newline after"),
        pytest.param(BODY.replace(b'":', b'": '), "RFC 8785", id="spaces inside"),
        pytest.param(BODY.replace(b'"v":2', b'"v":2.0'), "RFC 8785|cannot be read", id="a float"),
        pytest.param(BODY.replace(b'"j-1"', b'"\\u006a-1"'), "RFC 8785", id="an escape that need not be"),
        pytest.param(BODY.replace(b'"j-1"', b'"j-0","job_id":"j-1"'), "RFC 8785", id="a key twice"),
        pytest.param(
            BODY.replace(b'{"attempt":3,', b'{"attempt":3,"attempt":3,'), "RFC 8785", id="a field twice alike"
        ),
        pytest.param(b'{"v":2,' + BODY[1:].replace(b',"v":2', b""), "RFC 8785", id="keys in another order"),
        pytest.param(BODY.replace(b'"usage":{', b'"usage":{"extra":1,'), "RFC 8785", id="an unknown count"),
        pytest.param(BODY.replace(b'"v":2', b'"v":2,"w":3'), "cannot be read", id="an unknown field"),
        pytest.param(BODY.replace(b',"v":2', b""), "cannot be read", id="a field missing"),
        pytest.param(BODY.replace(b'"v":2', b'"v":"2"'), "cannot be read", id="text for a number"),
        pytest.param(BODY.replace(b'"v":2', b'"v":true'), "cannot be read", id="true for a number"),
        pytest.param(BODY.replace(b'"j-1"', b'"\xff"'), "cannot be read", id="not UTF-8"),
        pytest.param(BODY.replace(b'"j-1"', b'"\\ud800"'), "cannot be read", id="a lone surrogate"),
        pytest.param(BODY.replace(b":5,", b":-5,"), "cannot be read", id="a negative count"),
        pytest.param(BODY.replace(b":5,", b":1" + b"0" * 30 + b","), "cannot be read", id="a count beyond 64 bits"),
        pytest.param(
            BODY.replace(b'"usage":{', b'"usage":{"x":' + b"[" * 100_000 + b"]" * 100_000 + b","),
            "cannot be read",
            id="nested deeply",
        ),
        pytest.param(BODY.replace(b"01.000Z", b"01Z"), "cannot be read", id="a time without milliseconds"),
        pytest.param(BODY.replace(b"01.000Z", b"01.000+00:00"), "cannot be read", id="a time with an offset"),
        pytest.param(BODY.replace(b"01.000Z", b"01.000Z\\n"), "cannot be read", id="a time with a newline behind it"),
        pytest.param(BODY.replace(b"01.000Z", "01.00\u0660Z".encode()), "cannot be read", id="a time in other digits"),
        pytest.param(b"", "cannot be read", id="nothing"),
        pytest.param(b"null", "cannot be read", id="null"),
        pytest.param(b"[]", "cannot be read", id="an array"),
    ],
)
def test_p15_a_payload_in_another_form_is_refused_even_if_it_is_signed(body: bytes, says: str) -> None:
    with pytest.raises(ReceiptInvalid, match=says):
        open_envelope(signed(body))


TWO = envelope()["signatures"] * 2


@pytest.mark.parametrize(
    ("outer", "says"),
    [
        pytest.param(envelope(payloadType="application/json"), "payloadType", id="another type"),
        pytest.param(envelope(payloadType=TYPE.replace("v2", "v1")), "payloadType", id="another version"),
        pytest.param(envelope(signatures=[]), "exactly one signature", id="no signature"),
        pytest.param(envelope(signatures=TWO), "exactly one signature", id="two signatures"),
        pytest.param(envelope(signatures=[TWO[0] | {"keyid": OTHER_KEY}]), "keyid", id="another keyid"),
        pytest.param(envelope(signatures=[TWO[0] | {"keyid": ""}]), "keyid", id="no keyid"),
        pytest.param(
            envelope(signatures=[TWO[0] | {"sig": "!" + TWO[0]["sig"][1:]}]), "cannot be read", id="bad base64"
        ),
        pytest.param(envelope(payload=envelope()["payload"][:-1]), "cannot be read", id="base64 cut off"),
        pytest.param(envelope(payload=envelope()["payload"] + "\n"), "cannot be read", id="base64 with a newline"),
        pytest.param(envelope(payload=""), "cannot be read", id="no payload"),
        pytest.param(envelope(payload=None), "cannot be read", id="null payload"),
        pytest.param(envelope(extra=1), "cannot be read", id="an unknown field"),
        pytest.param({}, "cannot be read", id="nothing in it"),
        pytest.param([], "cannot be read", id="an array"),
    ],
)
def test_p15_an_envelope_in_another_form_is_refused(outer: Any, says: str) -> None:
    with pytest.raises(ReceiptInvalid, match=says):
        open_envelope(msgspec.json.encode(outer))


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"[" * 200_000, b'{"payload":' + b"[" * 200_000, sealed()[:-1]])
def test_p15_what_is_no_json_is_no_envelope(data: bytes) -> None:
    with pytest.raises(ReceiptInvalid, match="cannot be read"):
        open_envelope(data)


@pytest.mark.parametrize("length", [0, 63, 65])
def test_p15_a_signature_of_another_length_is_wrong(length: int) -> None:
    short = [{"keyid": KEY, "sig": base64.b64encode(bytes(length)).decode()}]
    with pytest.raises(ReceiptInvalid, match="the signature is wrong"):
        check_signature(open_envelope(msgspec.json.encode(envelope(signatures=short))))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        pytest.param(lambda data: data + b" ", "RFC 8785", id="a space"),
        pytest.param(lambda data: data.replace(b"\\n", b"\\u000a"), "RFC 8785", id="a long escape"),
        pytest.param(lambda data: data.replace(b'"m"', b'"x","model":"m"'), "RFC 8785", id="a key twice"),
        pytest.param(lambda data: data.replace(b"}", b',"z":1}'), "cannot be read", id="an unknown field"),
        pytest.param(lambda data: b'{"text":' + b"[" * 200_000, "cannot be read", id="nested deeply"),
        pytest.param(lambda data: data.replace(b"Paris", b"\xff"), "cannot be read", id="not UTF-8"),
        pytest.param(lambda _: b'{"error":"worker_error"}', "cannot be read", id="a failure"),
        pytest.param(lambda _: b"null", "cannot be read", id="null"),
    ],
)
def test_p15_a_result_in_another_form_is_refused(spoil: Callable[[bytes], bytes], says: str) -> None:
    with pytest.raises(ReceiptInvalid, match=says):
        parse_result(spoil(RESULT))


# -- the results of tasks

TASK = b'{"confidence":0.8,"method":"lexicon","sentiment":"positive"}'
OF_TASK = ResultForm(JobType.TASK)


def test_p15_the_result_of_a_task_is_its_object() -> None:
    opened = open_envelope(sealed(output_hash=sha256_hex(TASK), model="cavvy/classify-1"))
    check(opened, read(TASK, OF_TASK), EXPECTED)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b'{"error":"Unknown task_type","method":"m"}', "cannot be read"),
        (b'{"sentiment":"positive"}', "cannot be read"),
        (b'{"method":""}', "cannot be read"),
        (b'{"method":7}', "cannot be read"),
        (b'["method"]', "cannot be read"),
        (b'{"method":"m","n":1e400}', "cannot be read"),
        (b'{"method":"m","n":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "cannot be read"),
        (b'{"method":"\xff"}', "cannot be read"),
        (b'{"method":"m","n":"\\ud800"}', "cannot be read"),
        (b'{"method": "m"}', "not in RFC 8785 form"),
        (b'{"method":"m","a":1}', "not in RFC 8785 form"),
        (b'{"a":[{"c":1,"b":2}],"method":"m"}', "not in RFC 8785 form"),
        (b'{"a":1,"a":1,"method":"m"}', "not in RFC 8785 form"),
        (b'{"method":"m","n":1.0}', "not in RFC 8785 form"),
        (b'{"method":"m","n":12345678901234567890}', "not in RFC 8785 form"),
        (b'{"method":"m","n":"\\u00e9"}', "not in RFC 8785 form"),
    ],
)
def test_p15_what_is_not_the_result_of_a_task_is_refused(data: bytes, why: str) -> None:
    opened = open_envelope(sealed(output_hash=sha256_hex(data)))
    with pytest.raises(ReceiptInvalid, match=why):
        check(opened, read(data, OF_TASK), EXPECTED)


def test_p15_the_result_of_a_task_is_none_of_a_model_and_the_other_way_round() -> None:
    with pytest.raises(ReceiptInvalid, match="cannot be read"):
        check(open_envelope(sealed(output_hash=sha256_hex(TASK))), read(TASK, ANSWER), EXPECTED)
    with pytest.raises(ReceiptInvalid, match="cannot be read"):
        check(open_envelope(sealed()), read(RESULT, OF_TASK), EXPECTED)


@pytest.mark.parametrize("model", ["", "m" * 257])
def test_what_a_task_was_done_by_has_a_name(model: str) -> None:
    opened = open_envelope(sealed(output_hash=sha256_hex(TASK), model=model))
    with pytest.raises(ReceiptInvalid, match="model must have 1 to 256 characters"):
        check(opened, read(TASK, OF_TASK), EXPECTED)


def test_the_exact_bytes_of_a_tasks_result_are_read() -> None:
    data = '{"extracted":[{"b":100,"ä":1e+21},{"\U0001f600":0.1,"\ufe0f":1e-7}],"method":"scanner"}'.encode()
    assert parse_task_result(data).method == "scanner"


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (RESULT, "Paris.\n"),
        (TASK, "positive"),
        (b'{"method":"m","summary":"Short.","word_count":9}', "Short."),
        (b'{"count":1,"extracted":[{"a":"\xc3\xa9"}],"method":"m"}', '[{"a":"é"}]'),
        (b'{"method":"m","other":1}', '{"method":"m","other":1}'),
        (b'{"text":7}', '{"text":7}'),
        (b'"a plain string"', '"a plain string"'),
    ],
)
def test_what_people_read_of_a_result_is_its_text(result: bytes, text: str) -> None:
    assert output_text(result) == text
