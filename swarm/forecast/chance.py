"""The numbers of chance behind the futures: the same each time, and more even than chance, so that fewer futures tell
as much."""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist

_LINE = 0.6180339887498949  # each further multiple falls into the widest gap that those before have left
_SQUARE = (0.7548776662466927, 0.5698402909980532)  # the same for points of a square
_PRIMES = (
    *(2, 3, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 89, 97, 103, 107, 109, 113),
    *(127, 131, 137, 139, 149, 151, 157, 163, 167, 173, 179, 181, 191, 193, 211, 229, 239, 241, 251, 263, 271),
)
"""The multiples of their roots hang together neither with each other nor, as those of 5 would, with the first above.
Others are left out whose roots are so near a small fraction that a few hundred multiples lie in heaps."""


class Chance:
    """For so many futures. What a choice comes to in one of them does not hang on how many others there are, so a
    larger plan costs more than a smaller one in each."""

    def __init__(self, futures: int) -> None:
        self._futures = futures
        self._columns: dict[int, list[float]] = {}

    def __repr__(self) -> str:
        return f"<Chance of {self._futures} futures, {len(self._columns)} choices>"

    def rows(self) -> list[float]:
        """Where each future falls among all past runs: 0 to 1."""
        return self._even(_LINE)

    def noise(self) -> tuple[list[float], list[float]]:
        """Two normally distributed numbers for each future."""
        at = NormalDist().inv_cdf
        one, other = (self._even(step) for step in _SQUARE)
        return list(map(at, one)), list(map(at, other))

    def choice(self, number: int) -> list[float]:
        """What the choice of this number comes to in each future: 0 to 1."""
        found = self._columns.get(number)
        if found is None:
            found = self._columns[number] = self._even(sqrt(_PRIMES[number % len(_PRIMES)]))
        return found

    def _even(self, step: float) -> list[float]:
        return [(0.5 + n * step) % 1.0 for n in range(self._futures)]
