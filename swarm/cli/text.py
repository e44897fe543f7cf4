"""Text that came from a model, a file or a tool, made fit for a terminal."""

from __future__ import annotations

import json
import re

from swarm.legible import clean

_BLANKS = re.compile(r"\s+")
_ARGUMENTS = ("command", "path", "pattern", "summary", "query", "url", "id", "name")


def line(text: str, width: int = 200) -> str:
    """Cleaned, on one line, cut to `width` characters."""
    flat = _BLANKS.sub(" ", clean(text[: width * 8])).strip()
    return flat if len(flat) <= width and len(text) <= width * 8 else flat[: width - 1] + "…"


def hit_rate(cached: int, prompt: int) -> str:
    """The share of prompt tokens that came out of the endpoint's cache."""
    return f"{100 * min(1.0, cached / max(1, prompt)):.0f} %"


def tool_use(name: str, arguments: str, width: int = 120) -> str:
    """A tool call in few words: the name and the argument that says most."""
    try:
        parsed = json.loads(arguments) if len(arguments) < 1 << 16 else None
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, dict):
        return line(f"{name} {arguments}", width)
    said = next((parsed[key] for key in _ARGUMENTS if isinstance(parsed.get(key), str)), None)
    if said is None:
        said = next((value for value in parsed.values() if isinstance(value, str)), "")
    return line(f"{name} {said}", width)


def count(number: int) -> str:
    """12, 3.4k, 1.2M."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            return f"{number / size:.1f}{unit}"
    return str(number)


def many(number: int, noun: str) -> str:
    """1 step, 2 steps."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def clock(seconds: float) -> str:
    """0:07, 12:34, 1:02:03."""
    whole = int(seconds) if 0 < seconds < 1e9 else 0
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
