"""Parts of the page that are unpacked when they are looked at: conversations, hunks, the gate's output."""

from __future__ import annotations

import base64
import json
import math
import zlib
from typing import Any

from swarm.legible import clean, is_clean_json

_LEVEL = 4  # half the time of 6, for a page that is 3 % larger


class Blobs:
    """The packed parts in the order of their numbers: cleaned JSON, raw deflate, base64."""

    def __init__(self) -> None:
        self.packed: list[str] = []

    def __repr__(self) -> str:
        return f"<Blobs: {len(self.packed)}, {sum(map(len, self.packed))} bytes>"

    def add(self, value: Any) -> int:
        """Pack a JSON value; its number."""
        data = clean_json(value).encode()
        packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        self.packed.append(base64.b64encode(packer.compress(data) + packer.flush()).decode("ascii"))
        return len(self.packed) - 1


def clean_json(value: Any) -> str:
    """A JSON value `cleaned`, as a line. Most are clean, and one look at the whole line tells."""
    try:
        text = _line(value)
    except ValueError:  # a number that is none in JSON
        return _line(cleaned(value))
    return text if is_clean_json(text) else _line(cleaned(value))


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def cleaned(value: Any) -> Any:
    """A JSON value with all its texts, and its names, clean: no terminal controls, nothing that hides order. A number
    that is none in JSON is left out."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(str(key)): cleaned(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [cleaned(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
