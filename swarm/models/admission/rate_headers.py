"""What the headers of an answer tell of rates: their limits, what is left, and how long to wait."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from math import isfinite
from time import time

from swarm.errors import RateLimits

_PREFIXES = ("x-ratelimit-", "anthropic-ratelimit-", "ratelimit-")
_NAMES = tuple(
    tuple(
        name
        for prefix in _PREFIXES
        for name in (f"{prefix}{what}-{noun}", f"{prefix}{noun}-{what}", f"{prefix}{what}")
        if noun == "requests" or noun in name
    )
    for noun in ("requests", "tokens")
    for what in ("limit", "remaining", "reset")
)
_PART = re.compile(r"(?<![\d.])(\d++(?:\.\d++)?)(ms|us|µs|s|m|h|d)")
_SECONDS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST = 256
"""Characters of a header that are read: no figure has more."""

_EPOCH_S = 1e9
"""A reset that is larger is a point in time, in seconds since 1970; one that is a thousand times larger, in ms."""


def of_rates(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Those of an answer's headers that this module reads, their names in lower case."""
    found = {}
    for name, value in raw:
        lower = name.lower()
        if b"ratelimit" in lower or b"retry-after" in lower:
            found[lower.decode("latin-1")] = value[:_LONGEST].decode("latin-1")
    return found


def rate_limits(headers: Mapping[str, str]) -> RateLimits | None:
    """The limits that `headers` (see `of_rates`) tell; None for none.

    Read are `PREFIX-{limit,remaining,reset}-{requests,tokens}` as OpenAI, Groq and many others send them,
    `PREFIX-{requests,tokens}-{limit,remaining,reset}` as Anthropic does, and `PREFIX-{limit,remaining,reset}` without a
    noun, which are of requests.
    """
    if not headers:
        return None
    told: list[str | None] = []
    for places in _telling(tuple(headers)):
        value = None
        for name in places:
            value = headers[name]
            if value:
                break
        told.append(value)
    if not any(told):
        return None
    limits = RateLimits(
        requests_limit=_number(told[0]),
        requests_left=_number(told[1]),
        requests_reset_s=_wait(told[2]),
        tokens_limit=_number(told[3]),
        tokens_left=_number(told[4]),
        tokens_reset_s=_wait(told[5]),
    )
    return None if limits == RateLimits() else limits


@lru_cache(maxsize=64)  # an endpoint sends the same ones with every answer
def _telling(names: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """Of these headers, those that tell of each figure, the surest first."""
    return tuple(tuple(name for name in wanted if name in names) for wanted in _NAMES)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the endpoint asks to be left alone: `retry-after-ms`, or `retry-after` in either form (RFC 9110)."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _number(value)  # also where it is absurd: this header holds no time since 1970
    return seconds if seconds is not None else _wait(value)


def _number(value: str | None) -> float | None:
    """A count. Of several in one header ("100, 100;w=60") the first."""
    if not value:
        return None
    try:
        number = float(value if value.isdigit() else re.split("[,;]", value)[0])
    except ValueError:
        return None
    return number if isfinite(number) and number >= 0 else None


def _wait(value: str | None) -> float | None:
    """Seconds from now, from "1.5", "6m0s", "250ms", a time since 1970, or a date (ISO 8601 or that of HTTP)."""
    if not value:
        return None
    text = value.strip()
    number = _number(text)
    if number is not None:
        if number >= _EPOCH_S * 1000:
            number /= 1000
        return number if number < _EPOCH_S else max(0.0, number - time())
    parts = _PART.findall(text)
    if parts and "".join(map("".join, parts)) == text:
        seconds = sum(float(count) * _SECONDS[unit] for count, unit in parts)
        return seconds if isfinite(seconds) else None
    return _until(text)


def _until(text: str) -> float | None:
    try:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            moment = parsedate_to_datetime(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max(0.0, moment.timestamp() - time())
    except (ValueError, OverflowError):  # no date, or one that no calendar has
        return None
