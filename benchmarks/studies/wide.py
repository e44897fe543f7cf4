"""A wide task, a value for each of 100 items: `plan` and `parl` with an agent for each against `single`.

    python -m benchmarks.studies.wide [--items 100] [--lookups 4] [--scale 4] [--rounds 1] [--quick] [--json FILE]

Real runs of `Swarm` without a repository, against the embedded endpoint in a process of its own. A value takes so many
uses of a tool, each of which needs what the last one gave, so a call of the model each. A call takes as long as a
model's would, `scale` times faster: log-normal until the first token (median 1.5 s, sigma 0.5), then 80 tokens a
second, which a plan of 100 sub-tasks and a table of 100 rows cost as well. Every answer is checked: it must hold all
values. Wall clock and critical steps (PARL: those of the orchestrator, and of the longest sub-agent of each stage) as
ratios of `single` within one run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio

from benchmarks.studies.measure import machine, save
from swarm import RunResult, Swarm, tool
from swarm.config import Mode, RunConfig
from swarm.parts import Parts

MODES: tuple[Mode, ...] = ("single", "plan", "parl")
MEDIAN_S, SIGMA, TOKENS_PER_S = 1.5, 0.5, 80.0
HEAD = "| item | value |\n|---|---|"


@tool
async def lookup(item: int, part: int) -> str:
    """Look up a part of an item.

    Args:
        item: its number
        part: which part, from 1
    """
    return f"part {part} of item {item}: the next part is needed; the value so far is v{item}"


def _use(item: int | str, part: int) -> dict[str, Any]:
    if isinstance(item, str):
        return {"tool_calls": [{"name": "lookup", "raw": f'{{"item": {item}, "part": {part}}}'}]}
    return {"tool_calls": [{"name": "lookup", "arguments": {"item": item, "part": part}}]}


def _submit(text: str) -> dict[str, Any]:
    return {"tool_calls": [{"name": "submit", "arguments": {"status": "done", "summary": text}}]}


def script(items: int, lookups: int, scale: float) -> dict[str, Any]:
    """The policy of the endpoint: what a model would do in each mode."""
    numbers, parts = range(1, items + 1), range(1, lookups + 1)
    table = "\n".join([HEAD, *(f"| item {n} | v{n} |" for n in numbers)])
    plan = [{"id": f"i{n}", "title": f"Item {n}", "instructions": f"Find item {n}."} for n in numbers]
    kind = {"name": "finder", "system_prompt": "You find the value of one item by looking up its parts in turn."}
    starts = [{"name": "assign_task", "arguments": {"agent": "finder", "prompt": f"Find item {n}."}} for n in numbers]
    delegation = [
        {"tool_calls": [{"name": "create_subagent", "arguments": kind}]},
        {"tool_calls": starts},
        {"content": table},
    ]
    one = [*(_use("{{n}}", part) for part in parts), _submit(f"{HEAD}\n| item {{{{n}}}} | v{{{{n}}}} |")]
    alone = [*(_use(n, part) for n in numbers for part in parts), _submit(table)]
    return {
        "seed": 1,
        "first_token_s": {"median": MEDIAN_S / scale, "sigma": SIGMA},
        "tokens_per_s": TOKENS_PER_S * scale,
        "rules": [
            {"role": "planner", "match": "Mode: parl", "turns": delegation},
            {"role": "planner", "turns": [{"json": {"rationale": "one for each", "subtasks": plan}}]},
            {"role": "subagent", "match": r"Find item (?P<n>\d+)\.", "turns": one},
            {"role": "subagent", "turns": alone},
            {"role": "aggregator", "turns": [{"content": table}]},
        ],
    }


@contextmanager
def endpoint(policy: dict[str, Any]) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "script.json"
        file.write_text(json.dumps(policy))
        command = [sys.executable, "-m", "swarm", "endpoint", "--policy", f"script:{file}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                yield process.stdout.readline().split()[-1]
            finally:
                process.terminate()


def configured(mode: Mode, url: str, options: argparse.Namespace) -> RunConfig:
    return RunConfig(
        mode=mode,
        model="embedded",
        base_url=url,
        max_agents=options.items,
        concurrency=options.items,
        max_steps=options.items * options.lookups + 10,
        aggregate="table" if mode == "plan" else "auto",
        table_key=("item",) if mode == "plan" else (),
    )


async def run(mode: Mode, url: str, options: argparse.Namespace) -> RunResult:
    async with Swarm(config=configured(mode, url, options), parts=Parts(tools=(lookup,))) as swarm:
        result = await swarm.run(f"Give a table with the value of each of the {options.items} items. Mode: {mode}")
    found = dict(re.findall(r"\| *item (\d+) *\| *v(\d+) *\|", result.answer))
    right = sum(found.get(str(n)) == str(n) for n in range(1, options.items + 1))
    assert right == options.items, f"{mode}: {right} of {options.items} values; {result.status}: {result.outcomes}"
    return result


async def main(options: argparse.Namespace) -> None:
    runs: dict[str, list[RunResult]] = {mode: [] for mode in MODES}
    print(
        f"{options.items} items x {options.lookups} lookups, {options.scale:g} times faster than a model, {machine()}"
    )
    with tempfile.TemporaryDirectory() as home, endpoint(script(options.items, options.lookups, options.scale)) as url:
        os.environ["SWARM_HOME"] = home
        async with Swarm(config=configured("plan", url, options)) as swarm:  # imports and the like
            await swarm.run("Plan it.", dry_run=True)
        for _ in range(options.rounds):
            for mode in MODES:
                runs[mode].append(await run(mode, url, options))
    print(f"{'mode':8} {'wall s':>8} {'to single':>10} {'critical steps':>15} {'to single':>10}", end="")
    print(f" {'all steps':>10} {'most agents at once':>20}")
    alone = statistics.median(each.wall_s for each in runs["single"])
    for name, each in runs.items():
        wall, first = statistics.median(result.wall_s for result in each), each[0]
        steps = runs["single"][0].critical_steps / first.critical_steps
        print(f"{name:8} {wall:8.1f} {alone / wall:9.1f}x {first.critical_steps:15} {steps:9.1f}x", end="")
        print(f" {first.total_steps:10} {max(result.peak_concurrency for result in each):20}")
    print(f"{machine()}; the endpoint is on this machine as well")
    save(options.json, **{mode: [result.model_dump(mode="json", exclude={"answer"}) for result in each]
                          for mode, each in runs.items()})  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100)
    parser.add_argument("--lookups", type=int, default=4, help="uses of the tool for one item")
    parser.add_argument("--scale", type=float, default=4, help="times faster than a model")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="10 items, 40 times faster: does it work?")
    parser.add_argument("--json", metavar="FILE", help="write the raw figures")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.items, chosen.scale = 10, 40.0
    anyio.run(main, chosen)
