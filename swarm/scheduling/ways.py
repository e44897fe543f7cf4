"""The longest way through sub-tasks that take steps while it is measured: one comes after those that it waits for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence


class Peak:
    """The highest of many levels, each of which goes up and down by itself."""

    def __init__(self) -> None:
        self.height = 0
        self._at: Counter[int] = Counter()

    def __repr__(self) -> str:
        return f"<Peak {self.height}>"

    def move(self, old: int, new: int) -> None:
        """One of them moved; each begins at 0."""
        self._at[new] += 1
        if old:
            self._at[old] -= 1
        self.height = max(self.height, new)
        while self.height and not self._at[self.height]:
            self.height -= 1


class Ways:
    """Where each node's steps end, if they begin where the last of those ended that it needs. Nodes that need nothing
    work side by side, and so do those that are not in `needs`.

    Only what hangs on a node and has been asked for follows it: most come when what they need is over.
    """

    def __init__(self, needs: Mapping[str, Sequence[str]] | None = None) -> None:
        self._needs = dict(needs or {})
        self._steps: dict[str, int] = {}
        self._begin: dict[str, int] = {}
        self._after: dict[str, list[str]] = {}
        self._peak = Peak()

    def __repr__(self) -> str:
        return f"<Ways: {self.longest} by {len(self._begin)}>"

    @property
    def longest(self) -> int:
        """The steps of the longest way."""
        return self._peak.height

    def add(self, node: str, needs: Sequence[str]) -> None:
        """A node that has not been asked for needs these."""
        self._needs[node] = needs

    def before(self, node: str) -> int:
        """The steps of the longest way that leads to a node."""
        todo = [node] if node not in self._begin else []
        while todo:
            at = todo[-1]
            missing = [other for other in self._needs.get(at, ()) if other not in self._begin]
            if missing:
                todo += missing
                continue
            todo.pop()
            if at not in self._begin:
                for other in self._needs.get(at, ()):
                    self._after.setdefault(other, []).append(at)
                self._begin[at] = self._earliest(at)
                self._peak.move(0, self._begin[at])
        return self._begin[node]

    def end(self, node: str) -> int:
        """The same with the node's own steps."""
        return self.before(node) + self._steps.get(node, 0)

    def set(self, node: str, steps: int) -> int:
        """The node has taken so many steps altogether. Gives by how much the longest way is longer."""
        longest = self._peak.height
        begin = self._begin.get(node)
        if begin is None:
            begin = self.before(node)
        was = begin + self._steps.get(node, 0)
        self._steps[node] = steps
        if self._after.get(node):
            self._follow(node, was)
        elif begin + steps != was:  # as a rule
            self._peak.move(was, begin + steps)
        return self._peak.height - longest

    def _follow(self, node: str, was: int) -> None:
        """A node's way ended there before; so it may be with all that hangs on it."""
        ends = {node: was}  # of those that may have changed, as they were
        todo = [node]
        while todo:
            at = todo.pop()
            before = ends.pop(at)
            now = self.end(at)
            if now == before:
                continue
            self._peak.move(before, now)
            for other in self._after.get(at, ()):
                if other not in ends:
                    ends[other] = self.end(other)
                    todo.append(other)
                self._begin[other] = self._earliest(other)

    def longest_with(self, node: str, steps: int) -> int:
        """The longest way, if the node had taken so many steps altogether."""
        if not self._after.get(node):
            return max(self.longest, self.before(node) + steps)
        was = self._steps.get(node, 0)
        self.set(node, steps)
        longest = self.longest
        self.set(node, was)
        return longest

    def _earliest(self, node: str) -> int:
        return max((self.end(other) for other in self._needs.get(node, ())), default=0)
