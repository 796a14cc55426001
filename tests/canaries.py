"""Words that must never be found where they do not belong, and a client that puts them wherever one can.

`PROMPT` and `OUTPUT` go through jobs, `KEY` and `TOKEN` look like ours but open nothing, `PROVIDER_KEY` is a vendor's.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import warnings
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from cavvy.core.writes import Usage
from cavvy.errors import ProviderError
from cavvy.providers.base import Chunk, FinalChunk, InferenceRequest, TextChunk

__all__ = ["BREAKS", "CANARIES", "KEY", "OUTPUT", "PROMPT", "PROVIDER_KEY", "TOKEN", "Canary", "try_everything"]

PROMPT = "canary-prompt-7f3a91c4"
OUTPUT = "canary-output-b26e08d5"
KEY = "cav_adm_canarykey001_" + "Canary" * 8 + "x"
TOKEN = "cav_wrk_" + "Token" * 8 + "abc_" + "9c" * 16
PROVIDER_KEY = "sk-canary-" + "4d9e0b77" * 4
CANARIES = (PROMPT, OUTPUT, KEY, TOKEN, PROVIDER_KEY)
#: What a prompt says to make its attempt fail.
FAILS = ("raise", "refuse", "break off", "log")
#: The model whose jobs the coordinator of canary_process.py cannot decide about.
BREAKS = "breaks-the-engine"
_THREAD = "a thread"


class Canary:
    """A provider that fails with the prompt on its lips, if the prompt asks for it, and answers OUTPUT otherwise."""

    name, models, job_types, slots = "canary", ("canary",), ("LLM_INFER",), 16

    def __init__(self) -> None:
        self.gate = asyncio.Event()

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def stream(self, request: InferenceRequest) -> AsyncGenerator[Chunk, None]:
        said = request.messages[-1].content
        words = f"{said} {PROVIDER_KEY}"
        yield TextChunk(OUTPUT, 1)
        if "raise" in said:
            raise ValueError(words)
        if "refuse" in said:
            raise ProviderError(words)
        if "break off" in said:
            return
        if "log" in said:
            self._log(words)
        if "wait" in said:
            await self.gate.wait()
        yield FinalChunk(finish_reason="stop", usage=Usage(input_tokens=1, output_tokens=1), model="canary")

    def _log(self, words: str) -> None:
        """As libraries do."""
        log = logging.getLogger("any_llm")
        log.warning("retrying %s", words)
        warnings.warn(words, stacklevel=1)
        asyncio.get_running_loop().call_soon(_fail, words)
        try:
            _fail(words)
        except ValueError:
            log.exception("could not send %s", words)


def _fail(words: str) -> None:
    raise ValueError(words)


def try_everything(url: str, key: str, operations: list[tuple[str, str]]) -> list[str]:
    """Every operation with a canary in each place there is, rightly and wrongly; the bodies of the 5xx answers."""
    faults = []
    with httpx.Client(base_url=url, trust_env=False, timeout=90) as http, _listening(http, key):
        names = _names(http, key)
        for method, path in operations:
            if path.endswith("/events") or (method, path) == ("DELETE", "/v1/keys/{key_id}"):
                continue
            for place in (path.format(**names), path.format(**dict.fromkeys(names, PROMPT))):
                faults += [answer.text for answer in _tries(http, key, method, place) if answer.status_code >= 500]
    _leave_in_the_middle(url, key)
    _speak_badly_on_the_socket(url)
    return faults


@contextlib.contextmanager
def _listening(http: httpx.Client, key: str) -> Iterator[None]:
    """Reads the tenant's events all the while: they tell of the jobs, and hold no canary."""
    headers = {"Authorization": f"Bearer {key}"}
    own = http.post("/v1/keys", json={"role": "read", "name": "listener"}, headers=headers).json()
    with (
        ThreadPoolExecutor(1) as thread,
        http.stream("GET", "/v1/events", headers={"Authorization": f"Bearer {own['key']}"}) as stream,
    ):
        text = thread.submit(lambda: stream.read().decode())
        try:
            yield
        finally:
            http.delete(f"/v1/keys/{own['id']}", headers=headers)
            heard = text.result(timeout=90)
    assert "event: job" in heard
    assert [word for word in (*CANARIES, key, own["key"]) if word in heard] == []


def _names(http: httpx.Client, key: str) -> dict[str, str]:
    """Jobs of every kind have ended, and one is named with whatever else a path may hold."""
    headers = {"Authorization": f"Bearer {key}", "Prefer": "wait=60"}
    ids = _run_private(http, headers)
    for say in ("", *FAILS):
        tries = 2 if say == "raise" else 1  # one is tried again, the others would only make it longer
        note = {"metadata": {"note": PROMPT}, "thread_id": _THREAD, "max_attempts": tries}
        body = {"prompt": f"{PROMPT} {say}", **note}
        ids.append(http.post("/v1/jobs", json=body, headers=headers).json()["id"])
    for job_id in ids:
        with http.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as stream:
            stream.read()
    worker = http.get("/v1/workers", headers=headers).json()["workers"][0]["id"]
    made = http.post("/v1/keys", json={"role": "read", "name": "spare"}, headers=headers).json()["id"]
    trust = http.post("/v1/trust/create", json={}, headers=headers).json()["id"]
    return {"job_id": ids[0], "worker_id": worker, "key_id": made, "thread_id": _THREAD, "trust_id": trust}


def _run_private(http: httpx.Client, headers: dict[str, str]) -> list[str]:
    """PRIVATE jobs that are refused, complete, fail, or lose the trust of their worker; those that ended."""
    body = {"prompt": PROMPT, "privacy_class": "PRIVATE", "payment_ref": PROMPT, "metadata": {"note": PROMPT}}
    assert http.post("/v1/jobs", json=body, headers=headers).status_code == 422
    worker = http.get("/v1/workers", headers=headers).json()["workers"][0]["id"]
    trust = http.post("/v1/trust/pair", json={"worker": worker}, headers=headers).json()["id"]
    ids = []
    for say in ("", *FAILS):
        answer = http.post("/v1/jobs", json=body | {"prompt": f"{PROMPT} {say}", "max_attempts": 1}, headers=headers)
        ids.append(answer.json()["id"])
    running = http.post("/v1/jobs", json=body | {"prompt": f"{PROMPT} wait"}, headers=headers | {"Prefer": "wait=1"})
    assert http.delete(f"/v1/trust/{trust}", headers=headers).status_code == 200
    assert http.post(f"/v1/jobs/{running.json()['id']}/cancel", headers=headers).status_code == 200
    return ids


def _tries(http: httpx.Client, key: str, method: str, path: str) -> list[httpx.Response]:
    right = {"Authorization": f"Bearer {key}"}
    wrong = {"Authorization": f"Bearer {KEY}"}
    body = json.dumps({"prompt": PROMPT, PROMPT: PROMPT}).encode()
    kind = {"Content-Type": "application/json"}
    wanted: list[dict[str, Any]] = [
        {"headers": wrong, "params": {"key": KEY}},
        {"headers": right, "params": {PROMPT: PROMPT}},
        {"headers": right | {"Idempotency-Key": PROMPT * 20, "Last-Event-ID": PROMPT, "Prefer": f"wait={PROMPT}"}},
        {"headers": right | {"Origin": f"https://{PROMPT}"}},
        {"headers": right | {"Host": PROMPT}},
        {"headers": right | kind, "content": body},
        {"headers": right | kind, "content": body[:-1]},
        {"headers": right | kind, "content": b'{"prompt": "\\ud800 ' + PROMPT.encode() + b'"}'},
        {"headers": right | kind, "content": body + b" " * (1 << 20)},
        {"headers": right | {"Content-Type": PROMPT}, "content": body},
    ]
    if method == "POST" and path == "/v1/jobs":
        wanted += [{"headers": right, "json": {"prompt": PROMPT, "model": BREAKS}}] * 2
    return [http.request(method, path, **one) for one in wanted]


def _leave_in_the_middle(url: str, key: str) -> None:
    place = httpx.URL(url)
    head = f"POST /v1/jobs?{PROMPT} HTTP/1.1\r\nHost: {place.netloc.decode()}\r\nAuthorization: Bearer {key}\r\n"
    rest = f'Content-Type: application/json\r\nContent-Length: 999\r\n\r\n{{"prompt": "{PROMPT}'
    for sent in (head, head + rest, f"{PROMPT}\r\n\r\n", f"GET /{PROMPT}\xff HTTP/1.1\r\n\r\n"):
        with socket.create_connection((place.host, place.port or 80)) as one:
            one.sendall(sent.encode("latin-1"))


def _speak_badly_on_the_socket(url: str) -> None:
    register = {"type": "register", "token": TOKEN, "provider_pubkey": PROMPT, "instance": PROMPT}
    for frame in (PROMPT, json.dumps({"type": PROMPT, "token": TOKEN}), json.dumps(register), PROMPT.encode()):
        with (
            contextlib.suppress(WebSocketException),
            connect(url.replace("http", "ws") + "/v1/workers/connect", proxy=None) as one,
        ):
            one.recv()
            one.send(frame)
            one.recv()
