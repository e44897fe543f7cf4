"""Parts of the page that are unpacked when they are looked at: conversations, hunks, the gate's output."""

from __future__ import annotations

import base64
import json
import math
import zlib
from typing import Any

from swarm.legible import clean

_LEVEL = 6


class Blobs:
    """The packed parts in the order of their numbers: cleaned JSON, raw deflate, base64."""

    def __init__(self) -> None:
        self.packed: list[str] = []

    def __repr__(self) -> str:
        return f"<Blobs: {len(self.packed)}, {sum(map(len, self.packed))} bytes>"

    def add(self, value: Any) -> int:
        """Pack a JSON value; its number."""
        data = json.dumps(cleaned(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
        packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        self.packed.append(base64.b64encode(packer.compress(data) + packer.flush()).decode("ascii"))
        return len(self.packed) - 1


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
