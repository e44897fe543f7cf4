"""What a call costs. An unknown price is an unknown cost, never zero."""

from __future__ import annotations

from collections.abc import Mapping

from swarm.config import Price
from swarm.types import Usage

EMBEDDED = "embedded"
_FREE = Price(prompt=0, completion=0)


def price_of(model: str, prices: Mapping[str, Price]) -> Price | None:
    """The price of a model from the user's table; the embedded endpoint is free."""
    if model in prices:
        return prices[model]
    return _FREE if model.split(":")[0] == EMBEDDED else None


def cost(price: Price | None, usage: Usage) -> float | None:
    """Dollars, or None where the price is not known."""
    if price is None:
        return None
    cached = price.prompt if price.cached is None else price.cached
    fresh = usage.prompt_tokens - usage.cached_tokens
    return (fresh * price.prompt + usage.cached_tokens * cached + usage.completion_tokens * price.completion) / 1e6
