"""Ollama's dialect over a real llama.cpp server: NDJSON, `options`, and the habit of cutting what does not fit.

Ollama itself cannot be installed from a package registry; its official client accepts this (test_real_servers.py).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from tests.unit.providers.dialects import Ollama
from tests.unit.providers.http_server import Exchange, HttpServer, serving

__all__ = ["CONTEXT", "MODEL", "speaking_ollama"]

MODEL = "smollm2:135m"
CONTEXT = 512  # the model could take more, but a long prompt costs seconds


@asynccontextmanager
async def speaking_ollama(llama_url: str, key: str) -> AsyncIterator[HttpServer]:
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        httpx.AsyncClient(base_url=llama_url, headers=headers, timeout=60, trust_env=False) as llama,
        serving(_Ollama(llama).handle) as server,
    ):
        yield server


class _Ollama:
    def __init__(self, llama: httpx.AsyncClient) -> None:
        self._llama = llama
        self._wire = Ollama()

    async def handle(self, exchange: Exchange) -> None:
        match exchange.request.path:
            case "/api/version":
                await exchange.answer(200, {"version": "0.33.0"})
            case "/api/tags":
                await self._wire.models(exchange, [MODEL])
            case "/api/show":
                await exchange.answer(200, {"model_info": {"llama.context_length": CONTEXT}, "details": {}})
            case "/api/chat" if exchange.request.json["model"] == MODEL:
                await self._chat(exchange)
            case "/api/chat":
                await exchange.answer(404, {"error": f"model '{exchange.request.json['model']}' not found"})
            case _:
                await exchange.answer(404, {"error": "not found"})

    async def _chat(self, exchange: Exchange) -> None:
        asked = exchange.request.json
        options = asked.get("options") or {}
        window = min(int(options.get("num_ctx", 4096)), CONTEXT)
        body = {
            "messages": await self._fitting(asked["messages"], window),
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": options.get("num_predict", -1),
            "temperature": options.get("temperature", 0.8),
            "stop": options.get("stop", []),
        }
        text, counts = "", {"prompt_tokens": 0, "completion_tokens": 0}
        if asked.get("stream", True):
            await self._wire.begin(exchange)
        async for piece in self._pieces(body):
            counts = piece.get("usage") or counts
            said = piece["choices"][0]["delta"].get("content") if piece["choices"] else None
            if said and asked.get("stream", True):
                await self._wire.say(exchange, said)
            text += said or ""
        read, written = counts["prompt_tokens"], counts["completion_tokens"]
        if asked.get("stream", True):
            await self._wire.finish(exchange, read=read, written=written)
        else:
            message = {"role": "assistant", "content": text}
            whole = {"model": MODEL, "created_at": "2026-01-01T00:00:00Z", "message": message, "done": True}
            await exchange.answer(200, {**whole, "prompt_eval_count": read, "eval_count": written})

    async def _fitting(self, messages: list[dict[str, Any]], window: int) -> list[dict[str, Any]]:
        """The last message; of one that is longer than the window, the end that fills half of it."""
        answer = await self._llama.post("/tokenize", json={"content": messages[-1]["content"]})
        tokens = answer.json()["tokens"]
        if len(tokens) <= window:
            return messages
        kept = await self._llama.post("/detokenize", json={"tokens": tokens[-(window // 2 - 30) :]})
        return [{"role": "user", "content": kept.json()["content"]}]

    async def _pieces(self, body: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        async with self._llama.stream("POST", "/v1/chat/completions", json=body) as answer:
            answer.raise_for_status()
            async for line in answer.aiter_lines():
                if line.startswith("data: ") and line != "data: [DONE]":
                    yield json.loads(line[6:])
