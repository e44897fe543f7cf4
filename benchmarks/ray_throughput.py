"""What a model call costs whose agent works on a Ray node, beside one whose agent works here: CPU of all processes.

    python -m benchmarks.ray_throughput [--nodes 4] [--rounds 3] [--out FILE]
    python -m benchmarks.ray_throughput --agents 250 --turns 40 --latency 0.25     # another load than those of `LOADS`

To be run with a Python that has the extra `ray`. All nodes are raylets on this machine. Measured is the middle of a
run, from a fifth of its calls to nine tenths: no start, no end. What the cluster's processes use when they have nothing
to do is measured first, told, and taken off what they use in a run. The executors take turns.

A call costs more in a process with fewer agents, whatever makes it: there is less to be done each time that it wakes;
and more where every processor is at work than where one is. So beside one process with all agents there are as many
local runs at once as there are nodes, each with as many agents as an outpost has (`beside`): the local executor on the
same processors. All are on uvloop where that is installed, as in `swarm run` and in Ray's own actors.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarm import tool


@dataclass(frozen=True)
class Load:
    """What is to be done in a row: agents, tool calls of each, and seconds until the model answers."""

    row: str
    title: str
    agents: int
    turns: int
    latency: float


LOADS = (
    Load("ray-throughput", "Throughput of {} Ray nodes of this machine, no processor idle", 600, 20, 0.1),
    Load("ray-call", "A call on {} Ray nodes of this machine", 150, 60, 0.05),
    Load("ray-few", "A call on {} Ray nodes of this machine, few calls a second", 250, 15, 1.0),
)
CLUSTER = "tests/interop/ray_cluster.py"
FROM, TO = 0.2, 0.9
IDLE_S = 10.0
_TICK = os.sysconf("SC_CLK_TCK")


@tool
async def lookup(key: str) -> str:
    """Look up a part of an item.

    Args:
        key: which part
    """
    return "The value is 42."


class Meter:
    """CPU seconds of the processes of our Ray, which are those that know its folder."""

    def __init__(self, folder: str) -> None:
        self._folder = b"RAY_TMPDIR=" + os.fsencode(folder)

    def look(self) -> dict[str, float]:
        """By now, those of outposts and of all others."""
        found = {"nodes": 0.0, "others": 0.0}
        for place in Path("/proc").glob("[0-9]*"):
            try:
                if self._folder in (place / "environ").read_bytes().split(b"\0"):
                    kind = "nodes" if (place / "cmdline").read_bytes().startswith(b"ray::Outpost") else "others"
                    found[kind] += _seconds(place)
            except OSError:
                continue
        return found


def _seconds(process: Path) -> float:
    parts = (process / "stat").read_text().rpartition(")")[2].split()
    return (int(parts[11]) + int(parts[12])) / _TICK


def one(executor: Any, address: str, url: str, agents: int, turns: int) -> None:
    """One run in this process; says when a fifth and nine tenths of the calls are made."""
    import anyio

    from swarm import RunConfig, Swarm
    from swarm.config import Capabilities
    from swarm.tuning import has_fast_loop, quiet_collector

    config = RunConfig(
        model="load",
        base_url=url,
        max_agents=agents,
        concurrency=agents,
        max_in_flight=1000,
        executor=executor,
        ray_address=address,
        tools=("benchmarks.ray_throughput:lookup",),
        sandbox="process",
        capabilities=Capabilities(tools=True, parallel_tools=True, structured="json_schema", stream_usage=True),
    )
    calls = 0
    marks = [int(agents * (turns + 1) * part) for part in (FROM, TO)]

    def note(event: Any) -> None:
        nonlocal calls
        if event.type == "call":
            calls += 1
            if calls in marks:
                _say({"calls": calls, "driver": time.process_time(), "at": time.monotonic()})

    async def whole() -> Any:
        async with Swarm(config=config) as swarm:
            with quiet_collector():  # as `swarm run` does
                return await swarm.run(f"Look up {agents} items.", on_event=note)

    result = anyio.run(whole, backend_options={"use_uvloop": has_fast_loop()})
    _say({"failed": agents - result.outcomes.get("completed", 0), "of": agents})


def _say(told: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


@contextmanager
def child(*command: str, ready: str, **env: str) -> Iterator[str]:
    """A process for the length of the block, once it has said that it is ready; gives that line."""
    process = subprocess.Popen(
        [sys.executable, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **env}
    )
    try:
        assert process.stdout is not None
        line = ""
        while ready not in line:
            line = process.stdout.readline()
            if not line:
                raise SystemExit(f"{command} does not come up")
        yield line
    finally:
        if ready == "ready":
            process.communicate("quit\n", timeout=60)
        else:
            process.terminate()
            process.wait(20)


def sample(load: Load, meter: Meter, idle: float, executor: str, *where: str) -> dict[str, Any]:
    """A call's cost in the middle of a run. `idle`: CPU seconds that the cluster uses in a second when it has nothing
    to do."""
    command = [sys.executable, "-m", "benchmarks.ray_throughput", "--one", executor, *where]
    command += ["--agents", str(load.agents), "--turns", str(load.turns)]
    marks: list[dict[str, Any]] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        for line in process.stdout:
            marks.append({**json.loads(line), **meter.look()})
        error = process.stderr.read()[-300:]
    if process.returncode or len(marks) != 3:
        return {"figures": {}, "failed": load.agents, "of": load.agents, "error": error or "no calls"}
    first, last, end = marks
    calls, span = last["calls"] - first["calls"], last["at"] - first["at"]
    cost = {key: last[key] - first[key] for key in ("driver", "nodes", "others")}
    if executor == "local":
        cost["nodes"] = cost["others"] = 0.0
    cost["others"] = max(0.0, cost["others"] - idle * span) if executor == "ray" else 0.0
    figures = {"cpu_ms": sum(cost.values()) / calls * 1000, "calls_s": calls / span, "span_s": span}
    figures |= {f"{key}_ms": seconds / calls * 1000 for key, seconds in cost.items()}
    return {"figures": figures, "failed": end["failed"], "of": end["of"], "error": ""}


def beside(load: Load, nodes: int, url: str) -> dict[str, Any]:
    """A call's cost in the middle of local runs that go on at once, each with an outpost's share of the agents."""
    agents = load.agents // nodes
    command = [sys.executable, "-m", "benchmarks.ray_throughput", "--one", "local", "", url]
    command += ["--agents", str(agents), "--turns", str(load.turns)]
    runs: list[subprocess.Popen[str]] = []
    with ExitStack() as stack:
        for _ in range(nodes):
            runs.append(stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True)))
            stack.callback(runs[-1].kill)  # does nothing to one that has ended
        told = [[json.loads(line) for line in run.communicate()[0].splitlines()] for run in runs]
    if any(run.returncode for run in runs) or any(len(marks) != 3 for marks in told):
        return {"figures": {}, "failed": load.agents, "of": load.agents, "error": "a run failed"}
    calls, seconds, rate = 0, 0.0, 0.0
    for first, last, _ in told:
        calls += last["calls"] - first["calls"]
        seconds += last["driver"] - first["driver"]
        rate += (last["calls"] - first["calls"]) / (last["at"] - first["at"])
    cost = seconds / calls * 1000
    figures = {"cpu_ms": cost, "calls_s": rate, "driver_ms": cost, "nodes_ms": 0.0, "others_ms": 0.0}
    return {
        "figures": figures,
        "failed": sum(marks[2]["failed"] for marks in told),
        "of": agents * nodes,
        "error": "",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--agents", type=int)
    parser.add_argument("--turns", type=int)
    parser.add_argument("--latency", type=float)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", nargs=3, metavar=("EXECUTOR", "ADDRESS", "URL"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        executor, address, url = given.one
        one(executor, address, url, given.agents, given.turns)
        return
    own = (given.agents, given.turns, given.latency)
    if None in own and own != (None, None, None):
        parser.error("--agents, --turns and --latency are given together")
    loads = LOADS if given.agents is None else (Load("ray-own", LOADS[1].title, *own),)
    folder = tempfile.mkdtemp(prefix="swarm-ray-")
    meter, samples, began = Meter(folder), list[dict[str, Any]](), time.monotonic()
    with child(CLUSTER, str(given.nodes), ready="ready", RAY_TMPDIR=folder) as stands:
        time.sleep(IDLE_S)  # its workers are still starting
        before = meter.look()["others"]
        time.sleep(IDLE_S)
        idle = (meter.look()["others"] - before) / IDLE_S
        sys.stderr.write(f"the cluster when idle: {idle * 1000:.0f} ms of CPU a second\n")
        for load in loads:
            for taken in measured(load, given.nodes, given.rounds, meter, idle, stands.split()[1]):
                samples.append(taken)
                sys.stderr.write(f"{taken}\n")
    shutil.rmtree(folder, ignore_errors=True)
    if given.out:
        given.out.write_text(json.dumps(report(given, loads, samples, time.monotonic() - began), indent=1))


def measured(load: Load, nodes: int, rounds: int, meter: Meter, idle: float, address: str) -> Iterator[dict[str, Any]]:
    """The samples of a row."""
    server = ["-m", "benchmarks.servers.load", "--latency", str(load.latency), "--turns", str(load.turns)]
    with child(*server, ready="http") as line:
        url = next(word for word in line.split() if word.startswith("http"))
        for number in range(1, rounds + 1):
            for executor in ("local", "beside", "ray"):
                busy = os.getloadavg()[0]
                if executor == "beside":
                    told = beside(load, nodes, url)
                else:
                    told = sample(load, meter, idle, executor, address, url)
                if executor == "ray" and told["figures"]:
                    told["figures"]["idle_ms_s"] = idle * 1000
                yield {"row": load.row, "competitor": executor, "round": number, "load": busy, **told}


def report(
    given: argparse.Namespace, loads: Sequence[Load], samples: list[dict[str, Any]], wall: float
) -> dict[str, Any]:
    """The file as `benchmarks.record` reads it."""
    from benchmarks.machine import about, commit

    own = f" --agents {given.agents} --turns {given.turns} --latency {given.latency}" if given.agents else ""
    return {
        "format": "swarm-bench/1",
        "date": time.strftime("%Y-%m-%dT%H:%M:%S"),
        "command": f"python -m benchmarks.ray_throughput --nodes {given.nodes} --rounds {given.rounds}{own}",
        "commit": commit(),
        "quick": False,
        "wall_s": wall,
        "machine": about(),
        "versions": {},
        "rows": [heading(load, given.nodes) for load in loads],
        "samples": samples,
    }


def heading(load: Load, nodes: int) -> dict[str, Any]:
    """A row."""
    figures = [("calls_s", "calls / s", "more"), ("cpu_ms", "CPU ms / call", "less")]
    figures += [("driver_ms", "of it in the driver", "less"), ("nodes_ms", "in the outposts", "less")]
    figures += [("others_ms", "in Ray's own processes", "less")]
    figures += [("idle_ms_s", "CPU ms / s of an idle Ray, not in it", "less")]
    each = f"swarm, {nodes} processes with {load.agents // nodes} agents each"
    return {
        "name": load.row,
        "title": load.title.format(nodes),
        "note": f"{load.agents} agents of {load.turns} tool calls, a model that answers after "
        f"{load.latency * 1000:.0f} ms; CPU of all processes in the middle of the run.",
        "axis": None,
        "figures": [{"key": key, "title": title, "better": better} for key, title, better in figures],
        "competitors": [
            {"name": "beside", "title": each, "kind": "ours", "left_out": ""},
            {"name": "local", "title": "swarm, one process", "kind": "ours", "left_out": ""},
            {"name": "ray", "title": f"swarm on Ray, {nodes} outposts", "kind": "peer", "left_out": ""},
        ],
    }


if __name__ == "__main__":
    main()
