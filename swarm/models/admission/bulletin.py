"""What happens at the endpoints, told once to each run that has calls there."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_KEPT = 100
_RUNS = 1000

Tell = Callable[[str], None]


class Bulletin:
    """Tells each reader every line once, in order; one that was away is told when it comes back, and a new one what
    still stands. Equal readers are one."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=_KEPT)
        self._posted = 0
        self._standing: dict[str, str] = {}
        self._here: Counter[Tell] = Counter()
        # By hash, which does not keep a run alive that has ended.
        self._read: OrderedDict[int, int] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Bulletin: {self._posted} lines, {len(self._here)} readers>"

    def post(self, about: str, text: str, *, stands: bool) -> None:
        """A line of news. While it `stands`, until the next one about the same, newcomers are told it, too."""
        self._lines.append(text)
        self._posted += 1
        self._standing.pop(about, None)
        if stands:
            self._standing[about] = text
        for tell in list(self._here):
            self._deliver(tell)

    @contextmanager
    def reading(self, tell: Tell | None) -> Iterator[None]:
        """Be told for the length of the block."""
        if tell is None:
            yield
            return
        self._deliver(tell)
        self._here[tell] += 1
        try:
            yield
        finally:
            self._here[tell] -= 1
            if not self._here[tell]:
                del self._here[tell]

    def _deliver(self, tell: Tell) -> None:
        read = self._read.pop(hash(tell), None)
        self._read[hash(tell)] = self._posted
        if len(self._read) > _RUNS:
            self._read.popitem(last=False)
        missed = self._posted - read if read is not None else 0
        for text in list(self._standing.values()) if read is None else list(self._lines)[len(self._lines) - missed :]:
            tell(text)
