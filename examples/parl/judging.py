"""What a run is worth, read from its log and written beside it: PARL's components, raw, and their present weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from examples.parl.vocabulary import DONE
from examples.parl.world import part_found, told
from swarm.events import RewardGiven
from swarm.result import RunResult
from swarm.rl.annealing import Annealing
from swarm.rl.episode import PERF, read_episode
from swarm.rl.reading import events_of
from swarm.rl.rewards import Component, Parl, finish_rate, parallel_capped
from swarm.rl.tasks.task import Task

PRICE = 0.01
"""Of each step, whoever takes it: the whole of a run is some 3 to 20 steps."""


class Judge:
    """`swarm.rl.tasks.task.Verify` with weights that follow the training's `step`. A task is worth half for the part of
    it that was found and half for all of it, less the price of the steps; without an answer nothing counts as found."""

    def __init__(self, annealing: Annealing) -> None:
        self.step = 0
        self._annealing = annealing

    def __repr__(self) -> str:
        return f"<Judge at step {self.step}, weights {self.weights}>"

    @property
    def weights(self) -> dict[str, float]:
        """Those of the present step."""
        return self._annealing.weights(self.step)

    def __call__(self, task: Task, result: RunResult) -> Sequence[RewardGiven]:
        events = list(events_of(Path(result.run_dir)))
        answered = result.answer.startswith(DONE)
        part = part_found(task, told(events)) if answered else 0.0
        found = 0.5 * part + 0.5 * (part == 1)
        worth = Component(PERF, f"examples.parl(price={PRICE})", 2, lambda episode: found - PRICE * episode.total_steps)
        parl = Parl(parallel_capped(), finish_rate(), worth)
        return parl.records(read_episode(events), self.weights)
