"""The seam between a worker and what it runs jobs on."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextvars import ContextVar
from typing import Protocol

import msgspec

from cavvy.core.writes import Usage

__all__ = [
    "Chunk",
    "FinalChunk",
    "InferenceRequest",
    "Message",
    "ProgressChunk",
    "Provider",
    "ReasoningChunk",
    "StartChunk",
    "TaskAnswer",
    "TaskProvider",
    "TaskRequest",
    "TextChunk",
    "hear_life",
    "life_heard",
]


class Message(msgspec.Struct, frozen=True):
    """One chat message; `role` is system, user or assistant."""

    role: str
    content: str


class InferenceRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One call. `model` is one of the provider's models; None elsewhere means the provider's own default."""

    messages: tuple[Message, ...]
    model: str
    max_tokens: int | None = None
    temperature: float | None = None
    stop: tuple[str, ...] = ()


class StartChunk(msgspec.Struct, frozen=True, gc=False):
    """The call has had its turn and begins now. Nothing was heard of the model yet."""


class TextChunk(msgspec.Struct, frozen=True, gc=False):
    """The next piece of the answer; `tokens` is what it cost, 0 when the provider does not say."""

    text: str
    tokens: int = 0


class ReasoningChunk(msgspec.Struct, frozen=True, gc=False):
    """The next piece of what the model thinks before it answers; never part of the answer. `tokens` as in TextChunk."""

    text: str
    tokens: int = 0


class ProgressChunk(msgspec.Struct, frozen=True, gc=False):
    """A sign of life before or between texts; `input_tokens` once the provider has counted them."""

    input_tokens: int = 0


class FinalChunk(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a whole answer, always the last chunk. `model` is what really served it."""

    finish_reason: str
    usage: Usage
    model: str


_hears_life: ContextVar[Callable[[], None]] = ContextVar("cavvy_hears_life", default=lambda: None)


def hear_life(heard: Callable[[], None]) -> None:
    """From now on `heard` is called for each sign of life of the streams that this task reads."""
    _hears_life.set(heard)


def life_heard() -> Callable[[], None]:
    """What to call at each sign of life of the stream that is being read."""
    return _hears_life.get()


Chunk = StartChunk | TextChunk | ReasoningChunk | ProgressChunk | FinalChunk


class Provider(Protocol):
    """What runs jobs. One provider serves several streams at once."""

    @property
    def name(self) -> str:
        """How it is called in logs and messages."""

    @property
    def models(self) -> tuple[str, ...]:
        """What a job may ask for; the first is the default. Known when `open()` has returned."""

    @property
    def job_types(self) -> tuple[str, ...]: ...

    @property
    def slots(self) -> int:
        """How many streams it serves side by side; more wait for their turn."""

    async def open(self) -> None:
        """Makes it ready to serve. Raises StartError (ModelMissing, say) that tells what to do."""

    async def close(self) -> None:
        """Ends everything it started; streams under way raise ProviderError. May be called twice."""

    def stream(self, request: InferenceRequest) -> AsyncGenerator[Chunk, None]:
        """The answer as it comes, after a StartChunk. A stream that ends without a FinalChunk broke.

        Signs of life that no chunk can be made of (bytes of a connection, say) go to `life_heard`.

        Leaving it early, by `aclose()` or by cancelling the task that waits in it, stops the generation and returns
        only when the provider is idle for it. Raises ProviderError (InputTooLarge, say) for what fails this call alone.
        """


class TaskRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One TASK job."""

    task_type: str
    input: str


class TaskAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """`result` are the RFC 8785 bytes of an object that says its `method`; `model` is what made it."""

    result: bytes
    model: str
    usage: Usage


class TaskProvider(Protocol):
    """What runs TASK jobs, with a model or without one."""

    async def run_task(self, request: TaskRequest) -> TaskAnswer:
        """The task's answer. Signs of life go to `life_heard`.

        Cancelling it ends the work, and returns only when that has ended. Raises ProviderError (UnknownTask, say) for
        what fails this task alone: an answer that says so is none.
        """
