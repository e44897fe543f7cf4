"""A desk with a scripted model, and results to lay on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio

from swarm.agents.conversation import Line
from swarm.agents.desk import Desk
from swarm.budgets.budget import Budget
from swarm.budgets.levels import Limits
from swarm.calls import ModelRequest
from swarm.config import RunConfig
from swarm.retry import RetryPolicy
from swarm.stages import Harvest
from swarm.testing import Answer, RecordingSink, ScriptedModel, Turn
from swarm.types import AgentResult, Outcome, Plan, SubTask


def desk(turns: list[Turn] | Answer, artifacts: Path = Path(), limits: Limits | None = None, **config: Any) -> Desk:
    """An aggregator's desk, whose model plays these turns."""
    model = ScriptedModel(turns)
    line = Line(model, Budget(limits or Limits()), RecordingSink(), retry=RetryPolicy(base=0.0))
    return Desk("run", "the task", RunConfig(**config), artifacts, anyio.Event(), line)


def requests(at: Desk) -> list[ModelRequest]:
    assert isinstance(at.line.service, ScriptedModel)
    return at.line.service.requests


def harvest(*results: AgentResult, plan: Plan | None = None, **more: Any) -> Harvest:
    """These results of a first stage."""
    own = tuple(SubTask(id=r.subtask_id, title=f"do {r.subtask_id}", instructions="x") for r in results)
    return Harvest(plan or Plan(subtasks=own), results, **more)


def result(name: str, text: str = "", value: Any = None, outcome: Outcome = Outcome.COMPLETED) -> AgentResult:
    keep = outcome is Outcome.COMPLETED
    return AgentResult(name, name, outcome, text or f"text of {name}", "submitted", keep=keep, result=value)
