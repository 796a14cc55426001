"""OpenAPI for bodies that are parsed strictly by hand: the schema still comes from the msgspec type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIResponse, Operation, RequestBody, Schema

from cavvy.protocol.rest import Problem

__all__ = ["documented", "schema_of"]


def schema_of(kind: Any) -> Schema:
    """`kind`'s JSON schema, its components inlined."""
    (schema,), components = msgspec.json.schema_components([kind], schema_hook=_any, ref_template="#/$defs/{name}")
    made = Schema()
    made.to_schema = lambda: _inline(schema, components)  # type: ignore[method-assign]
    return made


def documented(
    summary: str, *, body: Any = None, answers: dict[int, tuple[str, Any]], media_type: str = "application/json"
) -> type[Operation]:
    """An operation class for a handler: `answers` maps a status to its description and type (None: no JSON)."""
    responses = {
        str(status): OpenAPIResponse(
            description=text,
            content=None if kind is None else {media_type: OpenAPIMediaType(schema=schema_of(kind))},
        )
        for status, (text, kind) in answers.items()
    }
    responses["default"] = OpenAPIResponse(
        description="What went wrong and what to do",
        content={"application/problem+json": OpenAPIMediaType(schema=schema_of(Problem))},
    )
    request = RequestBody(content={"application/json": OpenAPIMediaType(schema=schema_of(body))}) if body else None

    @dataclass
    class Documented(Operation):
        def __post_init__(self) -> None:
            self.summary = summary
            self.request_body = request
            self.responses = responses  # type: ignore[assignment]

    return Documented


def _any(kind: Any) -> dict[str, Any]:
    return {} if kind is msgspec.Raw else {"type": "string"}


def _inline(value: Any, components: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        ref = value.get("$ref", "")
        if ref.startswith("#/$defs/"):
            return _inline(components[ref.removeprefix("#/$defs/")], components)
        return {key: _inline(one, components) for key, one in value.items()}
    if isinstance(value, list):
        return [_inline(one, components) for one in value]
    return value
