"""Which way `ComputeRouter` goes: the coordinator that was chosen, then hosted providers where that is allowed.

Flows whose steps say where they are to be carried out (`At`); both routers share every decision.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec

from cavvy.client._compute import Answer, ComputeQuote, Dialect, code_of
from cavvy.client._flow import Flow, Step
from cavvy.client._hosted import Hosted, ask
from cavvy.client._work import Work
from cavvy.client.config import Connection, connection, is_loopback
from cavvy.errors import ClientError, ComputeFailed, InvalidInput

__all__ = ["At", "ComputeResult", "Journey", "Routing", "coordinators"]

T = TypeVar("T")

#: Where no other way is tried: what somebody stopped would be no stop if it ran elsewhere, and a key or a field that is
#: wrong is to be put right, not paid around.
_FINAL = frozenset({
    "aborted", "certificate_refused", "forbidden", "invalid_field", "invalid_json", "invalid_request", "not_supported",
    "stopped", "unauthorized",
})  # fmt: skip
USUAL_CHAIN = "monad"


class ComputeResult(msgspec.Struct, frozen=True, kw_only=True):
    """What was computed, and where: `route` is `decentralized:<chain>` or `hosted:<provider>`.

    `price` and `receipt` come from a coordinator; a hosted provider has neither. `latency_ms` is from the call to the
    answer. `fallback_reason` says why no coordinator answered, None if one did.
    """

    output: Any
    route: str
    price: str | None
    latency_ms: int
    receipt: dict[str, Any] | None
    job_id: str | None = None
    fallback_reason: str | None = None


class At(NamedTuple):
    """A step and the place to do it: the name of a route."""

    route: str
    step: Step


Journey = Generator[At, Any, T]


def coordinators(
    urls: Mapping[str, str] | None, keys: Mapping[str, str], pins: Mapping[str, str]
) -> dict[str, Connection]:
    """Each chain's coordinator, with the key and pin that are for it alone. Raises InvalidInput, ClientError."""
    if urls is None:
        urls = {USUAL_CHAIN: connection().url}
    for chain in (*keys, *pins):
        if chain not in urls:
            raise InvalidInput("invalid_field", f"there is a key or pin for {chain!r}, and no coordinator of that name")
    for chain, url in urls.items():
        if not url:
            raise InvalidInput("invalid_url", f"the URL of the coordinator for {chain!r} is empty")
    several = len(urls) > 1
    return {
        chain: connection(url, keys.get(chain), pin=pins.get(chain), one_of_several=several)
        for chain, url in urls.items()
    }


class Routing:
    """The ways there are: coordinators by chain, and hosted providers in the order they are tried in."""

    def __init__(
        self, coordinators: Mapping[str, str], hosted: Sequence[Hosted], clock: Callable[[], float] = time.monotonic
    ) -> None:
        if not coordinators:
            raise InvalidInput("invalid_url", "coordinator_urls names no coordinator")
        self._urls = coordinators
        self._dialects = {chain: Dialect(url, clock) for chain, url in coordinators.items()}
        self._hosted = hosted
        self._clock = clock

    def quote(self, job_type: str, policy: str, chain: str | None) -> Journey[ComputeQuote]:
        """The price that the chosen coordinator names."""
        chosen = self._chosen(chain)
        return _at(_decentralized(chosen), self._dialects[chosen].quote(job_type, policy))

    def run(self, work: Work, chain: str | None) -> Journey[ComputeResult]:
        """The answer by the first way that gives one. Raises ComputeFailed when none is left."""
        chosen, began, reasons = self._chosen(chain), self._clock(), dict[str, str]()
        if work.private:
            _refuse_to_show(self._urls[chosen])
        ways = [(_decentralized(chosen), self._dialects[chosen].run(work))]
        if not work.private:  # never: a hosted provider is nobody's trusted worker
            ways += [(f"hosted:{one.name}", ask(one, work)) for one in self._hosted]
        for route, flow in ways:
            try:
                answer = yield from _at(route, flow)
            except ClientError as error:
                reasons[route] = str(error)
                if code_of(error) in _FINAL or len(reasons) == len(ways):
                    raise _failed(error, reasons, work) from error
            else:
                return _result(answer, route, (self._clock() - began) * 1000, reasons)
        raise AssertionError("the last way raises or returns")

    def _chosen(self, chain: str | None) -> str:
        if chain is None:
            return USUAL_CHAIN if USUAL_CHAIN in self._dialects else next(iter(self._dialects))
        if chain not in self._dialects:
            known = ", ".join(sorted(self._dialects))
            raise InvalidInput("invalid_field", f"chain_preference is one of {known}, not {chain!r}")
        return chain


def _decentralized(chain: str) -> str:
    return f"decentralized:{chain}"


def _refuse_to_show(url: str) -> None:
    """Raises InvalidInput where everybody on the way could read what is PRIVATE."""
    if url.startswith("http:") and not is_loopback(url):
        told = f"{url} is another machine, and without TLS everyone on the way could read what is PRIVATE; use https://"
        raise InvalidInput("invalid_url", told)


def _at(route: str, flow: Flow[T]) -> Journey[T]:
    """`flow`, each of its steps to be carried out at `route`; what goes wrong there is the flow's to judge."""
    take: Callable[[Any], Step] = flow.send
    outcome: Any = None
    while True:
        try:
            step = take(outcome)
        except StopIteration as done:
            answer: T = done.value
            return answer
        try:
            take, outcome = flow.send, (yield At(route, step))
        except GeneratorExit:
            flow.close()
            raise
        except BaseException as error:  # noqa: BLE001 (it is handed on)
            take, outcome = flow.throw, error


def _result(answer: Answer, route: str, latency_ms: float, reasons: Mapping[str, str]) -> ComputeResult:
    return ComputeResult(
        output=answer.output,
        route=route,
        price=answer.price,
        latency_ms=round(latency_ms),
        receipt=answer.receipt,
        job_id=answer.job_id,
        fallback_reason="; ".join(reasons.values()) or None,
    )


def _failed(error: ClientError, reasons: Mapping[str, str], work: Work) -> ComputeFailed:
    job_id = getattr(error, "job_id", None)
    if len(reasons) > 1:
        told = "; ".join(f"{route}: {why}" for route, why in reasons.items())
        return ComputeFailed(f"All compute adapters failed: {told}", reasons=reasons)
    told = str(error) + (". A PRIVATE job goes to no hosted provider" if work.private else "")
    return ComputeFailed(told, code=code_of(error), job_id=job_id, reasons=reasons)
