"""Where a policy works: its endpoint, the real runtime with rollouts over it, and the tasks' book."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from examples.parl.endpoint import CLERK, ORCHESTRATOR, Endpoint, serving
from examples.parl.judging import Judge
from examples.parl.learner import Row, read_rows
from examples.parl.measuring import Seen, see
from examples.parl.policy import Policy
from examples.parl.stories import CRITICAL_STEPS, MOST_AGENTS
from examples.parl.world import LookUp
from swarm import Parts, Swarm
from swarm.config import Capabilities, Rollout, RunConfig
from swarm.errors import MachineError
from swarm.removal import remove_tree
from swarm.rl.annealing import Annealing
from swarm.rl.rewards import FINISH, PARALLEL
from swarm.rl.rollout import Bounds, Rollouts
from swarm.rl.tasks.task import Task
from swarm.testing import FakeBackend

AT_ONCE = 32


class Gym:
    """Use `open_gym`. `endpoint.policy` may be another one from call to call."""

    def __init__(self, endpoint: Endpoint, swarm: Swarm, book: LookUp, judge: Judge, work: Path) -> None:
        self.endpoint = endpoint
        self._swarm = swarm
        self._book = book
        self._judge = judge
        self._work = work

    def __repr__(self) -> str:
        return f"<Gym around {self.endpoint}>"

    async def roll(
        self, tasks: Sequence[Task], step: int, k: int, *, keep: bool = False
    ) -> tuple[list[Seen], list[Row]]:
        """Run each task `k` times, with the rewards' weights of this step; what the runs came to, and what was exported
        from their logs to `rows.jsonl`. The logs are thrown away then, unless they are to be kept.

        Raises:
            MachineError: all of them failed.
        """
        self._book.open(tasks)
        self._judge.step = step
        weights = self._judge.weights
        own = Rollout(lambda1=weights[PARALLEL], lambda2=weights[FINISH], anneal_step=step)
        rollouts = Rollouts(self._swarm, self._work / f"rollouts-{k}", Bounds(k=k, at_once=AT_ONCE), self._judge)
        folders: list[Path] = []
        seen: list[Seen] = []
        async with rollouts.iteration(tasks, weights=own) as done:
            async for rolled in done:
                if (one := see(rolled)) is not None and rolled.folder is not None:
                    folders.append(rolled.folder)
                    seen.append(one)
        if not folders:
            raise MachineError(f"all rollouts of step {step} failed: {rolled.error or 'see their logs'}")
        rows = read_rows(folders, self._work / "rows.jsonl")
        if not keep:
            for folder in folders:
                remove_tree(folder)
        return seen, rows


@asynccontextmanager
async def open_gym(policy: Policy, annealing: Annealing, work: Path, seed: int) -> AsyncIterator[Gym]:
    """A gym for the length of the block; `work` is a folder for all that is thrown away.

    Raises:
        SwarmError: the runtime cannot be used on this machine.
    """
    endpoint, book, judge = Endpoint(policy), LookUp(), Judge(annealing)
    parts = Parts(tools=(book,), backend=FakeBackend())  # nothing here wants a sandbox
    with _own_home(work / "home"):
        async with serving(endpoint) as url, Swarm(config=_config(url, seed), parts=parts) as swarm:
            yield Gym(endpoint, swarm, book, judge, work)


def _config(url: str, seed: int) -> RunConfig:
    """The runtime's, for short runs; whether tokens are given is left to its probe."""
    return RunConfig(
        mode="parl",
        model=ORCHESTRATOR,
        subagent_model=CLERK,
        base_url=url,
        seed=1_000_000 * (seed + 1),
        max_critical_steps=CRITICAL_STEPS,
        max_agents=MOST_AGENTS,
        concurrency=MOST_AGENTS,
        stream=False,
        board=False,
        warm_prefix=False,
        capabilities=Capabilities(tools=True, parallel_tools=True, structured="none", stream_usage=False, seed=True),
    )


@contextmanager
def _own_home(folder: Path) -> Iterator[None]:
    """Keep these runs apart from the user's own."""
    before = os.environ.get("SWARM_HOME")
    os.environ["SWARM_HOME"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["SWARM_HOME"]
        else:
            os.environ["SWARM_HOME"] = before
