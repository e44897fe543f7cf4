"""What a program may give a run in place of its own: any class of the right shape will do (see `swarm.protocols`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from swarm.values import value

if TYPE_CHECKING:
    from swarm.agents.desk import Desk, Dialogue
    from swarm.budgets.budget import Budget
    from swarm.config import RunConfig
    from swarm.protocols import Aggregator, Model, Orchestrator, SandboxBackend, Tool


@dataclass(frozen=True, slots=True)
class Parts:
    """Parts of a run by Protocol; None, or nothing, means swarm's own.

    `model` serves all roles; then no endpoint is asked, and `RunConfig.model` may be left out. `orchestrator` and
    `aggregator` make one for each run, at a desk that holds the run's task, configuration, folder and model: the
    orchestrator is also given the conversation that is recorded as its trajectory, empty at first. With a repository
    patches are merged by swarm in any case; an aggregator of yours makes the answer's words. `tools` are given to
    sub-agents beside the usual ones. `backend` is where sandboxes run; it is checked before each run.
    """

    model: Model | None = None
    orchestrator: Callable[[Desk, Dialogue], Orchestrator] | None = None
    aggregator: Callable[[Desk], Aggregator] | None = None
    tools: tuple[Tool, ...] = ()
    backend: SandboxBackend | None = None

    def with_tools(self, more: tuple[Tool, ...]) -> Parts:
        """These, and more tools."""
        return replace(self, tools=(*self.tools, *more)) if more else self


@value(frozen=True, slots=True)
class Own:
    """What is one run's own, among the runs of one `Swarm`: its folder, which is made and whose name is the run's id,
    its configuration (the models stay those of the `Swarm`), tools beside those of all, and a budget that it shares
    with runs of other Swarms. None, or nothing: as all have it."""

    folder: Path | None = None
    config: RunConfig | None = None
    tools: tuple[Tool, ...] = ()
    purse: Budget | None = None
