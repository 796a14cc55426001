"""The hosted providers that `ComputeRouter` falls back to, with the user's own key: one plain request each."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from cavvy import defaults
from cavvy.client._compute import Answer
from cavvy.client._flow import Flow, Send
from cavvy.client._protocol import Lost, Request
from cavvy.client._work import Work
from cavvy.client.config import check_key, is_loopback
from cavvy.errors import CertificateRefused, ComputeFailed, InvalidInput

__all__ = ["Hosted", "ask", "hosted_providers"]


class Hosted(NamedTuple):
    """One provider; `headers` hold the key."""

    name: str
    url: str
    path: str
    model: str
    headers: Mapping[str, str]

    def __repr__(self) -> str:
        return f"Hosted({self.name!r}, {self.url!r})"


class _Kind(NamedTuple):
    url: str
    path: str
    model: str
    key_variable: str
    url_variable: str


_KINDS = {
    "openai": _Kind(
        defaults.OPENAI_URL, "/chat/completions", defaults.ROUTER_OPENAI_MODEL, "OPENAI_API_KEY", "OPENAI_BASE_URL"
    ),
    "anthropic": _Kind(
        defaults.ANTHROPIC_URL,
        "/v1/messages",
        defaults.ROUTER_ANTHROPIC_MODEL,
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_BASE_URL",
    ),
}
_TASKS = {
    "summarize": "Summarize the following text in a few sentences. Answer with the summary only.",
    "classify": "Classify the sentiment of the following text as positive, negative or neutral. Answer with that word.",
    "extract_json": "Extract every JSON value from the following text. Answer with a JSON array of them only.",
}


def hosted_providers(
    preferred: str | None,
    keys: Mapping[str, str],
    models: Mapping[str, str],
) -> list[Hosted]:
    """Those there is a key for, given or in the environment, the preferred one first. Raises InvalidInput."""
    for name in filter(None, (preferred, *keys, *models)):
        if name not in _KINDS:
            raise InvalidInput("invalid_provider", f"hosted providers are {' and '.join(_KINDS)}, not {name!r}")
    names = sorted(_KINDS, key=lambda name: name != preferred)
    found = (_provider(name, _KINDS[name], keys.get(name), models.get(name)) for name in names)
    return [one for one in found if one is not None]


def _provider(name: str, kind: _Kind, key: str | None, model: str | None) -> Hosted | None:
    key = key or os.environ.get(kind.key_variable)
    if not key:
        return None
    check_key(key)
    url = (os.environ.get(kind.url_variable) or kind.url).rstrip("/")
    if urlsplit(url).scheme != "https" and not is_loopback(url):
        raise InvalidInput("invalid_url", f"{url} would show your key to everyone on the way; use https://")
    if name == "anthropic":
        headers = {"x-api-key": key, "anthropic-version": defaults.ANTHROPIC_VERSION}
    else:
        headers = {"Authorization": f"Bearer {key}"}
    return Hosted(name, url, kind.path, model or kind.model, headers)


def ask(provider: Hosted, work: Work) -> Flow[Answer]:
    """The provider's answer to `work`, asked once: it costs money. Raises ComputeFailed."""
    try:
        reply = yield Send(_request(provider, work))
    except CertificateRefused as refused:
        told = f"no authority that this machine trusts vouches for {provider.name}'s certificate"
        raise ComputeFailed(told, code="hosted_error") from refused
    if isinstance(reply, Lost):
        raise ComputeFailed(f"{provider.name} gave no answer", code="hosted_error")
    if reply.status != 200:
        raise ComputeFailed(f"{provider.name} answered with status {reply.status}", code="hosted_error")
    return Answer(_output(provider, reply.body))


def _request(provider: Hosted, work: Work) -> Request:
    body = {
        "model": provider.model,
        "max_tokens": work.payload.get("max_tokens", defaults.ROUTER_HOSTED_TOKENS),
        "messages": [{"role": "user", "content": _prompt(work)}],
    }
    headers = {"Content-Type": "application/json"}
    return Request("POST", provider.path, headers, msgspec.json.encode(body), wait_s=int(work.patience_s), repeat=False)


def _prompt(work: Work) -> str:
    """What a model without tasks is asked."""
    if work.job_type == "LLM_INFER":
        return str(work.payload["prompt"])
    task_type = work.payload["task_type"]
    told = _TASKS.get(task_type, f"Do the task {task_type!r} on the following text.")
    return f"{told}\n\n{work.payload['input']}"


def _output(provider: Hosted, body: bytes) -> dict[str, Any]:
    try:
        answer = msgspec.json.decode(body)
        text = _anthropic_text(answer) if provider.name == "anthropic" else answer["choices"][0]["message"]["content"]
        if not isinstance(text, str):
            raise TypeError
        return {"text": text, "model": answer.get("model", provider.model), "usage": answer.get("usage")}
    except (msgspec.DecodeError, LookupError, TypeError, AttributeError, ValueError) as error:
        raise ComputeFailed(f"{provider.name} answered what is no answer", code="hosted_error") from error


def _anthropic_text(answer: Any) -> str:
    blocks = [block["text"] for block in answer["content"] if block["type"] == "text"]
    if not blocks:
        raise TypeError
    return "".join(blocks)
