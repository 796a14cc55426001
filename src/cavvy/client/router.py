"""`ComputeRouter` and `AsyncComputeRouter`: Dispatch's SDK, in Python. They do the I/O; `_routing` decides."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import httpx

from cavvy import __version__
from cavvy.client import _async_wire, _http, _sync_wire
from cavvy.client._compute import ComputeQuote
from cavvy.client._hosted import Hosted, hosted_providers
from cavvy.client._routing import At, ComputeResult, Journey, Routing, coordinators
from cavvy.client._work import llm_work, task_work
from cavvy.client.config import Connection

__all__ = ["AsyncComputeRouter", "ComputeRouter"]

T = TypeVar("T")
Http = TypeVar("Http", httpx.Client, httpx.AsyncClient)


class _Router(ABC, Generic[Http]):
    """What both routers are made of: the ways there are, and a client for each, which has its key and no other's."""

    def __init__(
        self,
        coordinator_urls: Mapping[str, str] | None = None,
        *,
        preferred_hosted: str | None = None,
        fallback: bool = True,
        api_keys: Mapping[str, str] | None = None,
        pins: Mapping[str, str] | None = None,
        hosted_keys: Mapping[str, str] | None = None,
        hosted_models: Mapping[str, str] | None = None,
        timeout: float = 30.0,
    ) -> None:
        found = coordinators(coordinator_urls, api_keys or {}, pins or {})
        hosted = hosted_providers(preferred_hosted, hosted_keys or {}, hosted_models or {}) if fallback else []
        options = {f"decentralized:{chain}": _http.options(place) for chain, place in found.items()}
        options |= {f"hosted:{one.name}": _hosted_options(one) for one in hosted}
        self._routing = Routing({chain: place.url for chain, place in found.items()}, hosted)
        self._clients: dict[str, Http] = {route: self._client(**given) for route, given in options.items()}
        self._timeout_s = timeout

    @abstractmethod
    def _client(self, **options: Any) -> Http:
        """What speaks HTTP in this face."""


def _hosted_options(provider: Hosted) -> dict[str, Any]:
    headers = {"User-Agent": f"cavvy/{__version__}", "Accept": "application/json", **provider.headers}
    return _http.options(Connection(provider.url, None)) | {"headers": headers}


class ComputeRouter(_Router[httpx.Client]):
    """Runs prompts and tasks at a coordinator that speaks Dispatch's dialect, Cavvy's or an original one.

    `coordinator_urls` names them by chain; without it that is this account's own, as `Cavvy` finds it. Keys go to
    their own address only: `api_keys` and `pins` by chain, else what `cavvy up` or `cavvy login` wrote down. Where
    several are named, CAVVY_API_KEY and CAVVY_PIN are for the one at CAVVY_URL.

    When the coordinator gives no answer, a PUBLIC job is sent to a hosted provider for which there is a key:
    `preferred_hosted` (`openai` or `anthropic`) first, with `hosted_keys`, else OPENAI_API_KEY and ANTHROPIC_API_KEY.
    With `fallback=False` none is, and a PRIVATE job never is, nor one that somebody stopped. `hosted_models` says which
    model to ask instead of the usual one, OPENAI_BASE_URL and ANTHROPIC_BASE_URL where. `timeout` is how many seconds
    one request may take beyond the time it asks to wait. Threads may share a router.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        for client in self._clients.values():
            client.close()

    def run_llm(
        self,
        *,
        prompt: str,
        user_id: str,
        max_tokens: int | None = None,
        policy: str = "AUTO",
        privacy: str = "PUBLIC",
        chain_preference: str | None = None,
    ) -> ComputeResult:
        """The model's answer: `output` is `{text, model, …}`. `policy` is FAST, CHEAP or AUTO, `privacy` PUBLIC or
        PRIVATE. A job that takes longer than 60 s is cancelled. Raises ComputeFailed, InvalidInput."""
        work = llm_work(prompt, max_tokens, user_id=user_id, policy=policy, privacy=privacy)
        return self._carry_out(self._routing.run(work, chain_preference))

    def run_task(
        self,
        *,
        task_type: str,
        input: str,
        user_id: str,
        policy: str = "AUTO",
        privacy: str = "PUBLIC",
        chain_preference: str | None = None,
    ) -> ComputeResult:
        """The task's object: `task_type` is summarize, classify or extract_json. A job that takes longer than 30 s is
        cancelled. A hosted provider answers with text. Raises ComputeFailed, InvalidInput."""
        work = task_work(task_type, input, user_id=user_id, policy=policy, privacy=privacy)
        return self._carry_out(self._routing.run(work, chain_preference))

    def quote(self, *, job_type: str, policy: str = "AUTO", chain_preference: str | None = None) -> ComputeQuote:
        """The price of an LLM_INFER or TASK job. Raises RequestRefused, NoCoordinator, InvalidInput."""
        return self._carry_out(self._routing.quote(job_type, policy, chain_preference))

    def _carry_out(self, journey: Journey[T]) -> T:
        wires = {route: _sync_wire.Wire(client, self._timeout_s) for route, client in self._clients.items()}
        take: Callable[[Any], At] = journey.send
        outcome: Any = None
        while True:
            try:
                route, step = take(outcome)
            except StopIteration as done:
                answer: T = done.value
                return answer
            try:
                take, outcome = journey.send, wires[route].perform(step)
            except BaseException as error:  # noqa: BLE001 (the journey cancels what it began, and raises it again)
                take, outcome = journey.throw, error

    def _client(self, **options: Any) -> httpx.Client:
        return httpx.Client(**options)


class AsyncComputeRouter(_Router[httpx.AsyncClient]):
    """`ComputeRouter` with `await`: `async with`, or `await aclose()`."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes the connections."""
        for client in self._clients.values():
            await client.aclose()

    async def run_llm(
        self,
        *,
        prompt: str,
        user_id: str,
        max_tokens: int | None = None,
        policy: str = "AUTO",
        privacy: str = "PUBLIC",
        chain_preference: str | None = None,
    ) -> ComputeResult:
        """As `ComputeRouter.run_llm`."""
        work = llm_work(prompt, max_tokens, user_id=user_id, policy=policy, privacy=privacy)
        return await self._carry_out(self._routing.run(work, chain_preference))

    async def run_task(
        self,
        *,
        task_type: str,
        input: str,
        user_id: str,
        policy: str = "AUTO",
        privacy: str = "PUBLIC",
        chain_preference: str | None = None,
    ) -> ComputeResult:
        """As `ComputeRouter.run_task`."""
        work = task_work(task_type, input, user_id=user_id, policy=policy, privacy=privacy)
        return await self._carry_out(self._routing.run(work, chain_preference))

    async def quote(self, *, job_type: str, policy: str = "AUTO", chain_preference: str | None = None) -> ComputeQuote:
        """As `ComputeRouter.quote`."""
        return await self._carry_out(self._routing.quote(job_type, policy, chain_preference))

    async def _carry_out(self, journey: Journey[T]) -> T:
        wires = {route: _async_wire.Wire(client, self._timeout_s) for route, client in self._clients.items()}
        take: Callable[[Any], At] = journey.send
        outcome: Any = None
        while True:
            try:
                route, step = take(outcome)
            except StopIteration as done:
                answer: T = done.value
                return answer
            try:
                take, outcome = journey.send, await wires[route].perform(step)
            except BaseException as error:  # noqa: BLE001 (the journey cancels what it began, and raises it again)
                take, outcome = journey.throw, error

    def _client(self, **options: Any) -> httpx.AsyncClient:
        return httpx.AsyncClient(**options)
