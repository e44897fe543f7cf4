"""Who does the work of a run, and the limits that its loop keeps."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

import anyio

from swarm.agents.board import Board
from swarm.approval import Approve
from swarm.budgets.funds import Funds
from swarm.budgets.headcount import Headcount
from swarm.forecast.previewer import Previewer
from swarm.journal.past import Past
from swarm.prompts.briefing import Briefing
from swarm.protocols import Aggregator, EventSink, Executor, Orchestrator, Repository
from swarm.scheduling.controls import Controls
from swarm.scheduling.stragglers import StragglerPolicy
from swarm.scheduling.width import Width
from swarm.values import value

if TYPE_CHECKING:
    from swarm.gating.gate import Gate
    from swarm.merging.queue import MergeQueue


@value(frozen=True, slots=True)
class Bounds:
    """The limits that the loop itself keeps. A dry run ends with the first plan; `ask_usd` is asked about, not kept.
    `test_found`: nobody gave the gate's command, so it is left out where it cannot be run."""

    concurrency: int
    max_stages: int
    max_steps: int
    dry_run: bool = False
    max_agents: int = 64
    ask_usd: float | None = None
    stragglers: StragglerPolicy = field(default_factory=StragglerPolicy)
    test_found: bool = False


@value(frozen=True, slots=True)
class Crew:
    """Who does the work of a run. `repository` and `gate` are None where the task has none, `approve` where nobody is
    asked, `board` where agents share none, `previewer` where no cost is previewed, `queue` where nothing is
    merged. Until `halt` is set, what there is when the run is asked to stop is still tested."""

    orchestrator: Orchestrator
    executor: Executor
    briefing: Briefing
    width: Width
    aggregator: Aggregator
    sink: EventSink
    repository: Repository | None
    gate: Gate | None
    funds: Funds
    approve: Approve | None = None
    controls: Controls = field(default_factory=Controls)
    board: Board | None = None
    previewer: Previewer | None = None
    past: Past = field(default_factory=Past)
    headcount: Headcount | None = None
    queue: MergeQueue | None = None
    halt: anyio.Event = field(default_factory=anyio.Event)
