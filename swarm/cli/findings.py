"""What `swarm doctor` finds."""

from __future__ import annotations

from typing import Any, NamedTuple


class Finding(NamedTuple):
    """One thing looked at. `ok` is None where it is neither good nor bad; `needed`: without it there is no run.

    `remedy` is what to do about it; `details` are facts by name, for programs.
    """

    name: str
    ok: bool | None
    text: str
    needed: bool = False
    remedy: str = ""
    details: dict[str, Any] | None = None
