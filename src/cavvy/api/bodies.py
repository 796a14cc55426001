"""Strict JSON: what two parsers could read differently, or what cannot be stored as text, is refused."""

from __future__ import annotations

import asyncio
import json
from typing import Any, NoReturn

from litestar import Request
from litestar.exceptions import InternalServerException

from cavvy import defaults
from cavvy.api.problems import ProblemError

__all__ = ["read_object", "strict_json"]

_BOUND = 2**63


async def read_object(request: Request[Any, Any, Any], *, optional: bool = False) -> dict[str, Any]:
    """The request's JSON object. Raises ProblemError: 415 unless application/json, 413, 400, 422 unless an object."""
    raw = await _raw(request)
    if optional and not raw:
        return {}
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    charset = request.headers.get("content-type", "").lower().partition("charset=")[2].strip(' "')
    if (
        kind != "application/json"
        or charset not in ("", "utf-8")
        or request.headers.get("content-encoding", "identity") != "identity"
    ):
        shown = kind or "missing"
        detail = f"Send the body as application/json, not compressed; Content-Type is {shown!r}."
        raise ProblemError("unsupported_media_type", detail)
    value = strict_json(raw) if len(raw) <= defaults.ASIDE_BYTES else await asyncio.to_thread(strict_json, raw)
    if not isinstance(value, dict):
        raise ProblemError("invalid_field", 'The body must be a JSON object, such as {"prompt": "hello"}.')
    return value


async def _raw(request: Request[Any, Any, Any]) -> bytes:
    try:
        return await request.body()
    except InternalServerException as error:  # what Litestar says when the client goes away half-way
        raise ProblemError("invalid_request", "The body did not arrive whole; send it again.") from error


def strict_json(raw: bytes) -> Any:
    """Parses `raw`.

    Refused: invalid UTF-8, duplicate keys, lone surrogates, NUL, numbers beyond 64 bits, deep nesting.
    """
    try:
        text = raw.decode()
        value = json.loads(
            text, object_pairs_hook=_object, parse_int=_int, parse_float=_float, parse_constant=_constant
        )
    except UnicodeDecodeError as error:
        _refuse(f"it is not valid UTF-8 (byte {error.start})")
    except RecursionError:
        _refuse(f"it is nested deeper than {defaults.MAX_JSON_DEPTH} levels")
    except json.JSONDecodeError as error:
        _refuse(f"{error.msg} at character {error.pos}")
    _check(value, 0, escaped="\\u" in text)
    return value


def _check(value: Any, depth: int, *, escaped: bool) -> None:
    """Depth, and (only if the text had escapes that could make them) NUL and lone surrogates."""
    if depth > defaults.MAX_JSON_DEPTH:
        _refuse(f"it is nested deeper than {defaults.MAX_JSON_DEPTH} levels")
    if isinstance(value, str):
        if escaped:
            _check_text(value)
    elif isinstance(value, dict):
        for key, one in value.items():
            _check(key, depth, escaped=escaped)
            _check(one, depth + 1, escaped=escaped)
    elif isinstance(value, list):
        for one in value:
            _check(one, depth + 1, escaped=escaped)


def _check_text(text: str) -> None:
    if "\0" in text:
        _refuse("text holds NUL (\\u0000)")
    try:
        text.encode()
    except UnicodeEncodeError:
        _refuse("text holds a lone surrogate")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > defaults.MAX_JSON_FIELDS:
        _refuse(f"an object has more than {defaults.MAX_JSON_FIELDS} fields")
    made: dict[str, Any] = {}
    for key, value in pairs:
        if key in made:
            _refuse(f"the key {key[:80]!r} stands twice")
        made[key] = value
    return made


def _int(digits: str) -> int:
    if len(digits) > 20 or not -_BOUND <= (number := int(digits)) < _BOUND:
        _refuse("a number does not fit 64 bits")
    return number


def _float(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        _refuse("a number is too large")
    return number


def _constant(name: str) -> NoReturn:
    _refuse(f"{name} is not JSON")


def _refuse(what: str) -> NoReturn:
    raise ProblemError("invalid_json", f"The body cannot be read as JSON: {what}.")
