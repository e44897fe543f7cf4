"""What a run is about, and with what it is done."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path

from swarm.approval import Approve
from swarm.budgets.budget import Budget
from swarm.config import RunConfig
from swarm.ground import Ground
from swarm.journal.past import Past
from swarm.journal.reader import Held
from swarm.parts import Parts
from swarm.prompts.texts import Prompts, own_prompts
from swarm.scheduling.controls import Controls
from swarm.values import value
from swarm.wiring import Models


@value(frozen=True, slots=True)
class Mission:
    """What a run is about and with what it is done. `repo` is the user's checkout, None without one; a dry run
    ends with the first plan. `approve` answers questions. `past` is what the journal held that the run goes on with:
    that of `held`. `attach` are the files and folders that it is given to read. `purse` pays it together with other
    runs."""

    run_id: str
    folder: Path
    task: str
    repo: Path | None
    config: RunConfig
    models: Models
    ground: Ground
    dry_run: bool = False
    parts: Parts = field(default_factory=Parts)
    approve: Approve | None = None
    controls: Controls = field(default_factory=Controls)
    prompts: Prompts = field(default_factory=own_prompts)
    past: Past = field(default_factory=Past)
    held: Held | None = None
    attach: tuple[str, ...] = ()
    purse: Budget | None = None

    @property
    def single(self) -> bool:
        """Whether one agent does everything."""
        return self.config.mode == "single" and self.parts.orchestrator is None
