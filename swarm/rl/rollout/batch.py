"""The rollouts of one iteration: how many are done, and when the others are to pause."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio

from swarm.events import RewardGiven
from swarm.result import RunResult
from swarm.rl.rollout.book import Slot
from swarm.rl.rollout.keeping import Patience
from swarm.rl.tasks.task import Task
from swarm.types import RunStatus


@dataclass(frozen=True, slots=True)
class Bounds:
    """How rollouts are made.

    `k` runs of each task; `at_once` runs at work at once. An iteration pauses what is left when the part
    `batch_fraction` of it is done, or after `seconds`; a group pauses when its own part `group_fraction` is done.
    Calls under way are given `grace` seconds then. A run that the machine failed is gone on with until it was tried
    `tries` times, after `retry_s` seconds and then twice as long each time, at most a minute.
    """

    k: int = 8
    at_once: int = 64
    batch_fraction: float = 1.0
    group_fraction: float = 1.0
    seconds: float | None = None
    grace: float = 10.0
    tries: int = 3
    retry_s: float = 1.0

    def __post_init__(self) -> None:
        if min(self.k, self.at_once, self.tries) < 1:
            raise ValueError(f"k, at_once and tries are 1 or more, not {self.k}, {self.at_once}, {self.tries}")
        if not (0 < self.batch_fraction <= 1 and 0 < self.group_fraction <= 1):
            raise ValueError(f"a fraction is above 0 and at most 1: {self.batch_fraction}, {self.group_fraction}")
        if min(self.grace, self.retry_s) < 0 or (self.seconds is not None and self.seconds <= 0):
            raise ValueError("seconds, grace and retry_s are no spans of time")

    @property
    def patience(self) -> Patience:
        """How each run is kept at."""
        return Patience(self.tries, self.retry_s, self.grace)


@dataclass(frozen=True, slots=True)
class Rolled:
    """One rollout that is done.

    `machine_failed`: the machine ended it, also when it was tried again; it says nothing of the policy and must not
    train it. `result` is None, and `folder` too, where not even a run could be begun; `error` says why then. `segments`
    tells for each time that it was worked on the versions of the policy that answered. `rewards` are the verifier's,
    which are in the run's record as well.
    """

    task: Task
    group_id: str
    index: int
    result: RunResult | None
    folder: Path | None
    rewards: tuple[RewardGiven, ...] = ()
    segments: tuple[tuple[str, ...], ...] = ()
    tries: int = 1
    error: str = ""

    @property
    def machine_failed(self) -> bool:
        return self.result is None or self.result.status is RunStatus.ERRORED


class Batch:
    """Tells each group when it is over."""

    def __init__(self, slots: Sequence[Slot], bounds: Bounds) -> None:
        sizes = Counter(slot.group_id for slot in slots)
        self._left = {group: math.ceil(bounds.group_fraction * size) for group, size in sizes.items()}
        self._goal = math.ceil(bounds.batch_fraction * len(slots))
        self._over = {group: anyio.Event() for group in sizes}
        self.size = len(slots)
        self.done = 0
        self.running = 0
        self.fault: Exception | None = None
        """What ended the iteration that was nobody's failure but the caller's."""

    def over(self, slot: Slot) -> anyio.Event:
        """Set when this rollout is to pause, or not to begin."""
        return self._over[slot.group_id]

    def count(self, slot: Slot) -> None:
        """One more is done."""
        self.done += 1
        self._left[slot.group_id] -= 1
        if self._left[slot.group_id] <= 0:
            self._over[slot.group_id].set()
        if self.done >= self._goal:
            self.pause()

    def pause(self) -> None:
        """Let all come to rest that are not done."""
        for over in self._over.values():
            over.set()

    def fail(self, fault: Exception) -> None:
        self.fault = self.fault or fault
        self.pause()
