"""/openapi.json says of every route what it does, what it takes and answers, and how it can fail."""

from __future__ import annotations

import re
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from litestar import Litestar, get

from cavvy.api.app import ROUTES
from cavvy.api.examples import JOB_ID
from cavvy.api.openapi import describe
from cavvy.api.problems import CODES

APP = Litestar(ROUTES, openapi_config=None, logging_config=None)
DOCUMENT = msgspec.json.decode(describe(APP))


SCHEMAS = DOCUMENT["components"]["schemas"]
DESCRIBED = [
    pytest.param(operation, id=f"{method.upper()} {path}")
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
]
#: Types without room for fields that are not theirs.
CLOSED = {"schemas": {name: {"additionalProperties": False, **one} for name, one in SCHEMAS.items()}}


@pytest.mark.parametrize("operation", DESCRIBED)
def test_every_operation_says_what_it_does(operation: dict[str, Any]) -> None:
    assert re.fullmatch(r"[a-z_]+", operation["operationId"])
    assert operation["summary"]
    assert operation["description"]
    assert all(one["description"] and "example" in one for one in operation["parameters"])


@pytest.mark.parametrize("operation", DESCRIBED)
def test_every_operation_shows_examples(operation: dict[str, Any]) -> None:
    shown = [*operation["responses"].values(), operation.get("requestBody", {})]
    for content in (one["content"] for one in shown if "content" in one):
        assert all(one.get("example") or one.get("examples") for one in content.values())


@pytest.mark.parametrize("operation", DESCRIBED)
def test_every_operation_lists_its_errors(operation: dict[str, Any]) -> None:
    problems = {
        status: one["content"]["application/problem+json"]["examples"]
        for status, one in operation["responses"].items()
        if "application/problem+json" in one.get("content", {})
    }
    assert all(CODES[code][0] == int(status) for status, codes in problems.items() for code in codes)
    assert {"421", "500"} <= set(problems)
    assert ("401" in problems) == (operation.get("security") is None), "what needs a key can answer 401"
    assert ("415" in problems) >= ("requestBody" in operation), "a body can be of the wrong type"


@pytest.mark.parametrize("operation", DESCRIBED)
def test_every_example_is_of_its_type(operation: dict[str, Any]) -> None:
    bodies = [*operation["responses"].values(), operation.get("requestBody", {})]
    shown = [content for one in bodies for content in one.get("content", {}).values()] + operation["parameters"]
    for one in shown:
        for example in [one["example"]] if "example" in one else [each["value"] for each in one["examples"].values()]:
            jsonschema_rs.validate({**one["schema"], "components": CLOSED}, example)


def test_operation_ids_are_unique() -> None:
    names = [operation.values[0]["operationId"] for operation in DESCRIBED]
    assert len(names) == len(set(names))


def test_every_reference_leads_somewhere() -> None:
    text = msgspec.json.encode(DOCUMENT).decode()
    for name in re.findall(r'"#/components/schemas/(\w+)"', text):
        assert name in SCHEMAS


def test_a_route_without_a_description_is_not_served() -> None:
    @get("/undocumented")
    async def undocumented() -> None: ...

    with pytest.raises(TypeError, match="/undocumented"):
        describe(Litestar([undocumented], openapi_config=None, logging_config=None))


def example_of(path: str, status: int, code: str, method: str = "post") -> dict[str, Any]:
    shown = DOCUMENT["paths"][path][method]["responses"][str(status)]["content"]["application/problem+json"]
    example: dict[str, Any] = shown["examples"][code]["value"]
    return example


@pytest.mark.parametrize("path", ["/v1/jobs/commit/fast", "/v1/jobs/commit/cheap", "/v1/jobs"])
def test_who_finds_no_trusted_worker_is_shown_where_the_job_is_told(path: str) -> None:
    example = example_of(path, 422, "no_trusted_worker")
    assert (example["error"], example["job_id"]) == ("no_trusted_worker", JOB_ID)


@pytest.mark.parametrize(
    ("method", "path", "words"),
    [
        ("post", "/v1/jobs/commit/fast", "Missing required fields: job_type, payload, user_id"),
        ("get", "/v1/quote", "Invalid job_type. Use LLM_INFER or TASK"),
        ("post", "/v1/trust/create", "Missing user_id"),
        ("post", "/v1/trust/claim", "Missing pairing_code or provider_pubkey"),
        ("get", "/v1/trust/list", "Missing user_id query param"),
    ],
)
def test_where_dispatch_has_words_of_its_own_they_are_shown(method: str, path: str, words: str) -> None:
    assert example_of(path, 400, "invalid_request", method)["error"] == words
