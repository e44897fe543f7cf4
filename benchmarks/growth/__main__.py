"""How cost grows: per agent and call with the agents of a run, per turn of one agent, per run of one process.

    python -m benchmarks.growth [agents,turns,runs] [--quick] [--out FILE]

Three curves in one file of results (`python -m benchmarks pictures FILE` draws them): flat lines are the aim. Python
calls do not depend on what else the machine does. Of `turns` the bytes that are sent must grow with the conversation,
as the endpoint wants all of it in each request; nothing else need.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from benchmarks.growth.point import Point, asked
from benchmarks.machine import about, commit, load
from benchmarks.record import Axis, Entrant, Figure, Heading, Results, Sample
from benchmarks.servers import load_server
from swarm.cli.open_files import allow_many_open_files

OURS = Entrant("swarm", "swarm, sandboxes that cost nothing", "ours")
PROCESS = Entrant("swarm-process", "swarm, sandbox process", "ours")
CALLS, CPU = Figure("python_calls", "Python calls / model call"), Figure("cpu_ms", "CPU ms / model call")

AGENTS = Heading(
    "growth-agents",
    "Cost of a call by the agents of one run",
    "one run; each agent a use of a tool and an answer, the endpoint answers after 20 ms",
    (CPU, CALLS, Figure("kb_per_agent", "KB / live agent"), Figure("rss_mb", "MB at most")),
    (OURS, PROCESS),
    Axis("agents", log=True),
)
TURNS = Heading(
    "growth-turns",
    "Cost of a turn by its number",
    "one agent that uses a tool in each turn; nothing of its conversation is left out; medians of ten turns",
    (Figure("cpu_ms", "CPU ms / turn"), Figure("python_calls", "Python calls / turn"), Figure("kb_sent", "KB sent")),
    (OURS,),
    Axis("turn"),
)
RUNS = Heading(
    "growth-runs",
    "Cost of a run by how many were made in the process",
    "runs of two agents, one after the other in one process, which is idle when it is looked at",
    (
        Figure("cpu_ms", "CPU ms / run"),
        Figure("python_calls", "Python calls / run"),
        Figure("rss_mb", "MB"),
        Figure("blocks", "blocks"),
        Figure("objects", "objects"),
        Figure("descriptors", "descriptors"),
    ),
    (OURS,),
    Axis("runs before"),
)


def agents(quick: bool) -> Iterable[Point]:
    """Sizes in turn, three times; with a sandbox of the machine's up to a thousand."""
    sizes = (10, 100, 300) if quick else (10, 100, 1_000, 3_000, 10_000)
    with load_server(turns=1, latency=0.02) as url:
        for number in range(1, 2 if quick else 4):
            for size in sizes:
                yield from asked(("agents", url, str(size)), number, at=size)
                if size <= 1_000:
                    words = ("agents", url, str(size), "--sandbox", "process")
                    yield from asked(words, number, at=size, name=PROCESS.name)
        for size in sizes:
            yield from asked(("agents", url, str(size), "--count"), 1, at=size)


def turns(quick: bool) -> Iterable[Point]:
    """Time, and then calls."""
    count = 40 if quick else 200
    with load_server(turns=count, latency=0.0) as url:
        for flags in ((), ("--count",)):
            yield from asked(("turns", url, str(count), *flags), 1)


def runs(quick: bool) -> Iterable[Point]:
    """A thousand."""
    with load_server(turns=1, latency=0.0) as url:
        yield from asked(("runs", url, "60" if quick else "1000"), 1)


CURVES: dict[str, tuple[Heading, Callable[[bool], Iterable[Point]]]] = {
    "agents": (AGENTS, agents),
    "turns": (TURNS, turns),
    "runs": (RUNS, runs),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("curves", nargs="?", default=",".join(CURVES))
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works")
    parser.add_argument("--out", type=Path, default=None)
    args = parser.parse_args()
    out = args.out or Path(__file__).parents[1] / "results" / f"growth-{time.strftime('%Y-%m-%d-%H%M%S')}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    allow_many_open_files()
    began = time.monotonic()
    command = " ".join(["python -m benchmarks.growth", args.curves, *(["--quick"] if args.quick else [])])
    results = Results(time.strftime("%Y-%m-%dT%H:%M:%S%z"), command, commit(), about(), quick=args.quick)
    for name in args.curves.split(","):
        heading, measure = CURVES[name]
        results.rows.append(heading)
        for point in measure(args.quick):
            results.samples.append(sample(heading, point))
            results.wall_s = round(time.monotonic() - began, 1)
            results.save(out)
    sys.stderr.write(f"{results.wall_s:.0f} s; raw results: {out}\n")


def sample(heading: Heading, point: Point) -> Sample:
    """A point as it is kept."""
    told = json.dumps(point.figures)
    sys.stderr.write(f"{heading.name} {point.name} at {point.at:g}: {told} {point.error}\n")
    make = partial(Sample, heading.name, point.name, point.round, load(), point.figures)
    return make(failed=point.failed, of=point.of, error=point.error, at=point.at)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="swarm-growth-") as place:
        tempfile.tempdir = place
        main()
