"""How the synchronous clients do what flows ask for: with `httpx.Client`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TypeVar

import httpx

from cavvy.client import _http
from cavvy.client._flow import Close, Flow, Flows, Open, Pause, Read, Send, Step
from cavvy.client._protocol import Lost, Reply, Request

__all__ = ["Caller", "Wire"]

T = TypeVar("T")


class Caller:
    """Carries out flows on one coordinator."""

    _http: httpx.Client
    _flows: Flows
    _timeout_s: float

    def _fetch(self, request: Request, kind: type[T]) -> T:
        return self._carry_out(self._flows.fetch(request, kind))

    def _carry_out(self, flow: Flow[T]) -> T:
        wire = Wire(self._http, self._timeout_s)
        outcome: Reply | Lost | bytes | None = None
        while True:
            try:
                step = flow.send(outcome)
            except StopIteration as stop:
                answer: T = stop.value
                return answer
            outcome = wire.perform(step)


class Wire:
    """Carries out steps; holds the stream that is open."""

    def __init__(self, http: httpx.Client, timeout_s: float) -> None:
        self._http = http
        self._timeout_s = timeout_s
        self._response: httpx.Response | None = None
        self._chunks: Iterator[bytes] = iter(())

    def perform(self, step: Step) -> Reply | Lost | bytes | None:
        """Does `step`; its outcome."""
        match step:
            case Send(request):
                return self._send(request, stream=False)
            case Open(request):
                return self._send(request, stream=True)
            case Read():
                return self._read()
            case Pause(seconds):
                time.sleep(seconds)
            case Close():
                self.close()
        return None

    def close(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None

    def _send(self, request: Request, *, stream: bool) -> Reply | Lost:
        prepared = self._http.build_request(**_http.outgoing(request, self._timeout_s, stream=stream))
        try:
            response = self._http.send(prepared, stream=stream)
            if not stream or response.status_code != 200:
                return Reply(response.status_code, response.headers, response.read())
        except httpx.RequestError as error:
            return _http.lost(error, str(self._http.base_url))
        self._response, self._chunks = response, response.iter_bytes()
        return Reply(response.status_code, response.headers, b"")

    def _read(self) -> bytes:
        try:
            return next(self._chunks, b"")
        except (httpx.TransportError, httpx.StreamError):
            return b""
