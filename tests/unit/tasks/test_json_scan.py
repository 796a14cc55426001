"""extract_json: every JSON object and array of a text, at any depth, and nothing that is not JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cavvy import defaults
from cavvy.tasks.built_in import run_task
from cavvy.tasks.json_scan import extract_json


def done(text: str) -> list[Any]:
    found = extract_json(text, lambda: None)
    assert (found["count"], found["method"]) == (len(found["extracted"]), "scanner")
    extracted: list[Any] = found["extracted"]
    return extracted


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", []),
        ("no JSON { at } all [ here", []),
        ('a {"b": 1} c [1, 2] d', [{"b": 1}, [1, 2]]),
        ('```json\n{"a": {"b": {"c": [[], {"d": null}]}}}\n```', [{"a": {"b": {"c": [[], {"d": None}]}}}]),
        ('{"a": "} ] { \\" \\\\"}', [{"a": '} ] { " \\'}]),
        ('{\'a\': 1} {a: 1} {"a": 1,} {"a" 1} [1,,2] [01] [+1] [.5] [1.] [True] [NaN]', []),
        ('{"cut off": [1, {"whole": true}, {"not', [{"whole": True}]),
        ('{"a": "cut off {"b": 2}', [{"b": 2}]),
        ('{see {"a": 1} and {"b": 2}}', [{"a": 1}, {"b": 2}]),
        ('{"a":1}{"b":2}', [{"a": 1}, {"b": 2}]),
        ('{"a": 1, "a": 2}', [{"a": 2}]),
        ('{"é": "\\u00e9\\ud83d\\ude00"}', [{"é": "é😀"}]),
        ('{"lone": "\\ud83d!"}', [{"lone": "\ufffd!"}]),
        ('["tab\there"]', []),
        ("[true, false, null, -0.5e-3]", [[True, False, None, -0.0005]]),
        ("{}", [{}]),
    ],
)
def test_what_is_json_is_found(text: str, values: list[Any]) -> None:
    assert done(text) == values


def test_what_prose_writes_in_brackets_is_no_value() -> None:
    assert done("- [ ] milk\n- [x] bread, see [1] and [2, 3] and []") == [[2, 3]]


@pytest.mark.parametrize("text", ["[1]", " [] ", "[ ]\n"])
def test_it_is_one_when_it_is_the_whole_text(text: str) -> None:
    assert done(text) == [json.loads(text)]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("9007199254740991", 9007199254740991),
        ("9007199254740993", "9007199254740993"),
        ("-12345678901234567890", "-12345678901234567890"),
        ("1e400", "1e400"),
        ("1e300", 1e300),
        ("0.1", 0.1),
        ("1.0", 1.0),
    ],
)
def test_a_number_that_no_double_holds_keeps_its_digits_as_text(written: str, read: object) -> None:
    assert done(f"[{written}, 0]") == [[read, 0]]


def test_values_are_found_as_deep_as_every_reader_goes() -> None:
    deepest = "[" * defaults.JSON_TASK_DEPTH + "]" * defaults.JSON_TASK_DEPTH
    assert done(deepest) == [json.loads(deepest)]
    assert done(f'{{"a":{deepest}}}') == [json.loads(deepest)]  # one deeper: what is inside comes alone


def test_the_result_is_rfc_8785() -> None:
    done = run_task("extract_json", '{"z": 1.0, "a": 1e21, "ä": [1e-7]} ')
    assert done.result.decode() == '{"count":1,"extracted":[{"a":1e+21,"z":1,"ä":[1e-7]}],"method":"scanner"}'


names = st.text(max_size=5)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=20,
)  # fmt: skip
containers = st.lists(values, min_size=2, max_size=4) | st.dictionaries(names, values, max_size=4)
prose = st.text(alphabet=st.characters(codec="utf-8", exclude_characters='[]{}"'), max_size=20)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(prose, containers), max_size=5), prose)
def test_values_among_prose_are_found_each_and_whole(parts: list[tuple[str, Any]], rest: str) -> None:
    text = "".join(before + json.dumps(value) for before, value in parts) + rest
    assert done(text) == [json.loads(json.dumps(value)) for _, value in parts]


@settings(max_examples=500, deadline=None)
@given(st.text(alphabet='[]{}",:1a\\ \n', max_size=60))
def test_whatever_is_found_is_what_the_standard_reader_reads(text: str) -> None:
    def outermost(at: int) -> list[Any]:
        decoder = json.JSONDecoder()
        while at < len(text):
            if text[at] in "[{":
                try:
                    value, end = decoder.raw_decode(text, at)
                except ValueError:
                    pass
                else:
                    return [value, *outermost(end)]
            at += 1
        return []

    found = extract_json(text, lambda: None)["extracted"]
    kept = [one for one in outermost(0) if isinstance(one, dict) or len(one) > 1 or (one and isinstance(one[0], str))]
    assert [one for one in found if one in kept] == [one for one in kept if one in found]
