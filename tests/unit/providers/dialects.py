"""What each dialect of provider says on the wire: enough for its official client to be content."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from tests.unit.providers.http_server import Exchange

__all__ = ["DIALECTS", "Dialect", "by_name"]


class Dialect(NamedTuple):
    """`begin` sends the head and whatever comes before text, `say` a piece of text, `finish` a proper end."""

    name: str
    provider: str
    wire: Wire


class Wire(Protocol):
    async def models(self, exchange: Exchange, names: Sequence[str]) -> None: ...
    async def begin(self, exchange: Exchange) -> None: ...
    async def say(self, exchange: Exchange, text: str) -> None: ...
    async def think(self, exchange: Exchange, text: str) -> None: ...
    async def finish(self, exchange: Exchange, *, read: int, written: int) -> None: ...


class OpenAi:
    async def models(self, exchange: Exchange, names: Sequence[str]) -> None:
        models = [{"id": name, "object": "model", "created": 1, "owned_by": "me"} for name in names]
        await exchange.answer(200, {"object": "list", "data": models})

    async def begin(self, exchange: Exchange) -> None:
        await exchange.begin(200, "text/event-stream")
        await self._choice(exchange, {"role": "assistant", "content": ""})

    async def say(self, exchange: Exchange, text: str) -> None:
        await self._choice(exchange, {"content": text})

    async def think(self, exchange: Exchange, text: str) -> None:
        await self._choice(exchange, {"reasoning_content": text})

    async def finish(self, exchange: Exchange, *, read: int, written: int) -> None:
        await self._choice(exchange, {}, "stop")
        usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
        await exchange.event(self._chunk(exchange, [], usage))
        await exchange.event("[DONE]")
        await exchange.end()

    async def _choice(self, exchange: Exchange, delta: dict[str, Any], reason: str | None = None) -> None:
        await exchange.event(self._chunk(exchange, [{"index": 0, "delta": delta, "finish_reason": reason}], None))

    def _chunk(self, exchange: Exchange, choices: list[Any], usage: Any) -> dict[str, Any]:
        return {
            "id": "c1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": exchange.request.json["model"],
            "choices": choices,
            "usage": usage,
        }


class Ollama:
    """https://docs.ollama.com/api"""

    async def models(self, exchange: Exchange, names: Sequence[str]) -> None:
        stamp = "2026-01-01T00:00:00Z"
        models = [{"name": name, "model": name, "modified_at": stamp, "size": 1, "digest": "d"} for name in names]
        await exchange.answer(200, {"models": models})

    async def begin(self, exchange: Exchange) -> None:
        await exchange.begin(200, "application/x-ndjson")

    async def say(self, exchange: Exchange, text: str) -> None:
        await exchange.line(self._part(exchange, {"role": "assistant", "content": text}))

    async def think(self, exchange: Exchange, text: str) -> None:
        await exchange.line(self._part(exchange, {"role": "assistant", "content": "", "thinking": text}))

    async def finish(self, exchange: Exchange, *, read: int, written: int) -> None:
        part = self._part(exchange, {"role": "assistant", "content": ""})
        counts = {"prompt_eval_count": read, "eval_count": written, "total_duration": 5, "eval_duration": 4}
        await exchange.line({**part, "done": True, "done_reason": "stop", **counts})
        await exchange.end()

    def _part(self, exchange: Exchange, message: dict[str, Any]) -> dict[str, Any]:
        model = exchange.request.json["model"]
        return {"model": model, "created_at": "2026-01-01T00:00:00.5Z", "message": message, "done": False}


class Anthropic:
    """https://platform.claude.com/docs/en/build-with-claude/streaming"""

    async def models(self, exchange: Exchange, names: Sequence[str]) -> None:
        models = [{"id": name, "type": "model", "display_name": name, "created_at": None} for name in names]
        await exchange.answer(200, {"data": models, "has_more": False, "first_id": None, "last_id": None})

    async def begin(self, exchange: Exchange) -> None:
        await exchange.begin(200, "text/event-stream")
        message = {
            "id": "m1",
            "type": "message",
            "role": "assistant",
            "model": exchange.request.json["model"],
            "content": [],
            "stop_reason": None,
            "usage": {"input_tokens": 3, "output_tokens": 1},
        }
        await exchange.event({"type": "message_start", "message": message}, "message_start")
        block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        await exchange.event(block, "content_block_start")

    async def say(self, exchange: Exchange, text: str) -> None:
        delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
        await exchange.event(delta, "content_block_delta")

    async def think(self, exchange: Exchange, text: str) -> None:
        delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": text}}
        await exchange.event(delta, "content_block_delta")

    async def finish(self, exchange: Exchange, *, read: int, written: int) -> None:
        await exchange.event({"type": "content_block_stop", "index": 0}, "content_block_stop")
        usage = {"input_tokens": read, "output_tokens": written}
        delta = {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": usage}
        await exchange.event(delta, "message_delta")
        await exchange.event({"type": "message_stop"}, "message_stop")
        await exchange.end()


DIALECTS = (
    Dialect("an OpenAI-compatible server", "box", OpenAi()),
    Dialect("OpenAI", "openai", OpenAi()),
    Dialect("Ollama", "ollama", Ollama()),
    Dialect("Anthropic", "anthropic", Anthropic()),
)


def by_name(provider: str) -> Dialect:
    return next(dialect for dialect in DIALECTS if dialect.provider == provider)
