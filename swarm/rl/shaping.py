"""Rewards that look at lengths and groups: Toggle, the length rewards of K1.5 and K3, group baselines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev


@dataclass(frozen=True, slots=True)
class Toggle:
    """K2.5's Toggle (arXiv 2602.02276): phases of `period` training steps, by turns bounded by a budget and free.

    In even phases, ⌊t/period⌋ mod 2 = 0, a reward counts only where the group's mean accuracy is below `accuracy`, or
    the answer is within the budget of its task; in odd phases always.
    """

    period: int
    accuracy: float

    def __post_init__(self) -> None:
        if self.period < 1:
            raise ValueError(f"a phase has 1 step or more, not {self.period}")

    def of(
        self, step: int, rewards: Sequence[float], correct: Sequence[bool], lengths: Sequence[int], budget: float
    ) -> list[float]:
        """The rewards of one group at a training step. `lengths` and `budget` are in tokens of output."""
        _same_length(rewards, correct, lengths)
        bounded = (step // self.period) % 2 == 0
        if not bounded or not rewards or fmean(correct) < self.accuracy:
            return list(rewards)
        return [reward if length <= budget else 0.0 for reward, length in zip(rewards, lengths, strict=True)]


def toggle_budget(lengths_of_correct: Sequence[int], percentile: float) -> float:
    """The budget of a task: the percentile rho (0..100) of the lengths of its correct answers, estimated once.

    Linear between ranks. Raises ValueError without a correct answer: such a task has no budget."""
    if not lengths_of_correct:
        raise ValueError("a task without a correct answer has no budget")
    if not 0 <= percentile <= 100:
        raise ValueError(f"a percentile lies in 0..100, not {percentile}")
    ranked = sorted(lengths_of_correct)
    rank = (len(ranked) - 1) * percentile / 100
    low = math.floor(rank)
    high = min(low + 1, len(ranked) - 1)
    return ranked[low] + (ranked[high] - ranked[low]) * (rank - low)


def length_rewards(lengths: Sequence[int], correct: Sequence[bool]) -> list[float]:
    """K1.5's length reward over a group (arXiv 2501.12599): λ = 0.5 - (len - min)/(max - min); a correct answer gets λ,
    a wrong one min(0, λ). All of one length: 0 for each."""
    _same_length(lengths, correct)
    if not lengths or max(lengths) == min(lengths):
        return [0.0] * len(lengths)
    least, span = min(lengths), max(lengths) - min(lengths)
    values = [0.5 - (length - least) / span for length in lengths]
    return [value if good else min(0.0, value) for value, good in zip(values, correct, strict=True)]


def overlong(reward: float, length: int, cold_start: float, tau: float) -> float:
    """K3: -1 in place of the reward where an answer has more than τ times the tokens of the cold-start model's."""
    return -1.0 if length > tau * cold_start else reward


def advantages(
    rewards: Sequence[float], *, masked: Sequence[bool] = (), leave_one_out: bool = False, scale: bool = False
) -> list[float]:
    """Rewards of one group less its baseline: the mean of the group (K2.5's r̄), or of the others (`leave_one_out`).

    `scale` divides by the group's standard deviation (GRPO); a group without any spread gives zeros. `masked` rollouts,
    ended by a machine, count for no baseline and get 0.
    """
    hidden = masked or [False] * len(rewards)
    _same_length(rewards, hidden)
    seen = [reward for reward, gone in zip(rewards, hidden, strict=True) if not gone]
    if len(seen) < 2:
        return [0.0] * len(rewards)
    total, count = math.fsum(seen), len(seen)
    spread = pstdev(seen) if scale else 1.0
    if spread == 0:
        return [0.0] * len(rewards)

    def baseline(reward: float) -> float:
        return (total - reward) / (count - 1) if leave_one_out else total / count

    return [0.0 if gone else (r - baseline(r)) / spread for r, gone in zip(rewards, hidden, strict=True)]


def _same_length(*columns: Sequence[object]) -> None:
    if len({len(column) for column in columns}) > 1:
        raise ValueError(f"of one group, but of {', '.join(str(len(column)) for column in columns)} rollouts")
