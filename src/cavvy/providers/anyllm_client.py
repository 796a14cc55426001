"""any-llm's instances, made so that a call is exactly one HTTP request: no retries, no redirects, explicit timeouts."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from cavvy import defaults

__all__ = ["OLLAMA", "Call", "Instance", "Target", "is_plain", "make"]

OLLAMA = "ollama"
ANTHROPIC = "anthropic"
NO_KEY = "no-key-required"  # the SDKs insist on one; without this they take another provider's from the environment
KEPT_CONNECTIONS = 8


class Target(NamedTuple):
    """Whom to speak to. `provider` is any-llm's name; `url` None means the provider's own address."""

    provider: str
    url: str | None
    key: str | None
    timeout_s: float

    @property
    def secret(self) -> str | None:
        """The key to give to an SDK: never one from the environment that was meant for another address."""
        return self.key or (NO_KEY if self.url else None)

    @property
    def encrypted(self) -> bool:
        return self.provider != OLLAMA if self.url is None else not is_plain(self.url)


class Instance(NamedTuple):
    """`llm` is any-llm's; `http` is to be closed, if it is ours; `speaks_openai` tells the dialect."""

    llm: Any
    http: Any
    speaks_openai: bool


class Call:
    """One HTTP call: the response it opened, so that it can be closed from outside of whatever reads it."""

    _current: ContextVar[Call | None] = ContextVar("cavvy_provider_call", default=None)

    def __init__(self, heard: Callable[[], None]) -> None:
        """`heard` is called for each piece that comes, also for one that says nothing (a comment that keeps alive)."""
        self._heard = heard
        self._responses: list[Any] = []

    @property
    def answered(self) -> bool:
        return bool(self._responses)

    @contextlib.contextmanager
    def opening(self) -> Iterator[None]:
        """Responses that come inside are this call's."""
        token = self._current.set(self)
        try:
            yield
        finally:
            self._current.reset(token)

    @classmethod
    async def note(cls, response: Any) -> None:
        """The HTTP clients' hook."""
        call = cls._current.get()
        if call is not None:
            call._responses.append(response)
            response.stream = _listened(response.stream, call._heard)

    async def close(self) -> None:
        """Closes the connection, so that the server stops generating."""
        for response in self._responses:
            with contextlib.suppress(Exception):
                await response.aclose()


def _listened(stream: Any, heard: Callable[[], None]) -> Any:
    """The stream of a response's body, calling `heard` for each piece of it."""
    return _listening(type(stream).__module__.partition(".")[0])(stream, heard)


@cache
def _listening(library: str) -> Any:
    """Such a stream of httpx's, or of httpx2's."""

    class Listening(importlib.import_module(library).AsyncByteStream):  # type: ignore[misc]
        def __init__(self, stream: Any, heard: Callable[[], None]) -> None:
            self._stream = stream
            self._heard = heard

        async def __aiter__(self) -> AsyncIterator[bytes]:
            async for piece in self._stream:
                self._heard()
                yield piece

        async def aclose(self) -> None:
            await self._stream.aclose()

    return Listening


def make(target: Target) -> Instance:
    """Imports any-llm, which takes more than a second, and makes the instance: for a thread.

    Raises what any-llm raises, UnsupportedProviderError for a provider that it does not know and that has no URL.
    """
    from any_llm import AnyLLM
    from any_llm.exceptions import UnsupportedProviderError
    from any_llm.providers.openai.base import BaseOpenAIProvider

    if target.provider == OLLAMA:
        return _ollama(target)
    try:
        kind = AnyLLM.get_provider_class(target.provider)
    except UnsupportedProviderError:
        if target.url is None:
            raise
        return _openai_compatible(target)
    if issubclass(kind, BaseOpenAIProvider):
        return _openai(target)
    return _anthropic(target) if target.provider == ANTHROPIC else _other(target, kind.MAX_RETRIES_SUPPORT)


def is_plain(url: str) -> bool:
    """Whether it is served without TLS, so on this machine or this network."""
    return not url.startswith("https:")


def _ollama(target: Target) -> Instance:
    from any_llm import AnyLLM

    headers = {"authorization": f"Bearer {target.secret}"} if target.secret else {}
    options = {"headers": headers, **_options(target, "httpx")}
    llm: Any = AnyLLM.create(OLLAMA, api_base=target.url, unified_exceptions=True, **options)
    return Instance(llm, _Closing(llm.client.close), speaks_openai=False)


def _openai_compatible(target: Target) -> Instance:
    from any_llm import AnyLLM

    http = _http(target, "httpx2")
    llm = AnyLLM.create_openai_compatible(
        target.provider, _with_version(target.url or ""), target.secret, **_unretried(http)
    )
    return Instance(llm, http, speaks_openai=True)


def _openai(target: Target) -> Instance:
    from any_llm import AnyLLM

    http = _http(target, "httpx2")
    url = _with_version(target.url) if target.url else None
    return Instance(AnyLLM.create(target.provider, target.secret, url, **_unretried(http)), http, speaks_openai=True)


def _anthropic(target: Target) -> Instance:
    from any_llm import AnyLLM

    http = _http(target, "httpx")
    llm = AnyLLM.create(target.provider, target.secret, target.url, **_unretried(http))
    return Instance(llm, http, speaks_openai=False)


def _other(target: Target, retries: str) -> Instance:
    """A provider with an SDK of its own, whose HTTP client is out of reach."""
    from any_llm import AnyLLM

    options: dict[str, Any] = {} if retries == "unsupported" else {"max_retries": 0}
    llm = AnyLLM.create(target.provider, target.secret, target.url, unified_exceptions=True, **options)
    return Instance(llm, None, speaks_openai=False)


def _unretried(http: Any) -> dict[str, Any]:
    return {"http_client": http, "max_retries": 0, "unified_exceptions": True}


class _Closing(NamedTuple):
    aclose: Any


def _http(target: Target, module: str) -> Any:
    return importlib.import_module(module).AsyncClient(**_options(target, module))


def _options(target: Target, module: str) -> dict[str, Any]:
    """For httpx, or httpx2, which OpenAI's SDK takes. Connections are kept for TLS only: elsewhere opening one costs
    nothing, and a server that closes them (llama.cpp's does) would break the call that takes a kept one.
    """
    library = importlib.import_module(module)
    connect_s = min(defaults.PROVIDER_CONNECT_S, target.timeout_s)
    kept = KEPT_CONNECTIONS if target.encrypted else 0
    return {
        "timeout": library.Timeout(connect=connect_s, read=target.timeout_s, write=target.timeout_s, pool=None),
        "limits": library.Limits(max_connections=None, max_keepalive_connections=kept),
        "follow_redirects": False,
        "event_hooks": {"response": [Call.note]},
        "trust_env": target.encrypted,  # a proxy for what is in the house is a mistake
    }


def _with_version(url: str) -> str:
    """`http://HOST:PORT` means its `/v1`."""
    return url if urlsplit(url).path.strip("/") else f"{url.rstrip('/')}/v1"
