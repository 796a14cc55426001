"""A worker of Dispatch's, written from its wire reference alone: nothing in here comes from Cavvy.

`DispatchWorker` speaks the frames by hand, one at a time, for tests that want them wrong. `serve` does what the
original's workers do: register, send heartbeats, do each task, sign what came of it, and end when the socket closes.

    python -m tests.dispatch.worker --coordinator URL [--type SEEKER] [--capabilities TASK] [--key FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import hashlib
import json
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from nacl.signing import SigningKey
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

HEARTBEAT_S = 10.0
ACK_S = 60.0

Json = dict[str, Any]
#: What a worker makes of one job: `job_type` and `payload` in, the output out.
Brain = Callable[[str, Json], Any]


def js_number(number: float) -> str:
    """A number as JavaScript prints it."""
    if math.isnan(number) or math.isinf(number):
        return "null"
    if number == 0:
        return "0"
    sign, digits, exponent = Decimal(repr(number)).normalize().as_tuple()
    assert isinstance(exponent, int)
    text, point = "".join(map(str, digits)), len(digits) + exponent
    if len(text) <= point <= 21:
        shown = text + "0" * (point - len(text))
    elif 0 < point <= 21:
        shown = f"{text[:point]}.{text[point:]}"
    elif -6 < point <= 0:
        shown = "0." + "0" * -point + text
    else:
        shown = text[0] + (f".{text[1:]}" if text[1:] else "") + f"e{point - 1:+d}"
    return "-" * sign + shown


def js(value: Any) -> str:
    """JSON.stringify."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, int | float):
        return js_number(float(value))
    if isinstance(value, str):
        text = json.dumps(value, ensure_ascii=False)
        return re.sub("[\ud800-\udfff]", lambda half: f"\\u{ord(half[0]):04x}", text)
    if isinstance(value, list):
        return "[" + ",".join(js(one) for one in value) + "]"
    indices = sorted((key for key in value if re.fullmatch("0|[1-9][0-9]*", key) and int(key) < 2**32 - 1), key=int)
    keys = [*indices, *(key for key in value if key not in indices)]
    return "{" + ",".join(f"{js(key)}:{js(value[key])}" for key in keys) + "}"


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def work(job_type: str, payload: Json) -> Json:
    """What the original's workers make of a job."""
    if job_type == "LLM_INFER":
        return {"text": f"echo: {payload.get('prompt')}", "model": "llama3.2"}
    asked, given = payload.get("task_type"), payload.get("input")
    if not asked or not given:
        return {"error": "Unsupported job payload"}
    tasks: dict[str, Callable[[str], Json]] = {"summarize": _summarize, "classify": _classify, "extract_json": _extract}
    return tasks[asked](given) if asked in tasks else {"error": f"Unknown task_type: {asked}"}


def _summarize(text: str) -> Json:
    """The first 200 UTF-16 units, which may cut a character in two."""
    cut = text.encode("utf-16-le")[:400].decode("utf-16-le", "surrogatepass")
    return {"summary": cut if cut == text else cut + "...", "word_count": len(text.split())}


def _classify(text: str) -> Json:
    words = text.lower()
    score = sum(word in words for word in ("good", "great")) - sum(word in words for word in ("bad", "terrible"))
    sentiment = "positive" if score > 0 else "negative" if score < 0 else "neutral"
    return {"sentiment": sentiment, "confidence": min(1, abs(score) * 0.2 + 0.3)}


def _extract(text: str) -> Json:
    found = []
    for block in re.findall(r"\{(?:[^{}]|\{[^{}]*\})*\}", text):
        with contextlib.suppress(ValueError):
            found.append(json.loads(block))
    return {"extracted": found, "count": len(found)}


class DispatchWorker:
    """One key and one socket."""

    def __init__(
        self,
        url: str,
        seed: bytes,
        *,
        kind: str = "DESKTOP",
        capabilities: tuple[str, ...] = ("LLM_INFER", "TASK"),
        brain: Brain = work,
    ) -> None:
        self.url = re.sub("^http", "ws", url)
        self.signing = SigningKey(seed)
        self.key = self.signing.verify_key.encode().hex()
        self.kind = kind
        self.capabilities = capabilities
        self.brain = brain
        self.done: list[str] = []
        self._socket: ClientConnection | None = None

    # -- frames by hand

    async def open(self, **how: Any) -> None:
        self._socket = await connect(self.url, compression=None, proxy=None, max_size=None, close_timeout=1, **how)

    async def send(self, frame: Json | str | bytes) -> None:
        """A frame; or exactly these characters or bytes."""
        assert self._socket is not None
        await self._socket.send(js(frame) if isinstance(frame, dict) else frame)

    async def receive(self) -> Json:
        """The next frame."""
        assert self._socket is not None
        async with asyncio.timeout(ACK_S):
            frame: Json = json.loads(await self._socket.recv())
        return frame

    async def expect(self, kind: str) -> Json:
        """The next frame, which must be of this type."""
        frame = await self.receive()
        assert frame["type"] == kind, frame
        return frame

    async def closed(self) -> tuple[int | None, str]:
        """The code and the words it is closed with; frames before that are passed over."""
        assert self._socket is not None
        async with asyncio.timeout(ACK_S):
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await self._socket.recv()
        return self._socket.close_code, self._socket.close_reason or ""

    async def close(self) -> None:
        if self._socket is not None:
            await self._socket.close()

    async def vanish(self) -> None:
        """The connection is cut without a word."""
        assert self._socket is not None
        self._socket.transport.abort()
        await self._socket.wait_closed()

    # -- what a worker says

    def registration(self, **other: Any) -> Json:
        return {
            "type": "register",
            "provider_pubkey": self.key,
            "provider_type": self.kind,
            "capabilities": list(self.capabilities),
        } | other

    async def register(self) -> Json:
        """The acknowledgement."""
        await self.send(self.registration())
        return await self.expect("register_ack")

    async def heartbeat(self) -> Json:
        await self.send(self.heartbeat_frame())
        return await self.expect("heartbeat_ack")

    def heartbeat_frame(self) -> Json:
        metrics = {"cpu_pct": 12.5, "mem_pct": 40, "active_jobs": 0}
        return {"type": "heartbeat", "provider_pubkey": self.key, "metrics": metrics}

    def receipt(self, job_id: str, output: Any, /, **other: Any) -> Json:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return {
            "job_id": job_id,
            "provider_pubkey": self.key,
            "output_hash": sha256(js(output)),
            "completed_at": now,
            "payment_ref": None,
        } | other

    def sign(self, receipt: Json) -> str:
        return base64.b64encode(self.signing.sign(js(receipt).encode()).signature).decode()

    def completion(self, job_id: str, output: Any, /, **wrong: Any) -> Json:
        """The output with its receipt; `wrong` replaces fields of the receipt before it is signed."""
        receipt = self.receipt(job_id, output, **wrong)
        return {
            "type": "job_complete",
            "job_id": job_id,
            "output": output,
            "output_hash": sha256(js(output)),
            "receipt": receipt,
            "receipt_signature": self.sign(receipt),
        }

    def done_with(self, job: Json) -> Json:
        """The honest completion of this job."""
        return self.completion(job["job_id"], self.brain(job["job_type"], job["payload"]))

    async def come_in(self) -> None:
        """Registers and does the first task it is given, by which a coordinator may know that the key is its own."""
        await self.open()
        await self.register()
        await self.send(self.done_with(await self.expect("job_assign")))

    # -- as the original's workers do it all by themselves

    async def serve(self, connected: asyncio.Event | None = None) -> None:
        """Until the socket closes, or `close` is called."""
        await self.open()
        ack = await self.register()
        assert ack["status"] == "ok", ack
        beats = asyncio.create_task(self._beat())
        if connected is not None:
            connected.set()
        try:
            await self._take_frames()
        finally:
            beats.cancel()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            await self.send(self.heartbeat_frame())

    async def _take_frames(self) -> None:
        assert self._socket is not None
        with contextlib.suppress(ConnectionClosed):
            while True:
                frame = json.loads(await self._socket.recv())
                if frame.get("type") == "job_assign":
                    await self.send(self.done_with(frame))
                    self.done.append(frame["job_id"])


def _seed(path: Path) -> bytes:
    """From the original's key file, which is made if it is not there."""
    if not path.exists():
        key = SigningKey.generate()
        public = key.verify_key.encode()
        path.write_text(json.dumps({"publicKey": [*public], "secretKey": [*key.encode(), *public]}))
    return bytes(json.loads(path.read_text())["secretKey"][:32])


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--coordinator", default="http://localhost:4010")
    options.add_argument("--type", default="DESKTOP", choices=("DESKTOP", "SEEKER"))
    options.add_argument("--capabilities", default="LLM_INFER,TASK")
    options.add_argument("--key", type=Path, default=Path("worker-key.json"))
    given = options.parse_args()
    capabilities = tuple(given.capabilities.split(","))
    worker = DispatchWorker(given.coordinator, _seed(given.key), kind=given.type, capabilities=capabilities)
    asyncio.run(worker.serve())


if __name__ == "__main__":
    main()
