"""A swarm of up to 100,000 agents at 1,000 replicas on a virtual clock, run by the real scheduler, governor and router.

    python -m benchmarks.simulate [run] [--agents 100000 ...] [--crowd 100 | --replicas N] [--cores 8] [--routing R]
    python -m benchmarks.simulate compare [--agents 200] [--seeds 5] [--settings calm crowded ...]
    python -m benchmarks.simulate scale [--agents 100 1000 10000 ...] [--replicas 20]
    python -m benchmarks.simulate check [--agents 100 300 1000] [--storm]

`run` tells what the time of agents goes on, and what is used up first. `compare` sets our routing and admission beside
others, in scenes where all is well and where something goes wrong, with the same agents for all: the spread is that
over seeds. `scale` lets the crowd at the same replicas grow. `check` makes real runs of Swarm over loopback HTTP at
endpoints that keep the same times, and tells by how many per cent the simulation is wrong. Each writes its figures with
`--json FILE`, from which `python -m benchmarks table FILE` and `pictures` make tables and pictures.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.machine import about, commit
from benchmarks.record import Axis, Entrant, Figure, Heading, Results, Sample
from benchmarks.simulate.policies import Policy
from benchmarks.simulate.real import COMPARED, Check, compare
from benchmarks.simulate.scenes import POLICIES, SETTINGS, scene
from benchmarks.simulate.workload import Workload
from benchmarks.simulate.world import Outcome, Scene, simulate

CPU_S = 0.00085
"""Seconds of CPU of a real call; the aim of docs/performance.md, and about what was measured."""

FIGURES = (
    Figure("makespan_s", "makespan, s"),
    Figure("latency_mean_s", "a call, mean s"),
    Figure("latency_p99_s", "a call, p99 s"),
    Figure("cached_share", "of prompts cached", "more"),
    Figure("refused_share", "of calls refused or failed"),
)


USED = (
    Figure("makespan_s", "makespan, s"),
    Figure("ideal_s", "no policy is faster than, s"),
    Figure("calls_per_s", "calls a second", "more"),
    Figure("core_busy", "the client's cores busy"),
    Figure("replicas_busy", "replicas busy", "more"),
    Figure("replicas_queued", "replicas with a queue"),
    Figure("seats_taken", "seats taken"),
    Figure("spent_admission", "waiting for admission, of agents' time"),
    Figure("ports_used", "ports used"),
    Figure("simulation_cpu_us_per_call", "CPU of the simulation, us / call"),
)
"""What is used up, as shares."""

COMPARED_BY = (
    ("policies", "makespan_s", "Simulated: makespan by policy and scene"),
    ("latency", "latency_mean_s", "Simulated: mean seconds of a call by policy and scene"),
)
_SCENES = "; ".join(f"**{name}**: {setting.title}" for name, setting in SETTINGS.items()) + "."

OURS = (Entrant(str(Policy()), "swarm", "ours"),)


def main(options: argparse.Namespace) -> None:
    started = time.perf_counter()
    kind = {"run": _run, "compare": _compare, "scale": _scale, "check": _check}[options.what]
    rows, samples = kind(options)
    if options.json:
        Results(
            date=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            command=f"python -m benchmarks.simulate {' '.join(_without_file(sys.argv[1:]))}",
            commit=commit(),
            machine=about(),
            quick=options.quick,
            wall_s=time.perf_counter() - started,
            rows=rows,
            samples=samples,
        ).save(Path(options.json))


Found = tuple[list[Heading], list[Sample]]


def _without_file(words: Sequence[str]) -> list[str]:
    """The command as it is told: where its figures went is nobody's business."""
    at = words.index("--json")
    return [*words[:at], "--json", "FILE", *words[at + 2 :]]


def _run(options: argparse.Namespace) -> Found:
    policy, samples = Policy(options.routing, options.admission), []
    where = f"{options.crowd} agents for each replica" if options.crowd else f"{options.replicas} replicas"
    note = f"{where}; the client has {options.cores} cores, and a call takes {options.cpu_ms:g} ms of one"
    entrants = OURS if policy == Policy() else (Entrant(str(policy), str(policy), "ours"),)
    row = Heading("simulate-size", "Simulated: what is used up", note, USED, entrants, Axis("agents", log=True))
    for agents in options.agents or [1000 if options.quick else 100_000]:
        replicas = max(1, agents // options.crowd) if options.crowd else options.replicas
        made = Scene(agents, replicas, policy, Workload(options.seed, options.kinds), width=options.width,
                     cpu_s=options.cpu_ms / 1000, cores=options.cores)  # fmt: skip
        outcome = simulate(made)
        _tell(outcome)
        figures = outcome.figures()
        figures |= {"ideal_s": outcome.ideal_s, "ports_used": _ports(figures, made)}
        failed = int(figures["agents_failed"])
        samples.append(
            Sample(row.name, str(policy), 1, os.getloadavg()[0], _of(figures), failed=failed, of=agents, at=agents)
        )
    return [row], samples


def _ports(figures: dict[str, float], made: Scene) -> float:
    """Of the ports that there are for connections to each replica."""
    return figures["peak_in_flight"] / made.replicas / 28_232


def _tell(outcome: Outcome) -> None:
    figures, made = outcome.figures(), outcome.scene
    client = f"{made.cores} x {1000 * made.cpu_s:g} ms of CPU a call"
    print(f"{made.agents} agents, {made.replicas} replicas, {made.policy}, {client}")
    ideal = outcome.ideal_s
    for key, value in figures.items():
        print(f"  {key:28} {value:12.4f}")
    print(f"  {'no policy is faster than, s':28} {ideal:12.4f}")
    used = {
        "the client's CPU": figures["core_busy"],
        "replicas (anybody inside)": figures["replicas_busy"],
        "replicas (a queue)": figures["replicas_queued"],
        "admission (share of agents' time)": figures["spent_admission"],
        "sockets (of 28,232 ports to each replica)": _ports(figures, made),
    }
    print(
        "  used up most:", ", ".join(f"{name} {share:.1%}" for name, share in sorted(used.items(), key=lambda x: -x[1]))
    )
    sys.stdout.flush()


def _compare(options: argparse.Namespace) -> Found:
    agents = (options.agents or [100 if options.quick else 200])[0]
    seeds = range(1, 1 + (2 if options.quick else options.seeds))
    settings = options.settings or list(SETTINGS)
    entrants = tuple(Entrant(str(each), str(each), "peer" if n else "ours") for n, each in enumerate(POLICIES))
    rows = [
        Heading(f"simulate-{what}", title, f"{agents} agents. {_SCENES if n == 0 else 'The same runs.'}",
                tuple(Figure(name, f"{name}, s") for name in settings), entrants)
        for n, (what, _, title) in enumerate(COMPARED_BY)
    ]  # fmt: skip
    found_by: dict[Policy, list[dict[str, dict[str, float]]]] = {each: [{} for _ in seeds] for each in POLICIES}
    for name in settings:
        print(f"\n{name}: {SETTINGS[name].title}; {agents} agents, {len(seeds)} seeds; medians (least-most)")
        heads = f"{'to ours':>8} {'call, s':>8} {'p99':>7} {'cached':>7} {'failed':>7} {'lost':>5}"
        print(f"{'policy':32} {'makespan, s':>20} {heads}")
        ours: list[float] = []
        for policy in POLICIES:
            found = [simulate(scene(name, agents, policy, seed)).figures() for seed in seeds]
            took = [each["makespan_s"] for each in found]
            ours = ours or took
            ratio = statistics.median(a / b for a, b in zip(took, ours, strict=True))
            told = {key: statistics.median(each[key] for each in found) for key in found[0]}
            spread = f"{told['makespan_s']:.0f} ({min(took):.0f}-{max(took):.0f})"
            print(
                f"{policy!s:32} {spread:>20} {ratio:8.2f} {told['latency_mean_s']:8.2f} {told['latency_p99_s']:7.1f} "
                f"{told['cached_share']:7.1%} {told['refused_share']:7.2%} {told['agents_failed']:5.0f}",
                flush=True,
            )
            for one, each in zip(found_by[policy], found, strict=True):
                one[name] = each
    samples = [
        Sample(f"simulate-{what}", str(policy), seed, os.getloadavg()[0],
               {name: round(one[name][key], 3) for name in settings},
               failed=sum(int(one[name]["agents_failed"]) for name in settings), of=agents * len(settings))
        for what, key, _ in COMPARED_BY
        for policy, each in found_by.items() for seed, one in zip(seeds, each, strict=True)
    ]  # fmt: skip
    return rows, samples


def _of(found: dict[str, float]) -> dict[str, float]:
    return {key: round(value, 6) for key, value in found.items()}


def _scale(options: argparse.Namespace) -> Found:
    sizes = options.agents or ([50, 200] if options.quick else [100, 300, 1000, 3000, 10_000])
    policies = [Policy(), Policy("round robin", "unbounded"), Policy("round robin", "fixed 64")]
    figures = (
        Figure("makespan_s", "makespan, s"), Figure("calls_per_s", "calls a second", "more"),
        Figure("replicas_busy", "replicas busy", "more"), Figure("core_busy", "the client's core busy"),
        *FIGURES[1:],
        Figure("spent_admission", "waiting for admission, of agents' time"),
        Figure("spent_queue", "waiting at replicas, of agents' time"),
        Figure("simulation_cpu_us_per_call", "CPU of the simulation, us / call"),
    )  # fmt: skip
    entrants = tuple(Entrant(str(each), str(each), "peer" if n else "ours") for n, each in enumerate(policies))
    note = f"{options.replicas} replicas; {options.cpu_ms:g} ms of the client's CPU a call"
    row = Heading(
        "simulate-scale",
        "Simulated: more agents at the same replicas",
        note,
        figures,
        entrants,
        Axis("agents", log=True),
    )
    samples = []
    print(f"{'agents':>8} {'policy':28}" + "".join(f"{each.key:>28}" for each in figures))
    for agents in sizes:
        for policy in policies:
            outcome = simulate(
                Scene(agents, options.replicas, policy, Workload(options.seed), cpu_s=options.cpu_ms / 1000)
            )
            found = outcome.figures()
            print(f"{agents:8} {policy!s:28}" + "".join(f"{found[each.key]:28.3f}" for each in figures), flush=True)
            samples.append(Sample(row.name, str(policy), 1, os.getloadavg()[0], _of(found), at=agents))
    return [row], samples


def _check(options: argparse.Namespace) -> Found:
    sizes = options.agents or ([20] if options.quick else [100, 300, 1000])
    checks = [Check(agents, max(2, agents // 50), options.seed) for agents in sizes]
    checks += [Check(sizes[0], max(2, sizes[0] // 50), options.seed, storm=True)]
    found = compare(checks)
    entrants = (Entrant("real", "a real run over HTTP", "ours"), Entrant("simulated", "simulated", "peer"))
    figures = tuple(Figure(key, key.replace("_", " ")) for key in COMPARED)
    rows, samples = [], []
    for storm in (False, True):
        name = f"simulate-check{'-storm' if storm else ''}"
        note = "50 agents for each replica" + (
            ", the first of which refuses half of its calls for 6 s" if storm else ""
        )
        rows.append(
            Heading(name, "The simulation against real runs", note, figures, entrants, Axis("agents", log=True))
        )
        samples += [
            Sample(name, side, 1, os.getloadavg()[0], _of(each[side]), at=each["check"]["agents"])
            for each in found if each["check"]["storm"] is storm for side in ("real", "simulated")
        ]  # fmt: skip
    return rows, samples


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.simulate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", choices=["run", "compare", "scale", "check"], default="run")
    parser.add_argument("--agents", type=int, nargs="+")
    parser.add_argument("--replicas", type=int, default=20)
    parser.add_argument("--crowd", type=int, default=0, help="of run: agents for each replica, however many")
    parser.add_argument("--width", type=int, default=0, help="agents at work at once (0: all)")
    parser.add_argument("--kinds", type=int, default=1, help="kinds of agents, each with a system prompt of its own")
    parser.add_argument("--cpu-ms", type=float, default=CPU_S * 1000, help="the client's CPU for a call")
    parser.add_argument("--cores", type=int, default=1, help="processes of the client, each with a core")
    parser.add_argument("--routing", default="swarm")
    parser.add_argument("--admission", default="swarm", help="swarm, unbounded, or 'fixed N'")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=5, help="of compare")
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), help="these scenes alone")
    parser.add_argument("--quick", action="store_true", help="small: does it work?")
    parser.add_argument("--json", metavar="FILE", help="write the figures")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main(parsed())
