"""What a failed call to a provider means, in our own words.

A provider's message is never passed on: it may repeat the prompt or the key. Only numbers, and words from the lists
below, are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from cavvy.errors import InputTooLarge, ProviderError

__all__ = ["Place", "explain"]

_TOO_LONG_CODES = frozenset({"context_length_exceeded", "exceed_context_size_error", "string_above_max_length"})
_TOO_LONG = re.compile(
    r"prompt is too long|maximum context length|available context size|context length exceeded", re.IGNORECASE
)
_NO_CREDIT = frozenset({"insufficient_quota", "billing_hard_limit_reached", "insufficient_funds"})
_SETTINGS = frozenset({"max_tokens", "max_completion_tokens", "temperature", "stop", "model", "stream_options"})
_BUSY = frozenset({408, 409, 425, 429, 503, 529})


class Place(NamedTuple):
    """Whom a call went to. `label` is how people know it, `key_env` where its key comes from."""

    label: str
    key_env: str | None
    timeout_s: float
    ollama: bool

    def pull(self, model: str) -> str:
        return f": `ollama pull {model}` on that machine gets it" if self.ollama else ""


def explain(error: BaseException, place: Place, model: str, *, answered: bool) -> ProviderError:
    """The failure as ours. `answered` says whether an HTTP answer had begun. The cause is not chained, on purpose."""
    chain = list(_causes(error))
    status = next((code for one in chain if (code := _status(one)) is not None), None)
    words = {word for one in chain for word in _words(one)}
    if words & _TOO_LONG_CODES or (
        status in (None, 400, 413, 422) and any(_TOO_LONG.search(str(one)) for one in chain)
    ):
        return InputTooLarge(f"the prompt does not fit model {model!r} of {place.label}; shorten it")
    if words & _NO_CREDIT or status == 402:
        return ProviderError(f"{place.label} says that the account has no credit left", retryable=False)
    if status is not None:
        return _of_status(status, place, model, words)
    return _of_connection(chain, place, answered=answered)


def _of_status(status: int, place: Place, model: str, words: set[str]) -> ProviderError:
    where = place.label
    if status in (401, 403):
        source = f"; check the key in {place.key_env}" if place.key_env else "; name its key's variable in api_key_env"
        return ProviderError(f"{where} refused the key ({status}){source}", retryable=False)
    if status == 404 and not model:
        return ProviderError(f"{where} does not list its models (404); check its url, or name them with `models`")
    if status == 404:
        return ProviderError(f"{where} has no model {model!r}{place.pull(model)} (404)", retryable=False)
    if status == 413:
        return InputTooLarge(f"the prompt is too long for {where} (413); shorten it")
    if status in _BUSY:
        return ProviderError(f"{where} is busy or limits its callers ({status}); try again later", retryable=True)
    if status >= 500:
        return ProviderError(f"{where} failed ({status})", retryable=True)
    if 300 <= status < 400:
        return ProviderError(f"{where} answers from another address ({status}); give that as its url", retryable=False)
    wrong = sorted(words & _SETTINGS)
    about = f" because of {', '.join(wrong)}" if wrong else ""
    return ProviderError(
        f"{where} refused the request{about} ({status}); its own words are in its log", retryable=False
    )


def _of_connection(chain: list[BaseException], place: Place, *, answered: bool) -> ProviderError:
    names = [kind.__name__ for one in chain for kind in type(one).__mro__]
    if answered and "ReadTimeout" in names:
        return ProviderError(f"{place.label} has sent nothing for {place.timeout_s:g} s in the middle of its answer")
    if "ReadTimeout" in names:
        return ProviderError(f"{place.label} has not answered for {place.timeout_s:g} s")
    if "ConnectError" in names or "ConnectTimeout" in names or (not answered and "ConnectionError" in names):
        return ProviderError(f"{place.label} cannot be reached; is it running?")
    if any("Error" in name and ("Connect" in name or "Protocol" in name or "Read" in name) for name in names):
        return ProviderError(f"{place.label} broke the connection off")
    if answered:
        return ProviderError(f"{place.label} failed in the middle of its answer ({type(chain[0]).__name__})")
    return ProviderError(f"the call to {place.label} failed ({type(chain[-1]).__name__})")


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        original = getattr(one, "original_exception", None)
        one = original if isinstance(original, BaseException) else one.__cause__


def _status(error: BaseException) -> int | None:
    code = getattr(error, "status_code", None)
    return code if isinstance(code, int) and 300 <= code < 600 else None


def _words(error: BaseException) -> Iterator[str]:
    for field in ("code", "error_type", "type", "param"):
        word = getattr(error, field, None)
        if isinstance(word, str):
            yield word
