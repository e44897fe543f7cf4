"""The simulation against real runs: the same agents, replicas and troubles, once on a virtual clock, and once as a
whole run of Swarm over loopback HTTP.

The real side is `Swarm` with its planner, journal and tools; its figures are read from the journal. The simulated side
is given what a call costs the real client in CPU, as it was measured in that run: that alone is fitted.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

import anyio

from benchmarks.simulate.policies import Policy
from benchmarks.simulate.replica import Hardware, Trouble
from benchmarks.simulate.workload import Draw, Workload
from benchmarks.simulate.world import Scene, simulate

ROOT = Path(__file__).resolve().parents[2]
COMPARED = ("makespan_s", "calls", "retries", "peak_in_flight", "mean_in_flight", "waited_s", "latency_p50_s",
            "latency_p99_s")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Check:
    """A scene that can be made real. `storm`: the first replica refuses half of its calls with 429 for some seconds."""

    agents: int
    replicas: int
    seed: int = 1
    storm: bool = False
    hardware: Hardware = field(default_factory=lambda: Hardware(a=0.008, b=0.0001))

    @property
    def workload(self) -> Workload:
        return Workload(
            self.seed, turns=Draw(4.0, 0.4, 2, 8), answer=Draw(100, 0.6, 8, 600), tool_s=Draw(0.4, 0.8, 0.02, 5)
        )

    def troubles_of(self, number: int) -> tuple[Trouble, ...]:
        return (Trouble("limited", 0.0, 6.0, part=0.5, pause=1.0),) if self.storm and number == 0 else ()

    @classmethod
    def read(cls, text: str) -> Check:
        """Of the JSON that `write` gave."""
        values: dict[str, Any] = json.loads(text)
        hardware: dict[str, Any] = values.pop("hardware")
        return cls(**values, hardware=Hardware(**{**hardware, "queue": inf}))

    def write(self) -> str:
        values = dataclasses.asdict(self)
        values["hardware"]["queue"] = None
        return json.dumps(values)


@contextmanager
def _endpoints(check: Check) -> Iterator[list[str]]:
    command = [sys.executable, "-m", "benchmarks.simulate.endpoint", check.write()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as server:
        assert server.stdout is not None
        try:
            yield json.loads(server.stdout.readline())
        finally:
            server.terminate()


async def _run(check: Check, urls: list[str]) -> tuple[Path, float]:
    from swarm import Swarm, tool
    from swarm.config import Capabilities, RunConfig
    from swarm.parts import Parts
    from swarm.testing import FakeBackend

    workload = check.workload
    known = {number: workload.turns_of(number) for number in range(check.agents)}

    @tool
    async def lookup(item: int, part: int) -> str:
        """Look up a part of an item.

        Args:
            item: its number
            part: which part
        """
        await anyio.sleep(known[item][part].tool_s)
        return f"part {part} of item {item}"

    config = RunConfig(
        model="load",
        base_url=tuple(urls),
        max_agents=check.agents,
        concurrency=check.agents,
        capabilities=Capabilities(tools=True, parallel_tools=True, structured="json_schema", stream_usage=True),
    )
    async with Swarm(config=config, parts=Parts(tools=(lookup,), backend=FakeBackend())) as swarm:
        await swarm.run("Look up 2 items. Warm up.")  # imports and the like, at no replica
        cpu = time.process_time()
        result = await swarm.run(f"Look up {check.agents} items.")
        cpu = time.process_time() - cpu
    done = result.outcomes.get("completed", 0)
    if done != check.agents:
        raise RuntimeError(f"{done} of {check.agents} agents completed: {result.outcomes}")
    return Path(result.run_dir), cpu


def real(check: Check) -> dict[str, float]:
    """Figures of a real run."""
    with tempfile.TemporaryDirectory() as home, _endpoints(check) as urls:
        os.environ["SWARM_HOME"] = home
        folder, cpu = anyio.run(_run, check, urls)
        events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    names = {each["trajectory_id"] for each in events if each["type"] == "agent_start" and each.get("subtask")}
    begun = min(each["mono"] for each in events if each["type"] == "agent_start" and each["trajectory_id"] in names)
    ended = max(each["mono"] for each in events if each["type"] == "agent_end" and each["trajectory_id"] in names)
    calls = [each for each in events if each["type"] == "call" and each["trajectory_id"] in names]
    accepted = [each for each in calls if each["accepted"]]
    moves = sorted([(each["t_sent"], 1) for each in calls] + [(each["t_done"], -1) for each in calls])
    flight = peak = 0
    for _, change in moves:
        flight += change
        peak = max(peak, flight)
    latency = sorted(each["t_done"] - each["t_sent"] + each["wait_s"] for each in accepted)
    span = ended - begun
    return {
        "makespan_s": span,
        "calls": len(accepted),
        "retries": len(calls) - len(accepted),
        "peak_in_flight": peak,
        "mean_in_flight": sum(each["t_done"] - each["t_sent"] for each in calls) / span,
        "waited_s": sum(each["wait_s"] for each in calls) / len(accepted),
        "latency_p50_s": latency[len(latency) // 2],
        "latency_p99_s": latency[int(len(latency) * 0.99)],
        "cpu_ms_per_call": 1000 * cpu / len(calls),
    }


def simulated(check: Check, cpu_s: float) -> dict[str, float]:
    """The same of a simulated one."""
    troubles = {n: check.troubles_of(n) for n in range(check.replicas) if check.troubles_of(n)}
    scene = Scene(check.agents, check.replicas, Policy(), check.workload, check.hardware, troubles,
                  cpu_s=cpu_s, rtt_s=0.001)  # fmt: skip
    outcome = simulate(scene)
    figures, log = outcome.figures(), outcome.log
    return {
        **{key: figures[key] for key in ("makespan_s", "calls", "peak_in_flight", "latency_p50_s", "latency_p99_s")},
        "retries": figures["failed_calls"],
        "mean_in_flight": log.flight_s / outcome.makespan_s,
        "waited_s": log.spent["admission"] / log.answered,
    }


def compare(checks: list[Check]) -> list[dict[str, Any]]:
    """Real and simulated figures of each, and the error of the simulation in per cent of the real figure."""
    found = []
    for check in checks:
        there = real(check)
        here = simulated(check, there["cpu_ms_per_call"] / 1000)
        errors = {key: 100 * (here[key] - there[key]) / there[key] for key in COMPARED if there[key]}
        found.append({"check": json.loads(check.write()), "real": there, "simulated": here, "error_percent": errors})
        print(f"\n{check.agents} agents, {check.replicas} replicas, seed {check.seed}"
              f"{', a storm of 429' if check.storm else ''}; load {os.getloadavg()[0]:.1f}; "
              f"{there['cpu_ms_per_call']:.2f} ms of CPU a call")  # fmt: skip
        for key in COMPARED:
            error = f"{errors[key]:+8.1f} %" if key in errors else ""
            print(f"  {key:16} real {there[key]:9.3f}  simulated {here[key]:9.3f} {error}", flush=True)
    spans = [abs(each["error_percent"]["makespan_s"]) for each in found]
    print(f"\nmakespan: wrong by {statistics.fmean(spans):.1f} % (mean), {max(spans):.1f} % (most)")
    return found
