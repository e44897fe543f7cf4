"""Muon (K. Jordan, 2024): the momentum of a matrix, made orthogonal by Newton and Schulz's iteration. What is no
matrix, and the tables at both ends, are left to AdamW."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer


class Muon(Optimizer):
    """Of matrices. An update has the root mean square of an update by Adam: 0.2·√max(rows, columns) times orthogonal,
    as in Moonlight (arXiv 2502.16982), so that both take the same rate."""

    def __init__(self, matrices: Iterable[Tensor], rate: float, momentum: float = 0.95) -> None:
        super().__init__(matrices, {"lr": rate, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # nobody here hands in a closure
        """Update all that have a gradient."""
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                held = self.state[matrix].setdefault("momentum", torch.zeros_like(matrix))
                held.lerp_(matrix.grad, 1 - group["momentum"])
                ahead = matrix.grad.lerp(held, group["momentum"])
                matrix.add_(orthogonal(ahead), alpha=-group["lr"] * 0.2 * max(matrix.shape) ** 0.5)


def orthogonal(matrix: Tensor, steps: int = 5) -> Tensor:
    """About the nearest matrix whose singular values are all 1, by a polynomial of fifth degree."""
    wide = matrix.shape[0] <= matrix.shape[1]
    x = matrix if wide else matrix.T
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    found: Tensor = x if wide else x.T
    return found


def optimizers(model: nn.Module, kind: str, rate: float) -> list[Optimizer]:
    """AdamW alone, or Muon for the matrices inside and AdamW for the rest."""
    matrices = [each for name, each in model.named_parameters() if each.ndim == 2 and "layers" in name]
    rest = [each for name, each in model.named_parameters() if not (each.ndim == 2 and "layers" in name)]
    if kind == "muon":
        return [Muon(matrices, rate), AdamW(rest, lr=rate, betas=(0.9, 0.95), weight_decay=0.0)]
    return [AdamW([*matrices, *rest], lr=rate, betas=(0.9, 0.95), weight_decay=0.0)]
