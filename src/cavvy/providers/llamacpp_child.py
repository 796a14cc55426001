"""The process that holds the embedded model: llama.cpp's server, driven by JSON lines over stdin and stdout.

It is a process of its own so that a crash in native code fails its attempts only. It ends when stdin does, which is
what happens when its parent dies, however it dies. The real stdout is kept for the lines; what native code prints goes
to stderr. Started as `python -m cavvy.providers.llamacpp_child`; the first line it reads is its `Settings`.
"""

from __future__ import annotations

import os
import secrets
import signal
import sys
import threading
from typing import Any, BinaryIO, NoReturn

import msgspec

__all__ = [
    "Ended",
    "Event",
    "Failed",
    "Order",
    "Progress",
    "Ready",
    "Settings",
    "Start",
    "Stop",
    "Text",
    "decode_event",
    "encode_line",
]

BATCH_TOKENS = 64  # a stop is noticed, and another stream gets its turn, between two batches of a long prompt
TOO_LONG = "exceed_context_size_error"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What to load and how; `context_tokens` is for each slot."""

    path: str
    slots: int
    context_tokens: int
    threads: int


class Start(msgspec.Struct, frozen=True, array_like=True, tag="start"):
    """Generate; `body` is an OpenAI chat completion request."""

    run: int
    body: dict[str, Any]


class Stop(msgspec.Struct, frozen=True, array_like=True, tag="stop"):
    """Stop that run; its end is reported all the same."""

    run: int


class Ready(msgspec.Struct, frozen=True, array_like=True, tag="ready"):
    """The model is loaded."""


class Text(msgspec.Struct, frozen=True, array_like=True, tag="t", gc=False):
    run: int
    text: str


class Progress(msgspec.Struct, frozen=True, array_like=True, tag="p", gc=False):
    """The prompt has this many tokens and is being read."""

    run: int
    input_tokens: int


class Ended(msgspec.Struct, frozen=True, array_like=True, tag="end", gc=False):
    """The run is over and its slot free; `finish_reason` is empty when it was stopped."""

    run: int
    finish_reason: str
    input_tokens: int
    output_tokens: int


class Failed(msgspec.Struct, frozen=True, array_like=True, tag="failed", gc=False):
    """The run is over without an answer."""

    run: int
    kind: str
    message: str


Order = Start | Stop
Event = Ready | Text | Progress | Ended | Failed

_encode = msgspec.json.Encoder().encode
decode_event = msgspec.json.Decoder(Event).decode
decode_order = msgspec.json.Decoder(Order).decode


def encode_line(message: Settings | Order | Event) -> bytes:
    return _encode(message) + b"\n"


class _Writer:
    """Whole lines to one descriptor, from any thread."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def write(self, event: Event) -> None:
        line = memoryview(encode_line(event))
        with self._lock:
            while line:
                line = line[os.write(self._descriptor, line) :]


class _Run:
    """One generation, on a thread of its own."""

    def __init__(self, server: Any, start: Start, writer: _Writer) -> None:
        self._server = server
        self._id = start.run
        self._body = start.body
        self._writer = writer
        self._finish_reason = ""
        self._usage = (0, 0)
        self._error: tuple[str, str] | None = None
        self.stop = threading.Event()

    def __call__(self) -> None:
        try:
            self._server.handle_chat_completions(self._body, self._on_chunk)
        except Exception as error:  # noqa: BLE001 - native code raises what it likes; it is this run's end, not ours
            self._error = (type(error).__name__, str(error))
        self._writer.write(self._end())

    def _on_chunk(self, chunk: Any) -> bool:
        for one in chunk if isinstance(chunk, list) else (chunk,):
            self._read(one)
        return self.stop.is_set()

    def _read(self, chunk: dict[str, Any]) -> None:
        if (error := chunk.get("error")) is not None:
            self._error = (str(error.get("type")), str(error.get("message")))
        for choice in chunk.get("choices", ()):
            if text := choice["delta"].get("content"):
                self._writer.write(Text(self._id, text))
            self._finish_reason = choice.get("finish_reason") or self._finish_reason
        if (progress := chunk.get("prompt_progress")) is not None:
            self._writer.write(Progress(self._id, progress["total"]))
        if (usage := chunk.get("usage")) is not None:
            self._usage = (usage["prompt_tokens"], usage["completion_tokens"])

    def _end(self) -> Event:
        if self._error is not None:
            return Failed(self._id, *self._error)
        return Ended(self._id, self._finish_reason, *self._usage)


def _load(settings: Settings, verbosity: int) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = settings.path
    params.n_parallel = settings.slots
    params.n_ctx = settings.slots * settings.context_tokens
    params.n_batch = params.n_ubatch = BATCH_TOKENS
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings.threads
    params.cache_ram_mib = 0
    params.verbosity = verbosity
    # It opens an HTTP listener whether we want it or not: nobody gets in.
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [secrets.token_hex(32)]
    params.ui = params.endpoint_slots = params.endpoint_metrics = params.endpoint_props = False
    return xllamacpp.Server(params)


def _private_stdout() -> int:
    kept = os.dup(1)
    os.dup2(2, 1)
    return kept


def _serve(server: Any, orders: BinaryIO, writer: _Writer) -> None:
    runs: dict[int, _Run] = {}
    for line in orders:
        order = decode_order(line)
        if isinstance(order, Stop):
            if (run := runs.get(order.run)) is not None:
                run.stop.set()
            continue
        run = runs[order.run] = _Run(server, order, writer)
        threading.Thread(target=_to_the_end, args=(runs, order.run), daemon=True).start()


def _to_the_end(runs: dict[int, _Run], run: int) -> None:
    runs[run]()
    del runs[run]


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the worker, which ends us when it is ready
    writer = _Writer(_private_stdout())
    orders = sys.stdin.buffer
    settings = msgspec.json.decode(orders.readline(), type=Settings)
    try:
        server = _load(settings, verbosity=0)
    except RuntimeError:
        _explain(settings)
    writer.write(Ready())
    _serve(server, orders, writer)
    os._exit(0)


def _explain(settings: Settings) -> NoReturn:
    """Loads once more, for llama.cpp to say on stderr why it cannot; then ends the process."""
    try:
        _load(settings, verbosity=1)
    finally:
        os._exit(1)


if __name__ == "__main__":
    main()
