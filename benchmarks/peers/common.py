"""What all competitors are given, word for word."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

SYSTEM = "You are a careful agent. " * 40
TASK = "Look up item {} and report its value."
RESULT = "some words of a result " * 10
ANSWER = "The value is 42."
MOST_TURNS = 50
PARAMETERS = {"type": "object", "properties": {"key": {"type": "string"}}, "required": ["key"]}
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "lookup", "description": "Look up a part of an item.", "parameters": PARAMETERS},
}

Run = Callable[[int], Awaitable[dict[str, Any]]]
"""Runs so many agents at once; tells `failed` and `error`, and what else it likes about it."""


def found(key: str) -> str:
    """What the tool answers."""
    return f"{key}: {RESULT}"


async def gathered(one: Callable[[int], Awaitable[object]], agents: int) -> dict[str, Any]:
    """All at once; how many raised."""
    ended = await asyncio.gather(*(one(n) for n in range(agents)), return_exceptions=True)
    failed = [each for each in ended if isinstance(each, BaseException)]
    return {"failed": len(failed), "error": repr(failed[0])[:200] if failed else ""}


def checked(answer: object) -> None:
    """Raises where an agent did not come to its answer."""
    if "42" not in str(answer):
        raise AssertionError(f"not the answer: {str(answer)[:100]}")
