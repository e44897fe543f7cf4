"""Stragglers on paper: what attempts that completed took, who was told to finish, and beside whom a second one is due.
No code of the product."""

from __future__ import annotations

from dataclasses import dataclass, field

Attempt = tuple[str, int]
LEAST_S = 1.0


@dataclass
class PaperLate:
    """`before` is how long attempts had been at work in processes that are gone; `hedged` are the sub-tasks that had
    their second attempt beside the first, or are to have one: the `wanted`."""

    hedge: bool
    now: float
    before: dict[Attempt, float] = field(default_factory=dict)
    began: dict[Attempt, float] = field(default_factory=dict)
    told: set[Attempt] = field(default_factory=set)
    hedged: set[str] = field(default_factory=set)
    wanted: set[str] = field(default_factory=set)
    took: list[float] = field(default_factory=list)
    longest: float = 0.0
    """The highest limit that there was: a quarter of it may pass until somebody looks."""

    def __post_init__(self) -> None:
        self.since = self.now
        """When the limit, or whether it holds, changed last."""

    @property
    def limit(self) -> float | None:
        return max(LEAST_S, sorted(self.took)[(len(self.took) + 1) // 2 - 1]) if self.took else None

    def begins(self, attempt: Attempt, now: float) -> None:
        self.began.setdefault(attempt, now - self.before.get(attempt, 0.0))

    def completed(self, attempt: Attempt, now: float) -> None:
        self.took.append(now - self.began[attempt])
        self.longest, self.since = max(self.longest, self.limit or 0.0), now

    def seconds(self, attempt: Attempt, now: float) -> float:
        return now - self.began.get(attempt, now)

    def tells(self, attempt: Attempt, now: float, limit: float) -> None:
        """It is told that it is late."""
        assert attempt not in self.told, "it is told twice"
        assert self.limit == limit, "the limit is another one"
        assert self.seconds(attempt, now) >= limit, "it is told before it is late"
        self.told.add(attempt)
        if self.hedge and attempt[0] not in self.hedged:
            self.hedged.add(attempt[0])
            self.wanted.add(attempt[0])

    def is_forgotten(self, attempt: Attempt, now: float) -> bool:
        """Whether somebody must have told it by now."""
        look = self.longest / 4 + 0.01
        if self.limit is None or attempt in self.told or now - self.since < look:
            return False
        return self.seconds(attempt, now) >= self.limit + look
