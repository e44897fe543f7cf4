"""Two ends that send each other messages, which arrive in order, and when the test says so. They go as they would
between processes."""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Callable
from typing import Any


class Channel:
    """Messages under way to one end."""

    def __init__(self) -> None:
        self.under_way: deque[bytes] = deque()
        self.sent: list[Any] = []
        self.hear: Callable[[Any], None] | None = None

    def send(self, message: object) -> None:
        self.sent.append(message)
        self.under_way.append(pickle.dumps(message))

    def deliver(self, most: int = 1_000_000) -> int:
        """Let some arrive; gives how many did."""
        count = min(most, len(self.under_way))
        for _ in range(count):
            message = pickle.loads(self.under_way.popleft())
            if self.hear is not None:
                self.hear(message)
        return count

    @property
    def arrived(self) -> list[Any]:
        return self.sent[: len(self.sent) - len(self.under_way)]

    def cut(self) -> None:
        """Nothing arrives any more."""
        self.hear = None
        self.under_way.clear()
