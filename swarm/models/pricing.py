"""What a call costs. An unknown price is an unknown cost, never zero.

The user's table comes first, then the library of prices, for providers that it knows: a server of one's own has no
price that anybody could know. The library's data is a part of its package; nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from swarm.config import Price, RunConfig
from swarm.errors import UsageError
from swarm.models.providers import EMBEDDED, Endpoint, endpoint_of
from swarm.types import Usage

if TYPE_CHECKING:
    from decimal import Decimal

    from genai_prices.types import ModelPrice, PriceCalculation, TieredPrices

_FREE = Price(prompt=0, completion=0)


def price_of(model: str, prices: Mapping[str, Price], endpoint: Endpoint | None = None) -> Price | None:
    """The price of a model of the configuration: from the user's table, by the name in the configuration or that at
    the endpoint; from the library; the embedded endpoint is free."""
    named = [prices[name] for name in (model, endpoint.model if endpoint else model) if name in prices]
    if (own := next((each for each in named if not each.unless_known), None)) is not None:
        return own
    listed = _listed(endpoint) if endpoint is not None else _FREE if model.split(":")[0] == EMBEDDED else None
    return listed if listed is not None else next(iter(named), None)


def known_price(model: str, config: RunConfig, env: Mapping[str, str]) -> Price | None:
    """The price of a model that a configuration names; None where nobody knows it.

    Raises:
        UsageError: the model is served nowhere (see `endpoint_of`).
    """
    if model in config.prices and not config.prices[model].unless_known:
        return config.prices[model]
    if model.split(":")[0] == EMBEDDED:
        return price_of(EMBEDDED, config.prices)
    return price_of(model, config.prices, endpoint_of(model, config, env))


def outdone(config: RunConfig, env: Mapping[str, str]) -> list[str]:
    """The models of a configuration whose price a repository names, and somebody else knows: it does not count."""
    names = filter(None, (config.planner_model, config.subagent_model, config.aggregator_model, config.model))
    found: list[str] = []
    for name in dict.fromkeys(names):
        behind = [config.prices[key] for key in (name, name.partition("/")[2]) if key in config.prices]
        if any(price.unless_known for price in behind):
            with suppress(UsageError):  # served nowhere, as where a tape is replayed
                price = known_price(name, config, env)
                found += [name] if price is not None and not price.unless_known else []
    return found


def cost(price: Price | None, usage: Usage) -> float | None:
    """Dollars, or None where the price is not known. `usage` is that of one call."""
    if price is None:
        return None
    return dollars(price, usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens, usage.reasoning_tokens)


def dollars(price: Price, prompt: int, cached: int, completion: int, reasoning: int) -> float:
    """What one call of so many tokens costs: `cached` is part of `prompt`, `reasoning` of `completion`."""
    if price.above:
        reached = [tokens for tokens in price.above if prompt > tokens]
        price = price.above[max(reached)] if reached else price
    of_cached = price.prompt if price.cached is None else price.cached
    of_reasoning = price.completion if price.reasoning is None else price.reasoning
    thought = min(reasoning, completion)
    fresh = max(0, prompt - cached)
    said = completion - thought
    return (fresh * price.prompt + cached * of_cached + said * price.completion + thought * of_reasoning) / 1e6


def listed_window(endpoint: Endpoint) -> int | None:
    """How many tokens the library of prices says that the window of a model at an endpoint has."""
    found = _found(endpoint)
    return found.model.context_window if found is not None else None


def _listed(endpoint: Endpoint) -> Price | None:
    """The library's price for a model at an endpoint, as it is now; None where it does not know one of the two."""
    found = _found(endpoint)
    return _as_price(found.model_price) if found is not None else None


def _found(endpoint: Endpoint) -> PriceCalculation | None:
    host = urlsplit(endpoint.base_url).hostname or ""
    if "." not in host or host.replace(".", "").isdigit():
        return None  # a machine of one's own: spares the import
    from genai_prices import Usage as Counted
    from genai_prices import calc_price

    nothing = Counted(input_tokens=0, output_tokens=0)
    try:
        if endpoint.price_id is not None:
            return calc_price(nothing, endpoint.model, provider_id=endpoint.price_id)
        return calc_price(nothing, endpoint.model, provider_api_url=endpoint.base_url)
    except LookupError:
        return None


def _as_price(found: ModelPrice) -> Price | None:
    """The library's price as one of ours. What is priced by request or minute has no price of tokens."""
    if found.input_mtok is None or found.output_mtok is None or found.requests_kcount is not None:
        return None
    every = (found.input_mtok, found.output_mtok, found.cache_read_mtok, found.output_reasoning_mtok)
    starts = sorted({tier.start for each in every for tier in getattr(each, "tiers", ())})

    def at(tokens: int) -> Price:
        prompt, completion, cached, reasoning = (_at(each, tokens) for each in every)
        return Price(prompt=prompt or 0.0, completion=completion or 0.0, cached=cached, reasoning=reasoning)

    return at(0).model_copy(update={"above": {start: at(start + 1) for start in starts}})


def _at(price: Decimal | TieredPrices | None, tokens: int) -> float | None:
    """Dollars per million tokens of a prompt of so many tokens."""
    from genai_prices.types import TieredPrices

    if not isinstance(price, TieredPrices):
        return None if price is None else float(price)
    reached = [tier.price for tier in price.tiers if tokens > tier.start]
    return float(reached[-1] if reached else price.base)
