"""What is kept of a past run for later previews: numbers, and digests that tell what is alike. No text of anybody."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from swarm.preview import Held, Quantity
from swarm.types import Usage

MOST_SAMPLES = 24
"""Sub-tasks that are kept of a run."""


class Use(NamedTuple):
    """Answered calls and their tokens. `cached` is part of `prompt`, `reasoning` of `completion`."""

    calls: int = 0
    prompt: int = 0
    cached: int = 0
    completion: int = 0
    reasoning: int = 0

    def plus(self, usage: Usage) -> Use:
        return Use(
            self.calls + usage.calls,
            self.prompt + usage.prompt_tokens,
            self.cached + usage.cached_tokens,
            self.completion + usage.completion_tokens,
            self.reasoning + usage.reasoning_tokens,
        )

    def scaled(self, factor: float) -> Use:
        return self if factor == 1.0 else Use(*[round(number * factor) for number in self])

    @property
    def tokens(self) -> int:
        return self.prompt + self.completion


class Sample(NamedTuple):
    """One sub-task with all its attempts. `first` is the prompt of its first call: every later one holds it and all
    that was said since. `seconds` from its start to its end."""

    kind: str
    use: Use
    first: int
    seconds: float


class StageRow(NamedTuple):
    """A stage: its sub-tasks' tokens; what came between the end of its last sub-task and the end of the run: seconds
    (merging, gate, planning again, later stages; -1: not known) and critical steps."""

    tokens: int
    rest_s: float
    rest_critical: int


class Row(BaseModel):
    """One run that came to its end. `slack`: times what its sub-tasks should have taken on the places there were.
    `lead` is what the orchestrator used after its first plan, `merging` the aggregator."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    run: str
    started: float
    mode: str
    model: str
    repository: str
    subtasks: int = Field(ge=1)
    samples: tuple[Sample, ...] = Field(min_length=1)
    slack: float
    stages: tuple[StageRow, ...] = Field(min_length=1)
    lead: Use
    merging: Use
    support: float = 0.0
    held: dict[Quantity, Held] = Field(default_factory=dict)


def digest(text: str) -> str:
    """Tells whether two names are the same without telling them; nothing for nothing."""
    return hashlib.sha256(text.encode()).hexdigest()[:12] if text else ""
