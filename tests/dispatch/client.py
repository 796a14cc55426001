"""A client as Dispatch's SDK and command line are, written from the description of their wire alone.

It knows nothing of this project: what it cannot do with the original's routes, it does not do.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, NamedTuple

POLL_S = 0.5
TIMEOUT_S = {"LLM_INFER": 60.0, "TASK": 30.0}


class Answer(NamedTuple):
    """One answer of the coordinator; `body` is the JSON in it."""

    status: int
    body: Any


class Ran(NamedTuple):
    """What the SDK returns."""

    output: Any
    route: str
    price: str
    latency_ms: float
    receipt: Any


class RunFailed(Exception):
    """The SDK's error: it was not run here."""


class Client:
    """Every route of the coordinator, without a key."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    # -- the routes

    def health(self) -> Answer:
        return self.get("/v1/health")

    def quote(self, job_type: str, policy: str | None = None) -> Answer:
        query = {"job_type": job_type, **({"policy": policy} if policy is not None else {})}
        return self.get("/v1/quote?" + urllib.parse.urlencode(query))

    def commit(self, tier: str, body: Any) -> Answer:
        return self.post(f"/v1/jobs/commit/{tier}", body)

    def job(self, job_id: str) -> Answer:
        return self.get(f"/v1/jobs/{job_id}")

    def trust_create(self, user_id: str | None) -> Answer:
        return self.post("/v1/trust/create", {} if user_id is None else {"user_id": user_id})

    def trust_claim(self, pairing_code: str, provider_pubkey: str) -> Answer:
        return self.post("/v1/trust/claim", {"pairing_code": pairing_code, "provider_pubkey": provider_pubkey})

    def trust_list(self, user_id: str | None) -> Answer:
        query = "" if user_id is None else "?" + urllib.parse.urlencode({"user_id": user_id})
        return self.get(f"/v1/trust/list{query}")

    # -- what the SDK does with them

    def run_llm(self, prompt: str, user_id: str, *, max_tokens: int | None = None, **how: Any) -> Ran:
        payload = {"job_type": "LLM_INFER", "prompt": prompt}
        if max_tokens is not None:
            payload["max_tokens"] = max_tokens  # type: ignore[assignment]
        return self.run("LLM_INFER", payload, user_id, **how)

    def run_task(self, task_type: str, text: str, user_id: str, **how: Any) -> Ran:
        return self.run("TASK", {"job_type": "TASK", "task_type": task_type, "input": text}, user_id, **how)

    def run(
        self,
        job_type: str,
        payload: dict[str, Any],
        user_id: str,
        *,
        policy: str = "AUTO",
        privacy: str = "PUBLIC",
        poll_s: float = POLL_S,
    ) -> Ran:
        """Quote, commit, look at once and then every `poll_s`. Raises RunFailed."""
        begun = time.monotonic()
        quote = self._good(self.quote(job_type, policy))
        body = {"job_type": job_type, "payload": payload, "user_id": user_id, "privacy_class": privacy}
        made = self.post(quote["endpoint"], body)
        if made.status == 422:
            raise RunFailed(f"Privacy enforcement: {made.body['error']}")
        job_id = self._good(made)["job_id"]
        while time.monotonic() < begun + TIMEOUT_S[job_type]:
            job = self._good(self.job(job_id))
            if job["status"] == "completed":
                latency_ms = (time.monotonic() - begun) * 1000
                return Ran(job["result"], "decentralized:monad", quote["price"], latency_ms, job["receipt"])
            if job["status"] == "failed":
                raise RunFailed(f"Job failed: {json.dumps(job['result'])}")
            time.sleep(poll_s)
        raise RunFailed(f"Job timed out: {job_id}")

    # -- HTTP

    def get(self, path: str) -> Answer:
        return self._ask(urllib.request.Request(self.url + path))

    def post(self, path: str, body: Any) -> Answer:
        return self.post_bytes(path, json.dumps(body).encode())

    def post_bytes(self, path: str, body: bytes) -> Answer:
        headers = {"Content-Type": "application/json"}
        return self._ask(urllib.request.Request(self.url + path, data=body, headers=headers, method="POST"))

    def _ask(self, request: urllib.request.Request) -> Answer:
        try:
            with self._opener.open(request, timeout=30) as answer:
                return Answer(answer.status, json.loads(answer.read()))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, json.loads(error.read()))

    @staticmethod
    def _good(answer: Answer) -> Any:
        if not 200 <= answer.status < 300:
            raise RunFailed(f"HTTP {answer.status}: {json.dumps(answer.body)}")
        return answer.body
