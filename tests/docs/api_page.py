"""docs/reference/api.md, made from /openapi.json. `python -m tests.docs.api_page` (`make docs`) writes it anew."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from litestar import Litestar

from cavvy.api.app import ROUTES
from cavvy.api.openapi import describe

__all__ = ["PAGE", "page"]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "api.md"
HEAD = """\
# Every route

Made from `GET /openapi.json`. What the routes have in common, and what the fields mean, is in [HTTP API](http-api.md).
Every route wants a key, unless it says otherwise. Besides the errors listed with a route every one can answer
{always}.
"""


def page() -> str:
    document = msgspec.json.decode(describe(Litestar(ROUTES, openapi_config=None, logging_config=None)))
    return "\n".join(_Page(document).lines()).rstrip() + "\n"


class _Page:
    def __init__(self, document: dict[str, Any]) -> None:
        self._types = document["components"]["schemas"]
        self._operations = [
            (method.upper(), path, one) for path, item in document["paths"].items() for method, one in item.items()
        ]
        self._always = set.intersection(*(set(_errors(one)) for _, _, one in self._operations))
        self._shown: dict[str, str] = {}

    def lines(self) -> Iterator[str]:
        yield HEAD.format(always=", ".join(f"`{code}`" for code in sorted(self._always)))
        tags = dict.fromkeys(one["tags"][0] for _, _, one in self._operations)
        for tag in tags:
            yield f"## {tag}\n"
            for method, path, one in self._operations:
                if one["tags"][0] == tag:
                    yield from self._operation(f"{method} {path}", one)
        yield "## Types\n"
        yield "`?` marks fields that may be missing.\n"
        for name in sorted(self._types):
            yield from self._type(name)

    def _operation(self, title: str, one: dict[str, Any]) -> Iterator[str]:
        yield f"### {title}\n"
        key = " Needs no key." if one.get("security") == [] and "needs no key" not in one["description"].lower() else ""
        yield f"**{one['summary']}.** {_flat(one['description'])}{key}\n"
        if one["parameters"]:
            yield "| parameter | in | is | example |"
            yield "| --- | --- | --- | --- |"
            for each in one["parameters"]:
                is_ = f"{_cell(each['description'])} {self._limits(each['schema'])}".strip()
                yield f"| `{each['name']}` | {each['in']} | {is_} | `{each['example']}` |"
            yield ""
        if "requestBody" in one:
            content = one["requestBody"]["content"]["application/json"]
            need = "" if one["requestBody"]["required"] else " (may be missing)"
            yield f"Body{need}: {self._kind(content['schema'])}\n"
            yield _block(content["example"])
        yield from self._answers(title, one["responses"])
        codes = [code for code in _errors(one) if code not in self._always]
        if codes:
            yield f"Errors: {', '.join(f'`{code}`' for code in codes)}\n"

    def _answers(self, title: str, responses: dict[str, Any]) -> Iterator[str]:
        examples = []
        for status, answer in responses.items():
            for media_type, content in answer.get("content", {}).items():
                if media_type == "application/problem+json":
                    continue
                yield f"- **{status}** {_cell(answer['description'])}: {self._kind(content['schema'])}"
                example = json.dumps(content["example"], indent=1, ensure_ascii=False)
                if example not in self._shown:
                    self._shown[example] = title
                    examples.append((media_type, content["example"]))
            if "content" not in answer:
                yield f"- **{status}** {_cell(answer['description'])}"
        yield ""
        for media_type, example in examples:
            if media_type == "text/event-stream":
                yield f"```\n{example.rstrip()}\n```\n"
            else:
                yield _block(example)

    def _type(self, name: str) -> Iterator[str]:
        schema = self._types[name]
        yield f"### {name}\n"
        if "description" in schema:
            yield _flat(schema["description"]) + "\n"
        if "enum" in schema:
            yield "One of " + ", ".join(f"`{one}`" for one in schema["enum"]) + ".\n"
        if schema.get("properties"):
            required = set(schema.get("required", []))
            yield "| field | is |"
            yield "| --- | --- |"
            for field, kind in schema["properties"].items():
                yield f"| `{field}`{'' if field in required else '?'} | {self._kind(kind)} {self._limits(kind)} |"
            yield ""

    def _kind(self, schema: dict[str, Any]) -> str:
        """A schema in words."""
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            return f"[{name}](#{name.lower()})"
        if "anyOf" in schema:
            return " or ".join(dict.fromkeys(self._kind(one) for one in schema["anyOf"]))
        if "enum" in schema:
            return " or ".join(f"`{json.dumps(one)}`" for one in schema["enum"])
        if schema.get("type") == "array":
            return f"list of {self._kind(schema['items'])}" if schema.get("items") else "list"
        return str(schema.get("type", "any JSON"))

    def _limits(self, schema: dict[str, Any]) -> str:
        """Its limits and default, in brackets."""
        said = [one for one in (schema, *schema.get("anyOf", ())) if "$ref" not in one]
        words = []
        for low, high, unit in (("minimum", "maximum", ""), ("minLength", "maxLength", " characters")):
            least = next((one[low] for one in said if low in one), None)
            most = next((one[high] for one in said if high in one), None)
            if most is not None:
                words.append(f"{least or 0} to {most}{unit}")
        if schema.get("default") is not None:
            words.append(f"default `{json.dumps(schema['default'])}`")
        return f"({', '.join(words)})" if words else ""


def _errors(one: dict[str, Any]) -> list[str]:
    return [
        code
        for answer in one["responses"].values()
        for code in answer.get("content", {}).get("application/problem+json", {}).get("examples", {})
    ]


def _flat(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    return _flat(text).replace("|", "\\|")


def _block(example: Any) -> str:
    return f"```json\n{json.dumps(example, indent=2, ensure_ascii=False)}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
