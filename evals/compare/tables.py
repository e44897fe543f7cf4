"""A comparison as tables of text, for a terminal and for markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from swarm.evals.compare.forms import change, estimate, figure, p_value, ratio
from swarm.evals.compare.model import ArmSummary, Cell, Comparison, MetricInfo
from swarm.legible import clean

_ROWS = 40
"""Instances that are listed; the page and `--json` hold all."""
_MAIN = ("resolved", "score", "cost_usd", "wall_s", "critical_steps")
"""Metrics whose differences are listed unless others are asked for."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table: all columns but the first are set to the right. `hint` is a sentence below it."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    hint: str = ""


def tables(found: Comparison) -> Iterator[Table]:
    """All that is to be said, in the order in which it is read."""
    metrics = [metric for metric in found.metrics if metric.name in found.arms[0].figures]
    yield _coverage(found)
    if shares := [metric for metric in metrics if metric.form == "share"]:
        yield _success(found, shares)
    if prices := [metric for metric in metrics if metric.form != "share"]:
        yield _prices(found, prices)
    yield from _passes(found)
    if found.differences:
        yield _differences(found, metrics)
    yield from _frontiers(found)
    yield from _failures(found)
    if found.flips:
        yield _flips(found)
        yield from _flipped(found)


def markdown(found: Comparison) -> str:
    """All of it as markdown."""
    lines = [f"# {headline(found)}", ""]
    lines += [f"- {clean(note)}" for note in found.notes] + [""] * bool(found.notes)
    for table in tables(found):
        rows = [table.heads, *table.rows]
        lines += [f"## {table.title}", "", *map(_line, rows[:1])]
        lines += ["|" + "|".join(["---"] + ["---:"] * (len(table.heads) - 1)) + "|", *map(_line, rows[1:]), ""]
        lines += [table.hint, ""] * bool(table.hint)
    return "\n".join(lines).rstrip() + "\n"


def headline(found: Comparison) -> str:
    """What is compared, in one line."""
    arms = f"{len(found.arms)} arm{'' if len(found.arms) == 1 else 's'}"
    number = len(found.instances)
    return f"{found.suite} {found.version}: {arms} on {number} instance{'' if number == 1 else 's'}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(clean(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _coverage(found: Comparison) -> Table:
    rows = [
        (arm.label, arm.model or "-", *map(str, (arm.coverage.asked, arm.coverage.graded, arm.coverage.machine)),
         str(arm.coverage.missing), estimate(arm.resolved_alone, "share"))
        for arm in found.arms
    ]  # fmt: skip
    heads = ("Arm", "Model", "Trials", "Verdicts", "Lost to the machine", "Not run", "Resolved of all verdicts")
    return Table("Arms", heads, rows)


def _success(found: Comparison, metrics: Sequence[MetricInfo]) -> Table:
    scores = ["Score avg@N", "Score max@N", "Score min@N"] if repeated(found) else ["Score"]
    heads = [
        "Arm",
        "Trials",
        *(name for each in metrics for name in ([each.title] if each.name == "resolved" else scores)),
    ]
    rows = []
    for arm in found.arms:
        cells = [arm.label, str(arm.trials)]
        for metric in metrics:
            cells.append(estimate(arm.figures[metric.name].mean, "share"))
            if metric.name == "score" and len(scores) > 1:
                cells += [estimate(arm.best_score, "share"), estimate(arm.worst_score, "share")]
        rows.append(cells)
    sure = f"{100 * found.confidence:g} %"
    hint = f"In brackets {sure} intervals: Wilson's where no instance ended now so, now so, else the bootstrap."
    return Table(f"Success on the {len(found.instances)} shared instances", heads, rows, hint)


def repeated(found: Comparison) -> bool:
    """Whether an instance was tried more than once in an arm."""
    return any(arm.trials > len(found.instances) for arm in found.arms)


def _prices(found: Comparison, metrics: Sequence[MetricInfo]) -> Table:
    rows = [[metric.title, *(_price(arm, metric) for arm in found.arms)] for metric in metrics]
    if any(metric.name == "cost_usd" for metric in metrics):
        rows.append(["Spent on all that was run", *(figure(arm.spent_usd, "dollars") for arm in found.arms)])
    heads = ["For each trial: mean; median; 90 %", *(arm.label for arm in found.arms)]
    return Table("Price", heads, rows)


def _price(arm: ArmSummary, metric: MetricInfo) -> str:
    shown = arm.figures[metric.name]
    parts = [figure(each, metric.form) for each in (shown.mean.value, shown.median, shown.p90)]
    if shown.mean.value is None:
        return "unknown"
    return "; ".join(parts) + (f" ({shown.unknown} unknown)" if shown.unknown else "")


def _passes(found: Comparison) -> Iterator[Table]:
    ks = sorted({k for arm in found.arms for k in arm.pass_at})
    if ks in ([], [1]):
        return
    ways: tuple[tuple[str, Callable[[ArmSummary, int], str]], ...] = (
        ("pass@k: at least one of k trials", lambda arm, k: estimate(arm.pass_at[k], "share")),
        ("pass^k: all of k trials", lambda arm, k: estimate(arm.pass_all[k], "share")),
    )
    for title, of in ways:
        rows = [
            [f"k = {k}", *(of(arm, k) + _short(arm, k) if k in arm.pass_at else "-" for arm in found.arms)] for k in ks
        ]
        yield Table(title, ["", *(arm.label for arm in found.arms)], rows)


def _short(arm: ArmSummary, k: int) -> str:
    return f" without {arm.short[k]}" if k in arm.short else ""


def _differences(found: Comparison, metrics: Sequence[MetricInfo]) -> Table:
    forms = {metric.name: metric for metric in metrics}
    several = len(found.arms) > 2
    rows = []
    every = len(metrics) == len(found.metrics)
    for each in found.differences:
        if every and each.metric not in _MAIN:
            continue
        metric = forms[each.metric]
        cells = [f"{metric.title}: {each.arm}", change(each.difference, metric.form), ratio(each.ratio)]
        rows.append([*cells, p_value(each.p), *([p_value(each.p_holm)] if several else []), str(each.instances)])
    heads = ["", "Difference", "Ratio", "p", *(["p, Holm"] if several else []), "Pairs"]
    tests = "p by McNemar's exact test for shares of single trials, else by flipping signs"
    hint = f"Paired by instance; intervals by the bootstrap over instances, {tests}."
    return Table(f"Against {found.base}", heads, rows, hint)


def _frontiers(found: Comparison) -> Iterator[Table]:
    titles = {metric.name: metric.title for metric in found.metrics}
    rows = []
    for picture in found.pictures if len(found.arms) > 1 else ():
        by_price = sorted(picture.points, key=lambda point: point.x.value or 0)
        best, beaten = (", ".join(point.arm for point in by_price if point.best is way) for way in (True, False))
        rows.append([f"{titles[picture.y]} for {titles[picture.x].lower()}", best, beaten or "none"])
    if rows:
        number = len(found.instances)
        hint = f"By the means over n = {number}: where the intervals overlap widely, do not build on their order."
        yield Table("Which arm no other beats", ("", "On the frontier", "Beaten"), rows, hint)


def _failures(found: Comparison) -> Iterator[Table]:
    ways: tuple[tuple[str, Callable[[ArmSummary], dict[str, int]]], ...] = (
        ("Not resolved, by kind", lambda arm: arm.by_kind),
        ("Not resolved, by the run's end", lambda arm: arm.by_status),
        ("Sub-tasks by outcome", lambda arm: arm.subtasks),
        ("Lost to the machine (no verdicts)", lambda arm: arm.machine),
    )
    for title, of in ways:
        names = list(dict.fromkeys(name for arm in found.arms for name in of(arm)))
        if names:
            rows = [[name.replace("_", " "), *(str(of(arm).get(name, 0)) for arm in found.arms)] for name in names]
            yield Table(title, ["", *(arm.label for arm in found.arms)], rows)


def _flips(found: Comparison) -> Table:
    rows = [[each.arm, *map(str, (each.won, each.lost, each.both, each.neither, each.mixed))] for each in found.flips]
    return Table(f"Instances against {found.base}", ("Arm", "Won", "Lost", "Both", "Neither", "As often"), rows)


def _flipped(found: Comparison) -> Iterator[Table]:
    """The instances on which the arms do not agree."""
    rows = [row for row in found.rows if row.shared and len({cell.resolved / cell.graded for cell in row.cells}) > 1]
    if not rows:
        return
    shown = [[row.instance_id, *map(_mark, row.cells)] for row in rows[:_ROWS]]
    hint = f"{len(rows) - _ROWS} more: see `--html` or `--json`." if len(rows) > _ROWS else ""
    yield Table("Instances that flipped", ["Instance", *(arm.label for arm in found.arms)], shown, hint)


def _mark(cell: Cell) -> str:
    if cell.graded == 1:
        return "✓" if cell.resolved else "✗"
    return f"{cell.resolved}/{cell.graded}"
