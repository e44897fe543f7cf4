"""What the live screen costs: its share of a core while so many agents work, and where it goes.

    python -m benchmarks.studies.screen [--agents 300] [--rate 450] [--seconds 20] [--size 120x40] [--rounds 3]
                                             [--quick]

Each measurement is a process of its own at a real pseudo-terminal, which is read as fast as it is written to. It takes
made-up events of a run in which all agents are at work (calls, tools, ends), `rate` a second, made before the clock
starts. Ways, in turn: `events` takes them and does nothing, `fold` makes the view of them, `screen` shows it as
`swarm run` does, with one agent's log open in `log`. The share of a way is its CPU time less that of `events`, of the
wall clock. `watch` is the whole of `swarm watch` over a journal that another process writes at that rate, reading and
parsing included; `catch up` is the CPU time of its fold over the journal of the whole window, by event.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pty
import random
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.studies.measure import machine, save

WAYS = ("events", "fold", "screen", "log", "watch")
RUN = "measured"
TICK = 0.02
"""Seconds between two handfuls of events."""

OUTPUT = "E  assert 1 == 2 in a/path/of/some/length/test_module.py::test_name\n" * 20


def made(agents: int, count: int) -> Iterator[Any]:
    """The events of a run with so many agents, all of which work: at least `count` after they began."""
    from swarm.events import (
        AgentEnded,
        AgentStarted,
        CallFinished,
        CallSent,
        RunStarted,
        StageStarted,
        ToolFinished,
        ToolStarted,
    )
    from swarm.types import Outcome, Plan, SubTask, ToolStatus, Usage

    chance = random.Random(7)
    subtasks = tuple(
        SubTask(
            id=f"s{n}",
            title=f"Repair fault {n} of many",
            instructions="Repair it.",
            depends_on=(f"s{n - 1}",) if n % 10 == 9 else (),
        )
        for n in range(agents)
    )
    yield RunStarted(
        task="Repair all the faults", task_sha256="", mode="plan", swarm_version="0", config_sha256="",
        config={"concurrency": agents, "budget_tokens": 100_000_000, "timeout": 3600.0, "max_in_flight": 256},
    )  # fmt: skip
    yield StageStarted(stage=1, plan=Plan(subtasks=subtasks))
    attempt = dict.fromkeys(range(agents), 0)

    def start(n: int) -> Any:
        attempt[n] += 1
        return AgentStarted(
            trajectory_id=f"1/s{n}/{attempt[n]}", role="subagent", name=f"s{n}", trainable=False, stage=1,
            attempt=attempt[n], subtask=subtasks[n], model="kimi", max_steps=60, sandbox="bubblewrap",
        )  # fmt: skip

    for n in range(agents):
        yield start(n)
    told, step = 0, dict.fromkeys(range(agents), 0)
    while told < count:
        n = chance.randrange(agents)
        step[n] += 1
        one, call = f"1/s{n}/{attempt[n]}", f"1/s{n}/{step[n]}"
        arguments = json.dumps({"command": f"pytest -q tests/part_{n}/test_{step[n]}.py -k 'some expression'"})
        refused = chance.random() < 0.03
        yield CallSent(trajectory_id=one, call_id=call, attempt=1)
        yield CallFinished(
            trajectory_id=one, call_id=call, turn=step[n], attempt=1, accepted=not refused, model="kimi",
            error="rate_limited" if refused else "", usage=Usage(prompt_tokens=4000, completion_tokens=120,
            cached_tokens=3500, calls=1), cost_usd=0.0, new_messages=[{"role": "tool", "content": OUTPUT}],
            response={"role": "assistant", "content": "I look at the next part of it."},
        )  # fmt: skip
        told += 2
        if not refused:
            yield ToolStarted(trajectory_id=one, call_id=call, tool_call_id="c", name="bash", arguments=arguments)
            yield ToolFinished(
                trajectory_id=one, call_id=call, tool_call_id="c", name="bash", arguments=arguments, t_start=0.0,
                t_end=1.0, status=ToolStatus.COMPLETED, exit_code=1, result=OUTPUT,
            )  # fmt: skip
            told += 2
        if chance.random() < 0.02:  # it ends, and another attempt takes its place
            outcome = chance.choice([Outcome.COMPLETED, Outcome.ERRORED])
            yield AgentEnded(
                trajectory_id=one, outcome=outcome, stop="x", terminated=True, truncated=False, steps=step[n],
                final_output="it is repaired",
            )  # fmt: skip
            yield start(n)
            told += 2


def stamped(agents: int, count: int) -> list[Any]:
    events = list(made(agents, count))
    for n, event in enumerate(events):
        event.seq, event.run_id, event.mono = n, RUN, float(n)
    return events


async def taken(events: list[Any], options: argparse.Namespace, take: Callable[[Any], object]) -> dict[str, float]:
    """Let the first ones happen at once, the others so many a second; what that took."""
    import anyio

    at_once = len(events) - options.rate * options.seconds
    for event in events[:at_once]:
        event.t = time.time()
        take(event)
    await anyio.sleep(1.0)
    cpu, wall, at = time.process_time(), time.perf_counter(), at_once
    while at < len(events):
        due = at_once + int((time.perf_counter() - wall) * options.rate)
        for event in events[at : min(due, len(events))]:
            event.t = time.time()
            take(event)
        at = max(at, min(due, len(events)))
        await anyio.sleep(TICK)
    return {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}


async def worker(options: argparse.Namespace) -> None:
    import anyio

    from swarm.cli.display import ScreenDisplay
    from swarm.cli.view import RunView

    events = stamped(options.agents, options.rate * options.seconds)
    figures: dict[str, float] = {}
    if options.worker == "events":
        figures = await taken(events, options, lambda event: None)
    elif options.worker == "fold":
        figures = await taken(events, options, RunView().apply)
    else:
        display = ScreenDisplay()
        write = appending(journal_of()) if options.worker == "log" else None

        def written(event: Any) -> None:
            display.on_event(event)
            if write is not None:
                write(event)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(display.run)
            figures = await taken(events, options, written)
            display.close()
    print(json.dumps(figures))


def journal_of() -> Path:
    return Path(os.environ["SWARM_HOME"], "runs", RUN, "events.jsonl")


def appending(journal: Path) -> Callable[[Any], None]:
    """Writes events to a journal that is held as a run holds its own."""
    fd = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return lambda event: _write(fd, event.model_dump_json().encode() + b"\n")


def _write(fd: int, data: bytes) -> None:
    os.write(fd, data)


async def writer(options: argparse.Namespace) -> None:
    """What `swarm watch` follows."""
    await taken(stamped(options.agents, options.rate * options.seconds), options, appending(journal_of()))


def measured(way: str, options: argparse.Namespace) -> dict[str, float]:
    columns, lines = map(int, options.size.split("x"))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home) / "runs" / RUN
        folder.mkdir(parents=True)
        env = os.environ | {"SWARM_HOME": home, "PYTHONPATH": str(Path(__file__).parents[2]), "TERM": "xterm-256color"}
        told = ["--agents", str(options.agents), "--rate", str(options.rate), "--seconds", str(options.seconds)]
        itself = [sys.executable, __file__, *told, "--size", options.size, "--worker"]
        seen = [0]
        reader = threading.Thread(target=_drain, args=(ours, seen))
        reader.start()
        if way == "watch":
            figures = _watched(itself, folder / "events.jsonl", env, theirs, options)
        else:
            with subprocess.Popen(
                [*itself, way], stdin=theirs, stderr=theirs, stdout=subprocess.PIPE, text=True, env=env
            ) as process:
                if way == "log":
                    time.sleep(3)
                    os.write(ours, b"j\n")
                assert process.stdout is not None
                figures = json.loads(process.stdout.read().splitlines()[-1])
    os.close(theirs)
    reader.join()
    os.close(ours)
    return {**figures, "kb_per_s": seen[0] / 1000 / figures["wall_s"]}


def _drain(fd: int, seen: list[int]) -> None:
    try:
        while data := os.read(fd, 1 << 16):
            seen[0] += len(data)
    except OSError:  # the other end is closed
        return


def _watched(
    itself: list[str], journal: Path, env: dict[str, str], terminal: int, options: argparse.Namespace
) -> dict[str, float]:
    with subprocess.Popen([*itself, "writer"], env=env, stdout=subprocess.DEVNULL) as making:
        while not journal.exists() or journal.stat().st_size == 0:
            time.sleep(0.05)
        command = [sys.executable, "-m", "swarm", "watch", RUN]
        with subprocess.Popen(command, env=env, stdin=terminal, stderr=terminal, stdout=subprocess.DEVNULL) as watching:
            time.sleep(3)  # imports, and what there was
            before, began = _cpu(watching.pid), time.perf_counter()
            time.sleep(max(1.0, options.seconds - 4))
            figures = {"cpu_s": _cpu(watching.pid) - before, "wall_s": time.perf_counter() - began}
            making.wait()
            watching.wait(timeout=60)
    return {**figures, "catch_up_us": _catch_up(journal)}


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _catch_up(journal: Path) -> float:
    from swarm.cli.view import fold
    from swarm.journal.reader import read_events

    cpu = time.process_time()
    view = fold(read_events(journal))
    return 1e6 * (time.process_time() - cpu) / max(1, view.changes)


def main(options: argparse.Namespace) -> None:
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(options.rounds):
        for way in WAYS:
            found[way].append(measured(way, options))
    base = statistics.median(run["cpu_s"] / run["wall_s"] for run in found["events"])
    print(f"{options.agents} agents, {options.rate} events/s, {options.size}, {machine()}")
    print(f"{'way':8} {'% of a core':>12} {'least-most':>14} {'kB/s to the terminal':>22}")
    for way, runs in found.items():
        less = 0.0 if way in ("events", "watch") else base
        shares = [100 * (run["cpu_s"] / run["wall_s"] - less) for run in runs]
        spread = f"{min(shares):.2f}-{max(shares):.2f}"
        sent = statistics.median(run["kb_per_s"] for run in runs)
        print(f"{way:8} {statistics.median(shares):12.2f} {spread:>14} {sent:22.1f}")
    print(f"catch up: {statistics.median(run['catch_up_us'] for run in found['watch']):.1f} us of CPU by event")
    save(options.json, agents=options.agents, rate=options.rate, size=options.size, found=found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=300)
    parser.add_argument("--rate", type=int, default=450, help="events a second")
    parser.add_argument("--seconds", type=int, default=20, help="length of one measurement")
    parser.add_argument("--size", default="120x40", help="columns x lines")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="once, for 6 seconds: does it work?")
    parser.add_argument("--json", metavar="FILE", help="write the raw figures")
    parser.add_argument("--worker", choices=[*WAYS, "writer"], help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.rounds, chosen.seconds = 1, 6
    if chosen.worker is None:
        main(chosen)
    else:
        import anyio

        anyio.run(writer if chosen.worker == "writer" else worker, chosen)
