"""What cloud models cost, from the price list that genai-prices carries: nobody is asked."""

from __future__ import annotations

import re
from decimal import Decimal

__all__ = ["cheapest_first", "price_text"]

_TOKENS = 1000  # small enough for no tier of long prompts
_MILLION = 1_000_000
_NOT_FOR_CHAT = re.compile(
    "audio|image|tts|transcri|realtime|search|embed|moderation|whisper|dall-e|davinci|babbage|curie|^ada$|instruct|^ft:"
)


def cheapest_first(provider: str, models: tuple[str, ...]) -> tuple[str, ...]:
    """Models to chat with whose price is known, the cheapest first; then the others, as they came."""
    known = {model: price for model in models if (price := _price(provider, model)) is not None}
    ranked = sorted(known, key=lambda model: (sum(known[model]), model))
    return (*ranked, *(model for model in models if model not in known))


def price_text(provider: str) -> str:
    """One phrase: what the cheapest and the dearest of its text models cost."""
    from genai_prices.data_snapshot import get_snapshot

    offered = next((one for one in get_snapshot().providers if one.id == provider), None)
    names = (model.id for model in offered.models if not model.deprecated) if offered is not None else ()
    prices = sorted((price[1], name) for name in names if (price := _price(provider, name)) is not None)
    if not prices:
        return "price unknown"
    (low, cheapest), (high, dearest) = prices[0], prices[-1]
    return f"a million tokens written cost from ${low:.2f} ({cheapest}) to ${high:.2f} ({dearest})"


def _price(provider: str, model: str) -> tuple[Decimal, Decimal] | None:
    """US dollars for a million tokens read and written; None if that is not known or it is no model to chat with."""
    from genai_prices import Usage, calc_price

    if _NOT_FOR_CHAT.search(model):
        return None
    try:
        found = calc_price(Usage(input_tokens=_TOKENS, output_tokens=_TOKENS), model, provider_id=provider)
    except (LookupError, ValueError):
        return None
    if not found.output_price:
        return None
    return found.input_price * _MILLION / _TOKENS, found.output_price * _MILLION / _TOKENS
