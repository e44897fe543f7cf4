"""Plans, terms and past runs for tests of forecasts."""

from __future__ import annotations

import random
from typing import Any

from swarm.config import Price, RunConfig
from swarm.forecast.rows import Row, Sample, StageRow, Use, digest
from swarm.forecast.terms import Terms, terms_of
from swarm.preview import Range
from swarm.types import Plan, Role, SubTask

PRICE = Price(prompt=1, completion=4, cached=0.1)


def make_plan(number: int, needs: dict[int, list[int]] | None = None) -> Plan:
    return Plan(
        subtasks=tuple(
            SubTask(
                id=f"s{n}", title="t", instructions="i", depends_on=tuple(f"s{i}" for i in (needs or {}).get(n, []))
            )
            for n in range(number)
        )
    )


def make_terms(price: Price | None = PRICE, **config: Any) -> Terms:
    return terms_of(RunConfig(**config), "/r", dict.fromkeys(Role, "m"), dict.fromkeys(Role, price))


def make_row(number: int, *, repo: str = "/r", model: str = "m", calls: float = 10, **more: Any) -> Row:
    rng = random.Random(number)
    samples = []
    for _ in range(6):
        steps = max(1, round(calls * rng.lognormvariate(0, 0.3)))
        prompt = sum(1000 + 500 * n for n in range(steps))
        samples.append(Sample("", Use(steps, prompt, prompt // 2, 100 * steps, 0), 1000, 2.0 * steps))
    tokens = sum(sample.use.tokens for sample in samples)
    return Row.model_validate(
        {
            "run": f"run-{number:03}",
            "started": float(number),
            "mode": "plan",
            "model": digest(model),
            "repository": digest(repo),
            "subtasks": 6,
            "samples": samples,
            "slack": 1.1,
            "stages": (StageRow(tokens, 5.0, 1),),
            "lead": Use(1, 3000, 0, 200, 0),
            "merging": Use(),
            **more,
        }
    )


def width(found: Range) -> float:
    return found.high / found.low
