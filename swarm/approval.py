"""What a run asks its user before it goes on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from swarm.preview import Preview
from swarm.types import Plan
from swarm.values import value


@value(frozen=True, slots=True)
class Estimate:
    """What a stage may cost at most, and what the run has cost so far. Dollars are None where a price is not known."""

    subagents: int
    calls_at_most: int
    spent_tokens: int
    spent_usd: float | None


@dataclass(frozen=True, slots=True)
class Question:
    """One question; `text` says all of it in a sentence.

    `plan`: may this stage be run? `spending`: the run has cost more than `ask_usd`, may the next stage be run all the
    same? `patch`: is this, as a diff, what is wanted? `plan`, `estimate` and `preview` (what the whole run will
    probably cost) are None where they do not belong to it.
    """

    kind: Literal["plan", "spending", "patch"]
    text: str
    stage: int
    plan: Plan | None = None
    patch: bytes = b""
    estimate: Estimate | None = None
    preview: Preview | None = None


Approve = Callable[[Question], Awaitable[bool | Plan]]
"""Answers a question: yes, no (which ends the run as cancelled), or to one about a plan another plan."""
