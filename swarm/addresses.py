"""Addresses of endpoints, as users write them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit


def address(url: str) -> str:
    """The address of an endpoint, as it is.

    Raises:
        ValueError: a request could not be sent there. The message tells no password.
    """
    shown = re.sub(r"//[^/]*@|[?#].*", lambda match: "//" if match[0].endswith("@") else match[0][0] + "...", url)
    if not re.match(r"https?://[^/\s]", url):
        raise ValueError(f"{shown!r} is no address like http://host:8000/v1")
    if re.search(r"[\s\x00-\x1f\x7f]", url):
        raise ValueError(f"{shown!r} holds a blank or a control character")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        host.encode("idna")
    except ValueError:  # also UnicodeError
        raise ValueError(f"{shown!r}: its host or port cannot be used (ports go from 1 to 65535)") from None
    if not host or port == 0:
        raise ValueError(f"{shown!r}: its {'port' if host else 'host'} cannot be used")
    if "%" in host:
        raise ValueError(f"{shown!r}: a host may hold no %, so no IPv6 zone")
    if "?" in url or "#" in url:
        raise ValueError(f"{shown!r}: an endpoint's address takes no query and no fragment")
    return url


def addresses(value: Any) -> Any:
    """One address as it is, several as a tuple; a string may hold several, with commas or blanks between them."""
    parts = re.split(r"[,\s]+", value.strip()) if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        return value
    if not parts:
        raise ValueError("nothing is no address like http://host:8000/v1")
    for part in parts:
        address(part)
    each = tuple(dict.fromkeys(part.rstrip("/") for part in parts)) if len(parts) > 1 else tuple(parts)
    return each[0] if len(each) == 1 else each


def all_embedded(given: Mapping[str, Any]) -> bool:
    """Whether the models of a configuration are our own endpoint, by its name alone."""
    names = [given.get(key) for key in ("model", "planner_model", "subagent_model", "aggregator_model")]
    return {name for name in names if name} == {"embedded"}
