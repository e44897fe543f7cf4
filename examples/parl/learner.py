"""The trainer. All that it knows are rows that were exported from logs: tokens, mask, log-probabilities, rewards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from examples.parl.muon import optimizers
from examples.parl.policy import Policy, padded
from examples.parl.recipes import Recipe
from swarm.rl.export.catalog import export
from swarm.rl.filters import Filtered, Rates
from swarm.rl.shaping import advantages


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the export in the form `trl`."""

    tokens: list[int]
    mask: list[int]
    logprobs: list[float]
    reward: float
    group: str
    versions: list[int]
    run: str


@dataclass(frozen=True, slots=True)
class Learned:
    """What one update came to. `kl` is the mean of log π_rollout - log π_old over sampled tokens, `entropy` that of the
    tokens that were sampled, in nats; `staleness` the most versions that a row was behind."""

    rows: int
    loss: float
    kl: float
    entropy: float
    staleness: int
    tokens_rejected: float
    rows_rejected: float


def read_rows(folders: Sequence[Path], out: Path) -> list[Row]:
    """Export runs, and read what was exported."""
    export("trl", folders, out)
    return rows_in(out)


def rows_in(path: Path) -> list[Row]:
    """What `swarm export --format trl` wrote."""
    return [_row(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def _row(line: dict[str, Any]) -> Row:
    versions = [int(version) for version in line["model_versions"]]
    return Row(
        line["input_ids"],
        line["completion_mask"],
        line["old_log_probs"],
        line["reward"],
        line["group_id"],
        versions,
        line["metadata"]["run_id"],
    )


class Learner:
    """Updates a policy, in place, by rows: L = -E[ I·log π·Â ] with group baselines (see `swarm.rl.filters.MisPo`)."""

    def __init__(self, policy: Policy, recipe: Recipe) -> None:
        self.policy = policy
        self._recipe = recipe
        self._optimizers = optimizers(policy, recipe.optimizer, recipe.rate.start)

    def __repr__(self) -> str:
        return f"<Learner at version {self.policy.version}>"

    def state(self) -> list[dict[str, Any]]:
        """What the optimizers remember of earlier updates, for `load_state`."""
        return [optimizer.state_dict() for optimizer in self._optimizers]

    def load_state(self, kept: Sequence[dict[str, Any]]) -> None:
        """Go on as the learner that gave this `state`."""
        for optimizer, state in zip(self._optimizers, kept, strict=True):
            optimizer.load_state_dict(state)

    def update(self, rows: Sequence[Row], step: int) -> Learned:
        """One step of the optimizer on all rows; `step` is that of the schedules."""
        bonus = self._recipe.entropy.at(step)
        for group in (group for optimizer in self._optimizers for group in optimizer.param_groups):
            group["lr"] = self._recipe.rate.at(step)
        rows = sorted(rows, key=lambda row: (row.group, row.run))
        tokens, mask = padded([row.tokens for row in rows]), padded([row.mask for row in rows])[:, 1:]
        every = self.policy(tokens[:, :-1])
        said = every.gather(-1, tokens[:, 1:, None])[..., 0]
        rollout = torch.nn.utils.rnn.pad_sequence([torch.tensor(row.logprobs) for row in rows], batch_first=True)[:, 1:]
        filtered = self._filtered(said.detach(), rollout, mask)
        weights = torch.tensor(filtered.weights) if filtered is not None else mask.float()
        gain = torch.tensor(_advantages(rows))[:, None]
        sampled = mask.sum()
        entropy = (-(every.exp() * every).sum(-1) * mask).sum() / sampled
        loss = -(said * weights * gain).sum() / sampled - bonus * entropy
        for optimizer in self._optimizers:
            optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.policy.parameters(), 1.0)
        for optimizer in self._optimizers:
            optimizer.step()
        oldest = min(min(row.versions) for row in rows)
        behind = self.policy.version - oldest
        self.policy.version += 1
        rates = filtered.rates if filtered is not None else Rates(1, 1, 1, 1)
        return Learned(
            len(rows),
            loss.item(),
            (((rollout - said.detach()) * mask).sum() / sampled).item(),
            entropy.item(),
            behind,
            rates.tokens_rejected,
            rates.trajectories_rejected,
        )

    def _filtered(self, old: Tensor, rollout: Tensor, mask: Tensor) -> Filtered | None:
        chosen = self._recipe.filter
        return chosen.of(old.tolist(), rollout.tolist(), mask.tolist()) if chosen is not None else None


def _advantages(rows: Sequence[Row]) -> list[float]:
    """Each row's reward less the mean of the others of its group."""
    found: list[float] = []
    for _, group in groupby(rows, key=lambda row: row.group):
        found += advantages([row.reward for row in group], leave_one_out=True)
    return found
