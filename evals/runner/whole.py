"""An evaluation from its beginning to its end: what is opened for it, and what comes out."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import anyio
import anyio.to_thread

from swarm.budgets.budget import Budget
from swarm.budgets.levels import Limits
from swarm.config import RunConfig
from swarm.errors import EVALUATION, BudgetExhausted, MachineError, UsageError
from swarm.evals.runner.agents import Agents, Terms
from swarm.evals.runner.arms import Way
from swarm.evals.runner.evaluation import Driver, Halt, Watch, Why, Width
from swarm.evals.runner.given import Answers, Given, given_way
from swarm.evals.runner.ledger import LOCK_FILE, Ledger, open_ledger
from swarm.evals.runner.manifest import Doing, EvalManifest, manifest_of
from swarm.evals.runner.outputs import Outputs
from swarm.evals.runner.places import Places, Trial
from swarm.evals.runner.selection import Selection, seed_of, select
from swarm.evals.runner.source import Source
from swarm.evals.runner.tally import Progress
from swarm.evals.suite import Instance, Suite
from swarm.held_folder import hold_folder
from swarm.parts import Parts
from swarm.rl.rollout.keeping import Patience
from swarm.runtime import Swarm

INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of an evaluation. Limits are those of all runs together; `command` is what another person types.

    Raises:
        UsageError: the dollars or tokens of all runs are no budget.
    """

    selection: Selection = field(default_factory=Selection)
    epochs: int = 1
    seed: int | None = None
    width: Width = field(default_factory=Width)
    patience: Patience = field(default_factory=Patience)
    limits: Limits = field(default_factory=Limits)
    command: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        usd, tokens = self.limits.usd, self.limits.tokens
        if usd is not None and not 0 < usd < math.inf:
            raise UsageError(f"--budget-usd {usd:g} is no budget", remedy="give dollars above 0")
        if tokens is not None and tokens < 1:
            raise UsageError(f"--budget-tokens {tokens} is no budget", remedy="give 1 or more")


@dataclass(frozen=True, slots=True)
class Evaluated:
    """How an evaluation came out: `trials` were asked for. `message` is why it ended early, empty where it did not."""

    folder: Path
    manifest: EvalManifest
    progress: Progress
    why: Why
    message: str
    seconds: float

    @property
    def exit_code(self) -> int:
        """0: every trial has a verdict; 3: the machine failed some; 4: the budget is used up; 130: interrupted."""
        if self.why is Why.USER:
            return INTERRUPTED
        if self.why is Why.BUDGET:
            return BudgetExhausted.exit_code
        counted = self.progress.count()
        return MachineError.exit_code if self.why is not Why.NOTHING or counted.errored or counted.left else 0


async def evaluate(
    suite: Suite,
    ways: Sequence[Way],
    folder: Path,
    asked: Asked,
    halt: Halt,
    watch: Watch,
    parts: Parts | None = None,
) -> Evaluated:
    """Run and grade what is asked for, and has no verdict in the folder yet. `parts` are those of every run.

    Raises:
        UsageError: the selection, the folder or an option cannot be used, or the folder was begun with something else.
        SwarmError: what all runs share cannot be opened, or a file of the folder not be written.
    """
    purse = Budget(asked.limits, name=EVALUATION)
    async with _open(suite, ways, folder, asked) as (here, again):
        terms = Terms(
            asked.patience,
            lambda told: halt.end(Why.ENDPOINT, told),
            lambda told: halt.end(Why.BUDGET, f"the budget of the evaluation is used up: {told}"),
            here.manifest.digests,
        )
        async with _swarms(ways, asked.limits, parts) as swarms:
            agents = Agents(suite, swarms, here.places, purse, terms)
            return await _drive(here, again, agents, halt, watch, purse)


async def grade_given(
    suite: Suite, given: Sequence[Given], folder: Path, asked: Asked, halt: Halt, watch: Watch, model: str = ""
) -> Evaluated:
    """Grade answers that were made elsewhere, by `model`. Raises as `evaluate`."""
    way = given_way(model)
    answers = Answers(Places(folder, alone=True), given)
    asked = Asked(asked.selection, answers.epochs, None, asked.width, asked.patience, command=asked.command)
    async with _open(suite, [way], folder, asked, answers.sha256) as (here, again):
        return await _drive(here, again, answers, halt, watch)


@dataclass(frozen=True, slots=True)
class _Here:
    """What is open."""

    suite: Suite
    instances: Sequence[Instance]
    trials: Sequence[Trial]
    places: Places
    manifest: EvalManifest
    asked: Asked


@asynccontextmanager
async def _open(
    suite: Suite, ways: Sequence[Way], folder: Path, asked: Asked, given: str = ""
) -> AsyncIterator[tuple[_Here, set[tuple[str, str, int]]]]:
    folder = folder.absolute()
    instances = await anyio.to_thread.run_sync(suite.instances)
    selected = select(instances, asked.selection)  # what is wrong with it is told before anything is opened
    async with suite.open():
        with hold_folder(folder, LOCK_FILE, busy="is at work in another process", remedy="wait for it, or end it"):
            manifest = await manifest_of(
                Doing(suite, ways, selected, asked.epochs, asked.seed, asked.command, given), folder
            )
            trials = [
                Trial(instance, way, epoch, seed_of(asked.seed, instance.id, epoch))
                for epoch in range(1, asked.epochs + 1)
                for instance in selected
                for way in ways
            ]
            places = Places(folder, alone=len(ways) == 1)
            yield _Here(suite, instances, trials, places, manifest, asked), {trial.key for trial in trials}


async def _drive(
    here: _Here,
    again: set[tuple[str, str, int]],
    source: Source,
    halt: Halt,
    watch: Watch,
    purse: Budget | None = None,
) -> Evaluated:
    began, root = time.monotonic(), here.places.root
    trials = [trial for trial in here.trials if source.has(trial)]
    outputs = Outputs(here.suite, here.instances, here.places, here.manifest)
    async with open_ledger(root, lambda line: line.key in again) as ledger:
        await outputs.write(ledger.trials)
        if purse is not None and isinstance(source, Agents):
            await _recall(here, ledger, source, purse)
        driver = Driver(here.suite, source, here.places, ledger, outputs, halt)
        progress = await driver.run(trials, here.asked.width, here.asked.patience, watch)
    return Evaluated(root, outputs.manifest, progress, halt.why, halt.message, time.monotonic() - began)


async def _recall(here: _Here, ledger: Ledger, agents: Agents, purse: Budget) -> None:
    """Book what earlier processes spent, on trials that this one is not asked for, too: the budget is of them all."""
    for line in ledger.trials.values():
        purse.book(line.spent_tokens, line.spent_usd or 0.0, 0)
    asked = {trial.key for trial in here.trials}
    for trial in here.trials:
        if ledger.lacks(trial.key):
            await agents.recall(trial)
    manifest = here.manifest
    for key in product(manifest.instances, (arm.name for arm in manifest.arms), range(1, manifest.epochs + 1)):
        if key not in asked and ledger.lacks(key):
            await agents.recall_other(key)


@asynccontextmanager
async def _swarms(ways: Sequence[Way], limits: Limits, parts: Parts | None) -> AsyncIterator[dict[str, Swarm]]:
    """One open Swarm for each model of the arms."""
    async with AsyncExitStack() as stack:
        swarms: dict[str, Swarm] = {}
        for way in ways:
            if way.arm.model not in swarms:
                config = _priced(way.config, limits)
                swarms[way.arm.model] = await stack.enter_async_context(Swarm(config=config, parts=parts))
        yield swarms


def _priced(config: RunConfig, limits: Limits) -> RunConfig:
    """So that opening it refuses a budget in dollars that cannot be kept; each run has its own configuration."""
    return config if limits.usd is None else config.model_copy(update={"budget_usd": config.budget_usd or limits.usd})
