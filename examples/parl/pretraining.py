"""The policy that learning begins with: it can hold a conversation, and mostly works alone (serial collapse)."""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch

from examples.parl.policy import Policy, padded
from examples.parl.stories import Habits, Story, made_up
from examples.parl.world import CHAIN, WIDE, Shape, make_book
from swarm.prompts.texts import own_prompts


@dataclass(frozen=True, slots=True)
class Pretraining:
    """Steps of AdamW over so many stories each, with the rate going down to zero. `first` is the part of these that
    delegates, for three quarters of the steps, so that it is known how; `then` hardly any do."""

    seed: int = 0
    steps: int = 1500
    stories: int = 32
    rate: float = 3e-3
    first: float = 0.6
    then: float = 0.12


def pretrained(settings: Pretraining) -> Policy:
    """A policy that imitates `stories`, always the same for a seed (and a version of torch)."""
    torch.manual_seed(settings.seed)
    chance = random.Random(f"stories {settings.seed}")
    policy = Policy()
    optimizer = torch.optim.AdamW(policy.parameters(), lr=settings.rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.rate, total_steps=settings.steps)
    for step in range(settings.steps):
        habits = Habits(settings.first if step < 0.75 * settings.steps else settings.then)
        loss = imitation(policy, some_stories(settings.stories, habits, chance))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return policy


def some_stories(count: int, habits: Habits, chance: random.Random) -> list[Story]:
    """Stories of tasks of all kinds and sizes; their books are none of those that are learnt on or held out."""
    system = own_prompts()["orchestrator"]
    stories: list[Story] = []
    while len(stories) < count:
        wide = Shape(WIDE, size := chance.randint(1, 8), chance.randint(0, min(2, size)))
        for task in make_book([wide, Shape(CHAIN, chance.randint(2, 4))], -chance.randint(1, 10**9)):
            stories.append(made_up(task, system, habits, chance))
    return stories[:count]


def imitation(policy: Policy, stories: list[Story]) -> torch.Tensor:
    """The mean cross-entropy of what the assistant says."""
    tokens, mask = padded([story.tokens for story in stories]), padded([story.mask for story in stories])
    said = policy(tokens[:, :-1]).gather(-1, tokens[:, 1:, None])[..., 0]
    loss: torch.Tensor = -(said * mask[:, 1:]).sum() / mask.sum()
    return loss
