"""`GET /openapi.json`: made once, from what each route says of itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from inspect import cleandoc
from typing import Any

import msgspec
from litestar import Litestar, Request, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from cavvy.api.documented import KNOWN_IN_PATH, Documented, Parameter
from cavvy.api.examples import JOB_ID
from cavvy.api.problems import CODES
from cavvy.protocol.rest_problem import Problem
from cavvy.version import __version__

__all__ = ["describe", "openapi_document", "operations"]

Schema = dict[str, Any]
_ABOUT = "A self-hosted dispatcher for AI jobs. Every error is problem+json with a documented `code`."
_KEY = "An API key, `cav_…`, as `Authorization: Bearer`. The first ones are in credentials.toml."
_ALWAYS = ("invalid_request", "foreign_origin", "misdirected_request", "internal")
_WITH_KEY = ("unauthorized", "forbidden", "invalid_field", "rate_limited")
_WITH_BODY = ("invalid_json", "body_too_large", "unsupported_media_type", "invalid_field")
_WRITING = ("store_unavailable",)
#: What a problem of this code says besides.
_MORE: Mapping[str, Mapping[str, Any]] = {
    "no_trusted_worker": {"job_id": JOB_ID},
    "invalid_field": {"field": "user_id"},
    "store_unavailable": {"outcome": "not_accepted"},
    "internal": {"request_id": "5f0c2a9be17d4386"},
}
_HEADERS = {401: "WWW-Authenticate", 429: "Retry-After", 503: "Retry-After"}


@get("/openapi.json", include_in_schema=False)
async def openapi_document(request: Request[Any, Any, Any]) -> Response[bytes]:
    """This API's description."""
    return Response(request.app.state["openapi"], media_type="application/vnd.oai.openapi+json")


def operations(app: Litestar) -> Iterator[tuple[str, str, HTTPRouteHandler, Documented]]:
    """Path, method, handler and description of every public operation. Raises TypeError for one without description."""
    for route in app.routes:
        if not isinstance(route, HTTPRoute):
            continue
        for method, (handler, _) in sorted(route.route_handler_map.items()):
            if not handler.resolve_include_in_schema():
                continue
            found = getattr(handler.operation_class, "documented", None)
            if not isinstance(found, Documented):
                raise TypeError(f"{method} {route.path_format} has no operation_class=documented(…)")
            yield route.path_format, method, handler, found


def describe(app: Litestar) -> bytes:
    """The OpenAPI 3.1 document as JSON."""
    found = list(operations(app))
    schemas = _Schemas(kind for _, _, _, one in found for kind in _kinds(one))
    paths: dict[str, dict[str, Any]] = {}
    for path, method, handler, one in found:
        paths.setdefault(path, {})[method.lower()] = _operation(path, method, handler, one, schemas)
    document = {
        "openapi": "3.1.0",
        "info": {"title": "Cavvy", "version": __version__, "description": _ABOUT},
        "servers": [{"url": "/"}],
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": _KEY}},
        },
    }
    return msgspec.json.encode(document)


class _Schemas:
    """JSON schemas of all types at once, so that each is a component only once."""

    def __init__(self, kinds: Iterable[Any]) -> None:
        self._kinds = [Problem, *kinds]
        self._schemas, self.components = msgspec.json.schema_components(
            self._kinds, schema_hook=_any, ref_template="#/components/schemas/{name}"
        )

    def of(self, kind: Any) -> Schema:
        return self._schemas[next(index for index, one in enumerate(self._kinds) if one is kind)]


def _any(kind: Any) -> Schema:
    return {} if kind is msgspec.Raw else {"type": "string"}


def _kinds(one: Documented) -> list[Any]:
    answers = [kind for _, kind in one.answers.values() if kind is not None]
    parameters = [parameter.kind for parameter in (*one.parameters, *KNOWN_IN_PATH.values())]
    return [*answers, *parameters, *([one.body] if one.body else [])]


def _operation(path: str, method: str, handler: HTTPRouteHandler, one: Documented, schemas: _Schemas) -> Schema:
    parameters = [_parameter(each, schemas) for each in _parameters(path, one)]
    made: Schema = {
        "operationId": handler.handler_name,
        "tags": [path.removeprefix("/v1").split("/")[1]],
        "summary": one.summary,
        "description": cleandoc(handler.fn.__doc__ or ""),
        "parameters": parameters,
        "responses": {
            **{str(status): _answer(one, status, schemas) for status in one.answers},
            **_problems(_codes(method, one, "{" in path), one, schemas),
        },
    }
    if one.public:
        made["security"] = []
    if one.body is not None:
        content = {"schema": schemas.of(one.body), "example": plain(one.request_example)}
        made["requestBody"] = {"required": one.body_required, "content": {"application/json": content}}
    return made


def _parameters(path: str, one: Documented) -> Iterator[Parameter]:
    declared = {each.name: each for each in one.parameters}
    for part in path.split("/"):
        if part.startswith("{"):
            name = part.strip("{}")
            if name not in declared and name not in KNOWN_IN_PATH:
                raise TypeError(f"{path}: declare {name!r} with parameters=(in_path(…),)")
            yield declared.get(name) or KNOWN_IN_PATH[name]
    yield from (each for each in one.parameters if each.where != "path")


def _parameter(one: Parameter, schemas: _Schemas) -> Schema:
    return {
        "name": one.name,
        "in": one.where,
        "required": one.required or one.where == "path",
        "description": one.description,
        "schema": schemas.of(one.kind),
        "example": plain(one.example),
    }


def _answer(one: Documented, status: int, schemas: _Schemas) -> Schema:
    text, kind = one.answers[status]
    if kind is None:
        return {"description": text}
    content = {"schema": schemas.of(kind), "example": plain(one.example_of(status))}
    return {"description": text, "content": {one.media_type: content}}


def _codes(method: str, one: Documented, has_path: bool) -> list[str]:
    """Every code this operation can answer with, in the order of the table."""
    codes = {*_ALWAYS, *one.errors}
    if not one.public:
        codes.update(_WITH_KEY)
    if one.body is not None:
        codes.update(_WITH_BODY)
    if has_path:
        codes.add("not_found")
    if method not in ("GET", "HEAD"):
        codes.update(_WRITING)
    return sorted(codes, key=list(CODES).index)


def _problems(codes: list[str], one: Documented, schemas: _Schemas) -> dict[str, Schema]:
    """One response a status; each of its codes has an example."""
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(CODES[code][0], []).append(code)
    return {
        str(status): _problem(status, each, one.words, schemas)
        for status, each in by_status.items()
        if status not in one.answers
    }


def _problem(status: int, codes: list[str], words: Mapping[str, str], schemas: _Schemas) -> Schema:
    schema = {"allOf": [schemas.of(Problem), {"properties": {"code": {"enum": codes}}}]}
    examples = {code: {"summary": CODES[code][1], "value": _example(code, words.get(code, code))} for code in codes}
    made: Schema = {
        "description": "; ".join(f"`{code}`: {CODES[code][1]}" for code in codes),
        "content": {"application/problem+json": {"schema": schema, "examples": examples}},
    }
    if status in _HEADERS:
        made["headers"] = {_HEADERS[status]: {"schema": {"type": "string"}}}
    return made


def _example(code: str, error: str) -> Any:
    status, title = CODES[code]
    kind, detail = f"urn:cavvy:problem:{code}", "What is wrong, and what to do."
    return plain(
        Problem(type=kind, title=title, status=status, detail=detail, code=code, error=error, **_MORE.get(code, {}))
    )


def plain(value: Any) -> Any:
    """`value` as JSON shows it."""
    return msgspec.json.decode(msgspec.json.encode(value))
