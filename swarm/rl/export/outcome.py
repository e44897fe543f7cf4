"""What an export came to, and its lines."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from pydantic_core import to_json


@dataclass
class Exported:
    """How many rows were written, and what was left out, by reason."""

    rows: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


def line(value: object) -> bytes:
    """One line of JSON. Raises: ValueError where a number is none."""
    return to_json(value, inf_nan_mode="constants") + b"\n"
