"""One of Dispatch's workers, as its reference describes them, with a task that costs nothing.

`python -m benchmarks.legacy_worker URL` works until it is ended. Whatever it is given it answers at once, signed.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import sys
from datetime import UTC, datetime
from typing import Any

import uvloop
from nacl.signing import SigningKey
from websockets.asyncio.client import ClientConnection, connect

OUTPUT = {"sentiment": "positive", "confidence": 0.5}
OUTPUT_HASH = hashlib.sha256(json.dumps(OUTPUT, separators=(",", ":")).encode()).hexdigest()
HEARTBEAT_S = 10


async def work(url: str) -> None:
    key = SigningKey.generate()
    name = key.verify_key.encode().hex()
    async with connect(url.replace("http", "ws", 1), compression=None) as socket:
        await _send(socket, "register", provider_pubkey=name, provider_type="DESKTOP", capabilities=["TASK"])
        beating = asyncio.create_task(_beat(socket, name))
        async for text in socket:
            frame = json.loads(text)
            if frame["type"] == "job_assign":
                await _send(socket, "job_complete", **_completion(frame["job_id"], name, key))
        beating.cancel()


async def _beat(socket: ClientConnection, name: str) -> None:
    while True:
        await asyncio.sleep(HEARTBEAT_S)
        await _send(socket, "heartbeat", provider_pubkey=name)


async def _send(socket: ClientConnection, kind: str, **fields: Any) -> None:
    await socket.send(json.dumps({"type": kind, **fields}))


def _completion(job_id: str, name: str, key: SigningKey) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    receipt = {
        "job_id": job_id,
        "provider_pubkey": name,
        "output_hash": OUTPUT_HASH,
        "completed_at": now,
        "payment_ref": None,
    }
    signature = key.sign(json.dumps(receipt, separators=(",", ":")).encode()).signature
    return {
        "job_id": job_id,
        "output": OUTPUT,
        "output_hash": OUTPUT_HASH,
        "receipt": receipt,
        "receipt_signature": base64.b64encode(signature).decode(),
    }


if __name__ == "__main__":
    uvloop.run(work(sys.argv[1]))
