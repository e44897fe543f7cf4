"""One training: rollouts of the real runtime, exported, learnt from; and held-out tasks now and then."""

from __future__ import annotations

import copy
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from examples.parl.gym import open_gym
from examples.parl.learner import Learner
from examples.parl.measuring import Seen, summary
from examples.parl.policy import Policy
from examples.parl.recipes import Recipe
from examples.parl.world import HELD_OUT, TRAINED, make_book

HELD_OUT_SEED = 1_000_000
"""Of the first held-out book; those that are learnt on lie below, of each seed a thousand."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Which training, and where: `out` takes its results, `work` everything that is thrown away afterwards.

    Held-out tasks are tried before the first iteration and after each `every`, a few books of them; after the last
    one, as many books as `last`."""

    name: str
    recipe: Recipe
    seed: int
    out: Path
    work: Path
    every: int = 10
    books: int = 2
    last: int = 8


async def train(plan: Plan, base: Policy) -> Policy:
    """Train a copy of `base`; writes a line of JSON for each iteration and each trial, the last of them `"last": true`.

    Raises:
        SwarmError: the runtime cannot be used on this machine.
    """
    torch.manual_seed(plan.seed)
    recipe, began = plan.recipe, time.monotonic()
    learner, behaviour = Learner(copy.deepcopy(base), recipe), copy.deepcopy(base)
    with plan.out.open("w", encoding="utf-8") as out:

        def note(**line: Any) -> None:
            whole = {"recipe": plan.name, "seed": plan.seed, **line, "seconds": round(time.monotonic() - began, 1)}
            out.write(json.dumps(whole) + "\n")
            out.flush()

        async with open_gym(behaviour, recipe.annealing, plan.work, plan.seed) as gym:

            async def trial(step: int, books: int) -> None:
                gym.endpoint.policy = learner.policy
                seen: list[Seen] = []
                for number in range(books):
                    seen += (await gym.roll(make_book(HELD_OUT, HELD_OUT_SEED + number), step, 1))[0]
                found = summary(seen)
                note(step=step, held_out=found, last=step == recipe.iterations)
                worth, wide, chain = found["perf"], found["wide_delegated"], found["chain_delegated"]
                print(
                    f"{plan.name}, seed {plan.seed}, iteration {step} of {recipe.iterations}: a held-out run is ",
                    end="",
                )
                print(f"worth {worth:.2f}; delegated: wide {wide:.0%}, chains {chain:.0%}", flush=True)
                gym.endpoint.policy = behaviour

            for step in range(recipe.iterations):
                if step % plan.every == 0:
                    await trial(step, plan.books)
                if step % recipe.refresh == 0:
                    behaviour.load_state_dict(learner.policy.state_dict())
                    behaviour.version = learner.policy.version
                seen, rows = await gym.roll(make_book(TRAINED, 1_000 * plan.seed + step), step, recipe.k)
                learned = learner.update(rows, step)
                note(step=step, trained=summary(seen), learned=asdict(learned))
            await trial(recipe.iterations, plan.last)
    return learner.policy
