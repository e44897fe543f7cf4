"""How far an evaluation is: counts of its trials, what they cost, and when it may be done."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from swarm.evals.records import TrialResult
from swarm.evals.stats import Interval, share

Key = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Count:
    """Of some trials: how many are asked for, have a verdict, are resolved, were failed by the machine. `cost_usd` is
    None where the price of a model is not known; it and `tokens` hold what was set aside, too. `verdicts` are those of
    each instance: empty where trials of several arms are counted together, which have no rate in common."""

    asked: int
    graded: int
    resolved: int
    errored: int
    score: float
    cost_usd: float | None
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    calls: int
    tokens: int
    verdicts: tuple[tuple[bool, ...], ...]

    @property
    def left(self) -> int:
        return self.asked - self.graded - self.errored

    @property
    def rate(self) -> Interval | None:
        """The part of its trials that an instance resolves, over those with a verdict; None where there is none."""
        return share(self.verdicts) if self.verdicts else None

    def figures(self) -> dict[str, Any]:
        """As it stands in reports and envelopes."""
        rate = self.rate
        return {
            "trials": self.asked,
            "graded": self.graded,
            "resolved": self.resolved,
            "errored": self.errored,
            "left": self.left,
            "rate": rate.value if rate else None,
            "rate_95": [rate.low, rate.high] if rate else None,
            "mean_score": self.score,
            "cost_usd": self.cost_usd,
            "usage": {
                "prompt_tokens": self.prompt_tokens,
                "completion_tokens": self.completion_tokens,
                "cached_tokens": self.cached_tokens,
                "calls": self.calls,
                "tokens": self.tokens,
            },
        }


def count(asked: int, trials: Collection[TrialResult]) -> Count:
    """Count those trials, of so many that are asked for."""
    graded = [each for each in trials if each.resolved is not None]
    ran = [each for each in trials if each.status is not None]
    costs = [each.spent_usd for each in trials]
    known = [cost for cost in costs if cost is not None]
    verdicts: dict[str, list[bool]] = {}
    for each in graded if len({each.arm for each in graded}) == 1 else ():
        verdicts.setdefault(each.instance_id, []).append(each.resolved is True)
    return Count(
        asked=asked,
        graded=len(graded),
        resolved=sum(each.resolved is True for each in graded),
        errored=len(trials) - len(graded),
        score=sum(each.score for each in graded) / len(graded) if graded else 0.0,
        cost_usd=math.fsum(known) if len(known) == len(costs) else None,
        prompt_tokens=sum(each.prompt_tokens for each in ran),
        completion_tokens=sum(each.completion_tokens for each in ran),
        cached_tokens=sum(each.cached_tokens for each in ran),
        calls=sum(each.calls for each in ran),
        tokens=sum(each.spent_tokens for each in trials),
        verdicts=tuple(map(tuple, verdicts.values())),
    )


def failures(trials: Iterable[TrialResult]) -> Counter[str]:
    """Why trials are not resolved, by kind."""
    kinds: Counter[str] = Counter()
    for each in trials:
        if each.resolved is None:
            kinds["machine"] += 1
        elif not each.resolved:
            kinds[str(each.details.get("kind") or each.status or "not resolved")] += 1
    return kinds


@dataclass
class Progress:
    """What is shown while it goes on. `asked` are the trials of this process, `trials` their lines so far, `done` those
    that got theirs in this process, since it `began`."""

    asked: tuple[Key, ...]
    began: float
    trials: dict[Key, TrialResult] = field(default_factory=dict)
    done: int = 0
    running: set[Key] = field(default_factory=set)
    grading: set[Key] = field(default_factory=set)

    def count(self) -> Count:
        return count(len(self.asked), self.trials.values())

    def per_hour(self, now: float) -> float:
        """Trials that got their line in this process, by the hour."""
        return 3600 * self.done / max(1e-9, now - self.began)

    def left_s(self, now: float) -> float | None:
        """Seconds until all is done, if it goes on as so far; None where nothing is known yet."""
        left = len(self.asked) - len(self.trials)
        return left * 3600 / self.per_hour(now) if self.done and left else (0.0 if not left else None)
