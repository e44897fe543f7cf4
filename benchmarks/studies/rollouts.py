"""What one short run costs a process that makes thousands of them: the rollout engine over one open `Swarm`.

    python -m benchmarks.studies.rollouts [--runs 200] [--at-once 16] [--widths 0 1 2 4 6] [--sandbox bubblewrap]
                                  [--kept 0] [--json FILE]

Runs in mode parl without a repository: the orchestrator registers a sub-agent, starts `width` of it at once, and
answers (width 0: it answers itself); every sub-agent makes two calls. A scripted endpoint of its own process gives
token ids and log-probabilities. Told in five windows of the runs, so that a cost that grows with them shows: CPU
milliseconds of this process and of its children a run, the part of it by model call, wall milliseconds a run, and the
memory. `--kept`: folders of runs that lie in SWARM_HOME before. A loaded machine makes all CPU time longer: `loop ms`
is that of a fixed loop, taken around each window; `CPU/loop` is what to compare.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import anyio

from benchmarks.studies.measure import machine, save
from swarm import Swarm
from swarm.config import Rollout, RunConfig
from swarm.rl.rollout import Bounds, Rollouts
from swarm.rl.tasks.task import Task

WINDOWS = 5


@dataclass(frozen=True)
class Window:
    """What a part of the runs cost, each."""

    runs: int
    cpu_ms: float
    children_ms: float
    wall_ms: float
    calls: float
    rss_mb: float
    loop_ms: float


def script(widths: Sequence[int]) -> dict[str, Any]:
    """The answers: of the orchestrator by the width that its task names, of sub-agents two turns."""
    create = {"name": "create_subagent", "arguments": {"name": "w", "system_prompt": "you look things up"}}
    rules: list[dict[str, Any]] = []
    for width in widths:
        assign = [
            {"name": "assign_task", "arguments": {"agent": "w", "prompt": f"look up item {n}"}} for n in range(width)
        ]
        turns: list[dict[str, Any]] = [{"tool_calls": [create]}, {"tool_calls": assign}] if width else []
        rules.append({"role": "planner", "match": f"width-{width} ", "turns": [*turns, {"content": "Answer: 42"}]})
    note = {"name": "artifact", "arguments": {"handle": "none"}}
    submit = {"name": "submit", "arguments": {"status": "done", "summary": "it is 42"}}
    rules.append({"role": "subagent", "turns": [{"tool_calls": [note]}, {"tool_calls": [submit]}]})
    return {"rules": rules}


@contextmanager
def endpoint(place: Path, widths: Sequence[int]) -> Iterator[str]:
    path = place / "script.json"
    path.write_text(json.dumps(script(widths)), encoding="utf-8")
    command = [sys.executable, "-m", "swarm", "endpoint", "--policy", f"script:{path}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().split()[-1]
        finally:
            server.terminate()


def spent() -> tuple[float, float, float]:
    """CPU seconds of this process, those of its children, and the wall clock."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time(), children.ru_utime + children.ru_stime, time.monotonic()


def loop_ms() -> float:
    """CPU milliseconds of a fixed loop: how fast the machine is now."""
    found = []
    for _ in range(5):
        began = time.process_time()
        json.loads(json.dumps({str(n): [n] * 5 for n in range(3000)}))
        found.append(1000 * (time.process_time() - began))
    return statistics.median(found)


def rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def measure(swarm: Swarm, folder: Path, args: argparse.Namespace) -> list[Window]:
    """Make the runs, a window at a time; the first iteration, which imports, is not counted."""
    widths: list[int] = args.widths
    each = max(1, args.runs // WINDOWS // len(widths))
    rollouts = Rollouts(swarm, folder, Bounds(k=each, at_once=args.at_once))
    tasks = [Task(id=str(width), prompt=f"do width-{width} now") for width in widths]
    warm = Rollouts(swarm, folder.with_name("warm"), Bounds(k=1, at_once=args.at_once))
    found: list[Window] = []
    for rolled, count in ((warm, 1), *((rollouts, each) for _ in range(WINDOWS))):
        loop = loop_ms()
        before, runs, calls = spent(), 0, 0
        async with rolled.iteration(tasks, weights=Rollout(lambda1=0.3)) as done:
            async for one in done:
                assert one.result is not None and one.result.status == "completed", one
                runs, calls = runs + 1, calls + one.result.usage.calls
        assert runs == count * len(tasks)
        after = spent()
        cpu, children, wall = (1000 * (now - then) / runs for now, then in zip(after, before, strict=True))
        found.append(Window(runs, cpu, children, wall, calls / runs, rss_mb(), (loop + loop_ms()) / 2))
    return found[1:]


async def whole(args: argparse.Namespace) -> list[Window]:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        os.environ["SWARM_HOME"] = str(place / "home")
        for number in range(args.kept):
            (place / "home" / "runs" / f"20200101-000000-{number:06x}").mkdir(parents=True)
        with endpoint(place, args.widths) as url:
            config = RunConfig(mode="parl", model="embedded", base_url=url, seed=7, sandbox=args.sandbox)
            async with Swarm(config=config) as swarm:
                return await measure(swarm, place / "rollouts", args)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--at-once", type=int, default=16)
    parser.add_argument("--widths", type=int, nargs="+", default=[0, 1, 2, 4, 6])
    parser.add_argument("--sandbox", default="bubblewrap")
    parser.add_argument("--kept", type=int, default=0)
    parser.add_argument("--json")
    args = parser.parse_args()
    found = anyio.run(whole, args)
    print(f"{machine()}; sandbox {args.sandbox}, {args.at_once} at once, widths {args.widths}")
    print("  runs   CPU ms/run  children  wall ms/run  calls/run  CPU ms/call  RSS MB  loop ms  CPU/loop")
    for each in found:
        print(
            f"{each.runs:6}{each.cpu_ms:12.1f}{each.children_ms:11.1f}{each.wall_ms:12.1f}{each.calls:11.1f}"
            f"{each.cpu_ms / each.calls:13.2f}{each.rss_mb:8.0f}{each.loop_ms:9.1f}{each.cpu_ms / each.loop_ms:10.2f}"
        )
    first, last = (each.cpu_ms / each.loop_ms for each in (found[0], found[-1]))
    print(f"last window against the first: {last / first:.2f} times the CPU a run")
    save(args.json, windows=[asdict(each) for each in found])


if __name__ == "__main__":
    main()
