"""The parts of a training as commands of their own, each of which can be looked at before the next:

python -m examples.parl rollouts     # runs of the real runtime; their logs are kept, and exported as rows
python -m examples.parl train        # one update of the policy, from nothing but the exported rows
python -m examples.parl evaluate     # held-out tasks, and what came of them

All in one folder (`--out`): `home/runs/`, `rows.jsonl`, `policy.pt`. Again and again, they are the training.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from examples.parl.gym import open_gym
from examples.parl.learner import Learner, rows_in
from examples.parl.measuring import Seen, summary
from examples.parl.policy import Policy
from examples.parl.recipes import Recipe
from examples.parl.training import HELD_OUT_SEED
from examples.parl.world import HELD_OUT, TRAINED, make_book
from swarm.errors import UsageError
from swarm.removal import remove_tree


@dataclass(frozen=True, slots=True)
class Workshop:
    """The folder of a training by hand, and its recipe. `base` are the weights that it begins with."""

    out: Path
    base: Path
    recipe: Recipe
    seed: int = 0

    @property
    def rows(self) -> Path:
        """What the last rollouts gave, exported."""
        return self.out / "rows.jsonl"

    @property
    def home(self) -> Path:
        """Where the logs of the last rollouts are."""
        return self.out / "home"

    @property
    def _kept(self) -> Path:
        return self.out / "policy.pt"

    def policy(self) -> tuple[Policy, dict[str, Any]]:
        """The present policy, with how many updates it has had as its version; and the state of its optimizers."""
        policy = Policy()
        if not self._kept.exists():
            policy.load_state_dict(torch.load(self.base, weights_only=True))
            return policy, {}
        found: dict[str, Any] = torch.load(self._kept, weights_only=True)
        policy.load_state_dict(found["policy"])
        policy.version = found["version"]
        return policy, found

    async def roll(self) -> dict[str, float]:
        """Run the next book of tasks, each several times, and export the logs; gives what the runs came to.

        Raises:
            SwarmError: the runtime cannot be used on this machine.
        """
        policy, _ = self.policy()
        self._clear()
        async with open_gym(policy, self.recipe.annealing, self.out, self.seed) as gym:
            book = make_book(TRAINED, 1_000 * self.seed + policy.version)
            seen, _ = await gym.roll(book, policy.version, self.recipe.k, keep=True)
        return summary(seen)

    def train(self) -> dict[str, float]:
        """One update by the rows that were exported last.

        Raises:
            UsageError: there are none that this policy gave.
        """
        policy, state = self.policy()
        rows = rows_in(self.rows) if self.rows.exists() else []
        if not rows or {version for row in rows for version in row.versions} != {policy.version}:
            raise UsageError(
                f"{self.rows} holds no rollouts of version {policy.version} of the policy",
                remedy="make some: python -m examples.parl rollouts",
            )
        learner = Learner(policy, self.recipe)
        if state:
            learner.load_state(state["optimizers"])
        learned = learner.update(rows, policy.version)
        kept = {"policy": policy.state_dict(), "version": policy.version, "optimizers": learner.state()}
        part = self._kept.with_suffix(".part")
        torch.save(kept, part)
        part.replace(self._kept)
        return asdict(learned)

    async def evaluate(self, books: int = 2) -> dict[str, float]:
        """Held-out tasks with the present policy. Raises as `roll`."""
        policy, _ = self.policy()
        seen: list[Seen] = []
        with tempfile.TemporaryDirectory(dir=self.out) as work:
            async with open_gym(policy, self.recipe.annealing, Path(work), self.seed) as gym:
                for number in range(books):
                    seen += (await gym.roll(make_book(HELD_OUT, HELD_OUT_SEED + number), policy.version, 1))[0]
        return summary(seen)

    def _clear(self) -> None:
        """Remove the runs of the rollouts before these."""
        for old in (self.out / f"rollouts-{self.recipe.k}", self.home / "runs"):
            if old.exists():
                remove_tree(old)
