"""Who broke it: for each test the first red tree of a chain."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping

import anyio

Probe = Callable[[int, tuple[str, ...]], Awaitable[Collection[str]]]
"""Which of these tests are red on that tree of a chain."""

Span = tuple[int, int]
"""Of one test: the last tree that is known to be green (-1: what stands before the chain), and the first red one."""


class Turns:
    """Searches an ordered chain of trees for those with which tests turn red. `spans` says how far it has come."""

    def __init__(self, spans: Mapping[str, Span], width: int = 1) -> None:
        """`spans`: where each test is known to be green and, later, red. `width` trees are tested at once.

        Raises:
            ValueError: a span without an end, or no width.
        """
        if width < 1 or any(green >= red for green, red in spans.values()):
            raise ValueError(f"nothing can be found in {dict(spans)}, {width} at once")
        self.spans = dict(spans)
        self._width = width

    async def search(self, red: Probe, stopped: Callable[[], bool] = lambda: False) -> bool:
        """Narrow all spans to one step; no tree is tested twice for one test. Where a test turns red and green again,
        one of the places where it turns red is found. False where it was `stopped` before that."""
        while places := self._next():
            if stopped():
                return False
            wanted = {at: tuple(t for t, (a, b) in self.spans.items() if a < at < b) for at in places}
            found: dict[int, frozenset[str]] = {}

            async def probe(
                at: int, wanted: dict[int, tuple[str, ...]] = wanted, found: dict[int, frozenset[str]] = found
            ) -> None:
                found[at] = frozenset(await red(at, wanted[at]))

            async with anyio.create_task_group() as group:
                for at in places:
                    group.start_soon(probe, at)
            for test, (green, broken) in self.spans.items():
                asked = [at for at in places if green < at < broken]
                first = next((at for at in asked if test in found[at]), broken)
                self.spans[test] = max((at for at in asked if at < first), default=green), first
        return True

    def _next(self) -> list[int]:
        """The trees to be tested now."""
        open_ = sorted({(green, red) for green, red in self.spans.values() if red - green > 1})
        if len(open_) == 1:
            return between(*open_[0], self._width)
        return sorted({(green + red) // 2 for green, red in open_[: self._width]})


def between(green: int, broken: int, width: int) -> list[int]:
    """At most `width` places that cut what lies between into parts of the same size, in order."""
    inside = broken - green - 1
    parts = min(width, inside) + 1
    return [green + (broken - green) * part // parts for part in range(1, parts)]
