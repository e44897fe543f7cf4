"""Text that came from models, files and tools, made fit for a page: no terminal controls, nothing that hides order."""

from __future__ import annotations

import math
from typing import Any

from swarm.legible import clean


def cleaned(value: Any) -> Any:
    """A JSON value with all its texts, and its names, clean; a number that is none in JSON is left out."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(str(key)): cleaned(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [cleaned(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def content_text(content: Any) -> str:
    """The text of a message's content: a string, or the parts of the wire form that are text."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        return "\n".join(part for part in parts if isinstance(part, str))
    return ""
