"""A few iterations of examples/parl, really: run by `test_parl_training.py` where torch is. Prints what came of it."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import anyio
import torch

from examples.parl.gym import open_gym
from examples.parl.learner import Learner, Row
from examples.parl.policy import Policy, padded
from examples.parl.pretraining import Pretraining, pretrained
from examples.parl.recipes import FULL
from examples.parl.vocabulary import ROLES
from examples.parl.world import TRAINED, make_book
from swarm.rl.shaping import advantages

Turn = tuple[tuple[int, ...], tuple[int, ...], tuple[float, ...]]
"""Tokens before it, tokens that were sampled, and their log-probabilities."""


def turns(row: Row) -> list[Turn]:
    """The sampled spans of a row."""
    found: list[Turn] = []
    at = 0
    while at < len(row.tokens):
        end = at
        while end < len(row.tokens) and row.mask[end]:
            end += 1
        if end > at:
            found.append((tuple(row.tokens[:at]), tuple(row.tokens[at:end]), floats(row.logprobs[at:end])))
        at = max(end, at + 1)
    return found


def floats(logprobs: Sequence[float]) -> tuple[float, ...]:
    """As the log keeps them: in 32 bits."""
    return tuple(torch.tensor(logprobs, dtype=torch.float32).tolist())


def favoured(policy: Policy, rows: Sequence[Row]) -> float:
    """Σ advantage · log π of what was sampled: it rises where what was rewarded becomes likelier."""
    tokens, mask = padded([row.tokens for row in rows]), padded([row.mask for row in rows])[:, 1:]
    groups: dict[str, list[float]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row.reward)
    spare = {name: iter(advantages(rewards, leave_one_out=True)) for name, rewards in groups.items()}
    gains = torch.tensor([next(spare[row.group]) for row in rows])
    with torch.no_grad():
        said = policy(tokens[:, :-1]).gather(-1, tokens[:, 1:, None])[..., 0]
    return float(((said * mask).sum(-1) * gains).sum())


async def main(work: Path) -> None:
    torch.set_num_threads(1)
    policy = pretrained(Pretraining(seed=3, steps=60, stories=16))
    learner = Learner(policy, FULL)
    before = [each.detach().clone() for each in policy.parameters()]
    found = []
    async with open_gym(policy, FULL.annealing, work, seed=0) as gym:
        for step in range(3):
            gym.endpoint.sampled = []
            seen, rows = await gym.roll(make_book(TRAINED, step), step, k=4)
            sampled = Counter(
                (tuple(prompt), tuple(turn.ids), floats(turn.logprobs))
                for prompt, turn in gym.endpoint.sampled
                if prompt[0] == ROLES["system"]  # a probe has no system prompt
            )
            exported = Counter(turn for row in rows for turn in turns(row))
            was = favoured(policy, rows)
            learned = learner.update(rows, step)
            found.append(
                {
                    "runs": len(seen),
                    "rows": len(rows),
                    "turns": sum(sampled.values()),
                    "missing": sum((sampled - exported).values()),
                    "invented": sum((exported - sampled).values()),
                    "versions": sorted({version for row in rows for version in row.versions}),
                    "kl": learned.kl,
                    "risen": favoured(policy, rows) - was,
                }
            )
    moved = sum(float((new - old).abs().sum()) for new, old in zip(policy.parameters(), before, strict=True))
    sys.stdout.write(json.dumps({"iterations": found, "moved": moved, "version": policy.version}) + "\n")


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]))
