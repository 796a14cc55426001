"""How large a context Ollama is asked for, and whether it cut the prompt all the same.

Ollama answers 200 to a prompt that does not fit, drops what is too much, and counts what was left: `num_ctx` tokens,
half of that, or the newest messages (https://github.com/ollama/ollama/issues/17427). Its tokenizer is not at hand, so
the prompt is measured by its letters, with bounds that hold for ordinary text.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Iterable
from typing import Any

from cavvy import defaults
from cavvy.errors import ContextTruncated, InputTooLarge
from cavvy.providers.base import InferenceRequest, Message

__all__ = ["OllamaContext", "at_least", "at_most", "cut", "window"]

_TOKENS_A_MESSAGE = 8  # a chat template's words around each
_TOKENS_A_CHAT = 64  # and the template's own system text
_BYTES_A_TOKEN = 3  # fewer bytes a token are rare in any script
_LETTERS_A_TOKEN = 7  # more letters a token are rare once repetitions are taken out
_HALF_SLACK = 8  # tokens Ollama keeps beside half of the window

_REPEATED = re.compile(r"(.)\1+", re.DOTALL)


def at_most(messages: Iterable[Message]) -> int:
    """An upper bound of the prompt's tokens."""
    sizes = [len(message.content.encode("utf-8", "replace")) for message in messages]
    return sum(sizes) // _BYTES_A_TOKEN + _TOKENS_A_MESSAGE * len(sizes) + _TOKENS_A_CHAT


def at_least(messages: Iterable[Message]) -> int:
    """A lower bound of the prompt's tokens."""
    return sum(len(_REPEATED.sub(r"\1", message.content)) for message in messages) // _LETTERS_A_TOKEN


def window(prompt_tokens: int, answer_tokens: int | None, limit: int | None) -> int:
    """The context to ask for: what is needed, in powers of two, because each other size loads the model anew."""
    need = prompt_tokens + (defaults.OLLAMA_ANSWER_TOKENS if answer_tokens is None else answer_tokens)
    size = defaults.OLLAMA_MIN_CONTEXT
    while size < need:
        size *= 2
    return size if limit is None else min(size, limit)


def cut(messages: tuple[Message, ...], counted: int, asked: int) -> bool:
    """Whether a prompt of which `counted` tokens were read, in a window of `asked`, was cut; 0 counted says nothing."""
    if not counted:
        return False
    halved = abs(counted - asked // 2) <= _HALF_SLACK and at_most(messages) > asked
    return counted >= asked - 1 or halved or counted < at_least(messages)


class OllamaContext:
    """The windows of one server's models. `client` is Ollama's own; `limit` bounds every window."""

    def __init__(self, client: Any, limit: int | None) -> None:
        self._client = client
        self._limit = limit
        self._limits: dict[str, int | None] = {}
        self._windows: dict[str, int] = {}

    async def learn(self, models: Collection[str]) -> None:
        """Asks for the largest context of each model."""
        found = await asyncio.gather(*(self._trained(model) for model in models))
        self._limits = {
            model: min((size for size in (known, self._limit) if size), default=None)
            for model, known in zip(models, found, strict=True)
        }

    def window(self, request: InferenceRequest, model: str) -> int:
        """The context for this call; never less than an earlier one had, because each size loads the model anew."""
        limit = self._limits.get(model, self._limit)
        if limit is not None and at_least(request.messages) > limit:
            raise InputTooLarge(f"the prompt does not fit the {limit} tokens of model {request.model!r}; shorten it")
        need = window(at_most(request.messages), request.max_tokens, limit)
        self._windows[model] = max(need, self._windows.get(model, 0))
        return self._windows[model]

    def check(self, request: InferenceRequest, counted: int, asked: int) -> None:
        """Raises ContextTruncated when the answer is one to a part of the prompt."""
        if cut(request.messages, counted, asked):
            raise ContextTruncated(
                f"Ollama read only {counted} tokens of the prompt and answered to those; shorten it, or take a model"
                " with a larger context"
            )

    async def _trained(self, model: str) -> int | None:
        try:
            shown = await self._client.show(model)
        except Exception:  # noqa: BLE001 - it is only a better bound; the call itself will say what is wrong
            return None
        sizes = [size for name, size in (shown.modelinfo or {}).items() if name.endswith(".context_length")]
        return sizes[0] if sizes and isinstance(sizes[0], int) and sizes[0] > 0 else None
