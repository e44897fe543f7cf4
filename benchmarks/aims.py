"""Whether what was aimed at is met: each aim with what was measured, and by how much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.record import Figure, Heading, Results
from benchmarks.sums import failures, short, summed

_STEADY = ("makespan-1000", "makespan-long")


@dataclass(frozen=True)
class Aim:
    """What is to hold, what was found, whether it does."""

    text: str
    found: str
    met: bool


def found_in(rows: Sequence[tuple[Heading, Results]]) -> list[Aim]:
    """The aims that these rows can say something about."""
    by_name = {row.name: (row, results) for row, results in rows if not results.quick}
    aims: list[Aim] = []
    if "calls" in by_name:
        aims += _calls(*by_name["calls"])
    if "memory" in by_name:
        aims += _memory(*by_name["memory"])
    for name in ("thousand", *_STEADY):
        if name in by_name:
            aims += _thousand(*by_name[name])
    if "ray-throughput" in by_name:
        aims += _ray(*by_name["ray-throughput"])
    return aims


def text(rows: Sequence[tuple[Heading, Results]]) -> str:
    """A table; nothing where no row has an aim."""
    aims = found_in(rows)
    if not aims:
        return ""
    lines = [f"| {aim.text} | {aim.found} | {'yes' if aim.met else '**no**'} |" for aim in aims]
    return "\n".join(["| Aim | Measured | Met |", "|---|---|---|", *lines])


def frameworks(row: Heading) -> list[str]:
    """Peers that are frameworks: the `openai` package by itself runs no agents."""
    return [each.name for each in row.competitors if each.kind == "peer" and not each.name.startswith("openai-tuned")
            and each.name != "openai"]  # fmt: skip


def best(row: Heading, results: Results, figure: Figure) -> tuple[str, float, float] | None:
    """The framework that comes nearest to ours: its title, how many times as good ours is, its median."""
    found = []
    for name in frameworks(row):
        each = summed(results, row, name, figure)
        if each is not None and each.times is not None:
            title = next(entrant.title for entrant in row.competitors if entrant.name == name)
            found.append((title, each.times, each.median))
    return min(found, key=lambda entry: entry[1], default=None)


def _calls(row: Heading, results: Results) -> list[Aim]:
    cpu, _, python = row.figures
    aims = []
    if ours := summed(results, row, "swarm-given", cpu) or summed(results, row, "swarm", cpu):
        aims.append(
            Aim(
                "CPU of a model call, all of a sub-agent in it: ≤ 0.85 ms",
                f"{short(ours.median)} ms",
                ours.median <= 0.85,
            )
        )
    if ours := summed(results, row, "swarm", python):
        aims.append(Aim("Python calls of a model call: ≤ 3,000", short(ours.median), ours.median <= 3000))
    for figure, what in ((cpu, "CPU"), (python, "Python calls")):
        if nearest := best(row, results, figure):
            told = _told(nearest)
            aims.append(Aim(f"{what} of a model call: under a fifth of the leanest framework's", told, nearest[1] > 5))
    return aims


def _memory(row: Heading, results: Results) -> list[Aim]:
    nearest = best(row, results, row.figures[0])
    if nearest is None:
        return []
    return [Aim("Memory of a live agent: below a third of the leanest framework's", _told(nearest), nearest[1] > 3)]


def _ray(row: Heading, results: Results) -> list[Aim]:
    """Beside the local executor on all processors, and on one that has the machine for itself."""
    rate, cpu = row.figures[:2]
    beside = summed(results, row, "ray", rate)
    alone = summed(results, row, "ray", cpu, to="local")
    aims = []
    if beside and beside.times is not None:
        found = f"{short(beside.median)} calls/s, {1 / beside.times:.2f} of as many local processes'"
        aims.append(Aim("Ray: throughput within 15 % of the local executor's on as many cores", found,
                        1 / beside.times >= 0.85))  # fmt: skip
    if alone and alone.times is not None:
        found = f"{short(alone.median)} ms, {alone.times:.2f} times as much"
        aims.append(Aim("Ray: CPU of a call, all processes, within 15 % of one local process's", found,
                        alone.times <= 1.15))  # fmt: skip
    return aims


def _told(nearest: tuple[str, float, float]) -> str:
    title, times, median = nearest
    return f"{title}'s {short(median)} is {short(float(f'{times:.2g}'))} times ours"


def _thousand(row: Heading, results: Results) -> list[Aim]:
    names = [each.name for each in row.competitors if each.kind == "ours"]
    counted = [failures(results, row, name) for name in names]
    failed, of = sum(each[0] for each in counted), sum(each[1] for each in counted)
    aims = [Aim(f"{row.title}: not one failure", f"{failed} of {of} failed", failed == 0)] if of else []
    ratio = next(figure for figure in row.figures if figure.key == "ratio")
    found = summed(results, row, "swarm-given", ratio)
    if found and row.name in _STEADY:
        aims.append(Aim(f"{row.title}: within 3 %", f"{found.median:.3f} times the ideal", found.median <= 1.03))
    return aims
