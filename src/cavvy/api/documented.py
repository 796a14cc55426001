"""What a route says of itself: the handler parses strictly by hand, the description comes from the same msgspec types.

`openapi.py` makes the document out of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Literal

from litestar.openapi.spec import Operation
from msgspec import Meta

from cavvy.api.examples import JOB_ID, KEY_ID, WORKER_ID
from cavvy.api.examples_trust import TRUST_ID

__all__ = ["Documented", "Parameter", "documented", "header", "in_path", "query"]


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One parameter; `kind` is its type, with its limits as `Annotated[…, Meta(…)]`."""

    name: str
    where: Literal["path", "query", "header"]
    description: str
    kind: Any
    example: Any
    required: bool = False


@dataclass(frozen=True, kw_only=True)
class Documented:
    """One operation. `answers` maps a status to its description and type (None: no body); `errors` are codes, and
    `words` what stands in `error` of some of them instead of the code.
    """

    summary: str
    body: Any
    body_required: bool
    request_example: Any
    answers: dict[int, tuple[str, Any]]
    example: Any
    media_type: str
    parameters: tuple[Parameter, ...]
    errors: tuple[str, ...]
    words: Mapping[str, str]
    public: bool

    def example_of(self, status: int) -> Any:
        """The example of the answer with this status."""
        by_status = isinstance(self.example, dict) and set(self.example) <= set(self.answers)
        return self.example[status] if by_status else self.example


def documented(
    summary: str,
    *,
    body: Any = None,
    body_required: bool = True,
    request_example: Any = None,
    answers: dict[int, tuple[str, Any]],
    example: Any = None,
    media_type: str = "application/json",
    parameters: tuple[Parameter, ...] = (),
    errors: tuple[str, ...] = (),
    words: Mapping[str, str] = MappingProxyType({}),
    public: bool = False,
) -> type[Operation]:
    """A handler's `operation_class`; its docstring is the description and its name the operationId.

    `example` and `request_example` are plain data or instances of the type; `example` may be a dictionary by status.
    Left out of `errors` is what follows from the rest: a key unless `public`, a body, parameters, writing.
    """

    class Described(Operation):
        documented = Documented(
            summary=summary,
            body=body,
            body_required=body_required,
            request_example=request_example,
            answers=answers,
            example=example,
            media_type=media_type,
            parameters=parameters,
            errors=errors,
            words=words,
            public=public,
        )

    return Described


def query(name: str, description: str, kind: Any, example: Any, *, required: bool = False) -> Parameter:
    """A parameter behind the `?`."""
    return Parameter(name=name, where="query", description=description, kind=kind, example=example, required=required)


def header(name: str, description: str, kind: Any, example: Any) -> Parameter:
    """A request header, never required."""
    return Parameter(name=name, where="header", description=description, kind=kind, example=example)


def in_path(name: str, description: str, example: str) -> Parameter:
    """A part of the path; one of `_KNOWN` needs no declaration."""
    return Parameter(name=name, where="path", description=description, kind=_NAME, example=example)


_NAME = Annotated[str, Meta(min_length=1)]
#: What is called the same in every path.
KNOWN_IN_PATH = {
    one.name: one
    for one in (
        in_path("job_id", "The job's id, a UUIDv7.", JOB_ID),
        in_path("key_id", "The key's id, which is also in the key: `cav_…_ID_…`.", KEY_ID),
        in_path("trust_id", "The id of a code, a claim or a pairing.", TRUST_ID),
        in_path("worker_id", "The worker's id (`wrk_…`) or its key in hex.", WORKER_ID),
    )
}
