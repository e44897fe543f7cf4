"""Who goes round in circles: the same few uses of tools with the same results, over and over."""

from __future__ import annotations

REPEATS = 6
"""The same use with the same result so many times in a row is one too many."""

ROUNDS = 4
"""So many times in a row the same few do as well."""

LONGEST_ROUND = 4

_KEPT = max(REPEATS, ROUNDS * LONGEST_ROUND)


class Repetition:
    """The last uses of one agent, in their order."""

    __slots__ = ("_uses",)

    def __init__(self) -> None:
        self._uses: list[tuple[str, int]] = []  # a deque takes 700 bytes for the first

    def __repr__(self) -> str:
        return f"<Repetition: {len(self._uses)} uses>"

    def forget(self) -> None:
        """Something moved on: what was before is no part of a circle."""
        self._uses.clear()

    def after(self, name: str, *what: str) -> str:
        """Take in a use; in words, what is repeated, empty where nothing is. `what`: all in which two uses differ."""
        use = (name, hash((name, *what)))
        self._uses.append(use)
        del self._uses[:-_KEPT]
        if self._uses.count(use) < ROUNDS:  # in every circle it would be there as often
            return ""
        uses = self._uses
        for length in range(1, LONGEST_ROUND + 1):
            times = REPEATS if length == 1 else ROUNDS
            last = uses[-length * times :]
            if len(last) == length * times and all(last[n] == last[n % length] for n in range(len(last))):
                names = ", ".join(each for each, _ in last[:length])
                calls = "call" if length == 1 else "calls"
                return f"the same {names} {calls} {times} times in a row"
        return ""
