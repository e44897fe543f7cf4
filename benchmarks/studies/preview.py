"""How well cost previews hold, and how past runs sharpen them: runs of varied sizes, each previewed and then made.

    python -m benchmarks.studies.preview [--runs 40] [--seed 1] [--json FILE]

The model is the embedded endpoint with a script: every run has its own number of sub-tasks (2 to 24), its own
difficulty, wordiness and latency, its sub-tasks theirs (log-normal), of three kinds, some after others, and a quarter
of the runs plans a second stage. Calls, tokens and seconds are those of real runs in a home that is empty at first;
the sandboxes are fake ones. Told is, for the first 5, the others, and the last 20: how many of the 80 % ranges held,
how far the likely value was off (the median factor), and how wide the ranges were (the median of high to low).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio

from benchmarks.studies.measure import machine, save
from swarm import Parts, RunConfig, Swarm
from swarm.config import Price
from swarm.embedded.script import Script, ScriptPolicy
from swarm.embedded.server import running_endpoint
from swarm.events import CostPreviewed, Event, PreviewHeld
from swarm.preview import QUANTITIES, Preview, Quantity
from swarm.testing import FakeBackend

KINDS = {"find": 4.0, "edit": 8.0, "check": 2.5}
"""Median turns of a sub-task of each kind."""

PRICE = Price(prompt=0.6, completion=2.5, cached=0.15)


@dataclass
class Outcome:
    """One run: what was said of it, and what it came to."""

    preview: Preview | None = None
    held: PreviewHeld | None = None
    subtasks: int = 0

    def on_event(self, event: Event) -> None:
        if isinstance(event, CostPreviewed) and event.preview.stage == 1:
            self.preview, self.subtasks = event.preview, event.preview.subtasks
        elif isinstance(event, PreviewHeld):
            self.held = event


@dataclass
class Draft:
    """The script, run by run."""

    rng: random.Random
    rules: list[dict[str, Any]] = field(default_factory=list)

    def add(self, number: int) -> None:
        rng = self.rng
        harder, wordier, slower = (rng.lognormvariate(0, sigma) for sigma in (0.35, 0.3, 0.3))
        pace = {"first_token_s": {"median": 0.03 * slower, "sigma": 0.4}}
        first = self._stage("a", min(24, max(2, round(rng.lognormvariate(math.log(6), 0.7)))))
        stages = [first]
        if rng.random() < 0.25:
            stages.append(self._stage("b", max(1, round(len(first) * rng.uniform(0.2, 0.8)))))
        answers = [{"json": {"rationale": "r", "subtasks": stage}} for stage in (*stages, [])]
        at = rf"run {number}\b"
        self.rules.append({"role": "planner", "match": at, "turns": answers, "loop": False, **pace})
        for stage in stages:
            for subtask in stage:
                turns = max(1, round(KINDS[subtask["kind"]] * harder * rng.lognormvariate(0, 0.5)))
                own = wordier * rng.lognormvariate(0, 0.3)
                said = [self._turn(own) for _ in range(turns)]
                done = {"name": "submit", "arguments": {"status": "done", "summary": "found it. " * 10}}
                match = rf"(?s){at}.*Sub-task {subtask['id']}:"
                self.rules.append(
                    {"role": "subagent", "match": match, "turns": [*said, {"tool_calls": [done]}], **pace}
                )
        self.rules.append({"role": "aggregator", "match": at, "turns": [{"content": "all of it. " * 40}], **pace})

    def _stage(self, letter: str, number: int) -> list[dict[str, Any]]:
        rng = self.rng
        return [
            {
                "id": f"{letter}{n}",
                "title": "look",
                "instructions": "look " * rng.randint(5, 60),
                "kind": rng.choice(list(KINDS)),
                "depends_on": [f"{letter}{rng.randrange(n)}"] if n and rng.random() < 0.3 else [],
            }
            for n in range(number)
        ]

    def _turn(self, wordier: float) -> dict[str, Any]:
        words = max(1, round(40 * wordier * self.rng.lognormvariate(0, 0.5)))
        command = {"name": "bash", "arguments": {"command": f"echo {'word ' * words}"}}
        return {"content": "I look. " * words, "tool_calls": [command]}


async def made(options: argparse.Namespace) -> list[Outcome]:
    draft = Draft(random.Random(options.seed))
    for number in range(options.runs):
        draft.add(number)
    policy = ScriptPolicy(Script.model_validate({"seed": options.seed, "rules": draft.rules}), "the script")
    found: list[Outcome] = []
    async with running_endpoint({"embedded": policy}) as url:
        config = RunConfig(
            model="embedded", base_url=url, prices={"embedded": PRICE}, aggregate="text", seed=options.seed
        )
        async with Swarm(config=config, parts=Parts(backend=FakeBackend())) as swarm:
            for number in range(options.runs):
                outcome = Outcome()
                result = await swarm.run(f"run {number} of the benchmark", on_event=outcome.on_event)
                assert result.coverage.missing == 0, result
                found.append(outcome)
                print(row(number, outcome))
    return found


def row(number: int, outcome: Outcome) -> str:
    parts = [f"{number:3} {outcome.subtasks:3} sub-tasks"]
    assert outcome.held is not None
    for quantity in QUANTITIES:
        one = outcome.held.held[quantity]
        said = f"{one.range.low:.4g}..{one.range.high:.4g}"
        parts.append(f"{said:>17} {one.actual:8.4g} {' ' if one.held else '!'}")
    return "  ".join(parts)


def told(quantity: Quantity, outcomes: list[Outcome]) -> dict[str, float]:
    """The part of ranges that held, and the median factors of error and width."""
    held = [outcome.held.held[quantity] for outcome in outcomes if outcome.held]
    off = [abs(math.log(one.actual / one.range.likely)) for one in held]
    wide = [one.range.high / max(one.range.low, 1e-9) for one in held]
    return {
        "held": sum(one.held for one in held) / len(held),
        "off": math.exp(statistics.median(off)),
        "wide": statistics.median(wide),
    }


def main(options: argparse.Namespace) -> None:
    began = time.perf_counter()
    print("run" + "".join(f"  {quantity + ' said, came':>28}" for quantity in QUANTITIES))
    with tempfile.TemporaryDirectory() as home:
        os.environ["SWARM_HOME"] = home
        outcomes = anyio.run(made, options)
        size = sum(path.stat().st_size for path in Path(home).glob("runs/*/measured.json"))
    print(f"\n{machine()}, seed {options.seed}, {time.perf_counter() - began:.0f} s; history of {size:,} bytes")
    figures: dict[str, dict[str, dict[str, float]]] = {}
    parts = {"first 5": outcomes[:5], "6th and later": outcomes[5:], "last 20": outcomes[-20:]}
    for quantity in QUANTITIES:
        figures[quantity] = {name: told(quantity, part) for name, part in parts.items() if part}
        for name, one in figures[quantity].items():
            print(
                f"{quantity:15} {name:14} held {one['held']:4.0%}   likely off by {one['off']:5.2f}x   "
                f"high/low {one['wide']:7.2f}"
            )
    save(options.json, seed=options.seed, runs=[json.loads(o.held.model_dump_json()) for o in outcomes if o.held],
         figures=figures)  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", help="file for the raw figures")
    main(parser.parse_args())
