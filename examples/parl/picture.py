"""Curves and a table of what trainings came to: python -m examples.parl.picture DIR --to FILE.svg

The picture shows held-out tasks over the iterations, the mean of the seeds that are there, with their range behind it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from examples.parl.recipes import BEFORE, RECIPES

_COLORS = ("#1b6ca8", "#c0392b", "#d98e04", "#7d3c98", "#1e8449", "#7f8c8d", "#17202a")
_PANELS = (
    ("perf", "worth of a run, r_perf", (0.0, 1.0)),
    ("wide_delegated", "wide tasks that were delegated", (0.0, 1.0)),
    ("chain_delegated", "chains that were delegated", (0.0, 1.0)),
    ("wide_agents", "sub-agents of a wide task", (0.0, 10.0)),
    ("finish_rate", "sub-agents that completed", (0.0, 1.0)),
    ("wide_perf", "worth of a wide task, r_perf", (0.0, 1.0)),
)
_COLUMNS = (
    ("r_perf (each seed)", "perf"),
    ("wide", "wide_perf"),
    ("chain", "chain_perf"),
    ("found of wide", "wide_found"),
    ("wide delegated", "wide_delegated"),
    ("chain delegated", "chain_delegated"),
    ("agents, wide", "wide_agents"),
    ("completed", "finish_rate"),
    ("critical steps", "critical_steps"),
)
"""Of the table."""

LATE = 10
"""Iterations."""

_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP = 250, 150, 34, 26, 46


Lines = Sequence[Sequence[Mapping[str, Any]]]
"""Of each seed of a recipe the lines of its results."""


class Curve(NamedTuple):
    """Mean, least and most of the seeds, by iteration."""

    steps: list[int]
    mean: list[float]
    least: list[float]
    most: list[float]


def main(arguments: list[str] | None = None) -> int:
    """Draw, and print the table; 1 where there is nothing to draw."""
    parser = argparse.ArgumentParser(prog="python -m examples.parl.picture", description="draw curves of trainings")
    parser.add_argument("results", type=Path, help="the folder that `python -m examples.parl --out` wrote")
    parser.add_argument("--to", type=Path, required=True, metavar="FILE.svg")
    given = parser.parse_args(arguments)
    found = {name: read(given.results, name) for name in RECIPES}
    if not any(found.values()):
        print(f"there are no results in {given.results}", file=sys.stderr)
        return 1
    given.to.write_text(drawn(found), encoding="utf-8")
    print(table(found))
    return 0


def read(folder: Path, name: str) -> list[list[dict[str, Any]]]:
    """The lines of each seed of a recipe, those of trainings that came to their end."""
    every = (
        [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for path in sorted(folder.glob(f"{name}-[0-9]*.jsonl"))
    )
    return [lines for lines in every if lines and lines[-1].get("last")]


def curve(seeds: Lines, key: str, first: Lines = ()) -> Curve:
    """One figure of held-out tasks. `first` are the same for the policy that all begin with."""
    values = {0: [lines[-1]["held_out"][key] for lines in first]} if first else {}
    for lines in seeds:
        for line in lines:
            if "held_out" in line and (line["step"] or not first) and _is_there(line["held_out"], key):
                values.setdefault(line["step"], []).append(line["held_out"][key])
    steps = sorted(values)
    every = [values[step] for step in steps]
    return Curve(steps, [fmean(each) for each in every], [min(each) for each in every], [max(each) for each in every])


def _is_there(trial: Mapping[str, float], key: str) -> bool:
    """Without sub-agents there is no part of them that completed."""
    return key != "finish_rate" or trial["wide_agents"] + trial["chain_agents"] > 0


def table(found: Mapping[str, Lines]) -> str:
    """What the last trial of each recipe gave: the means of the seeds, and for the first figure each seed's own. Last
    comes the worth of the tasks that were learnt on, over the last iterations."""
    names = [*(name for name, _ in _COLUMNS), "trained tasks"]
    lines = ["| | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for name, seeds in found.items():
        last = [lines_of[-1]["held_out"] for lines_of in seeds]
        if last:
            cells = [f"{fmean(each[key] for each in last):.2f}" for _, key in _COLUMNS]
            cells[0] += f" ({', '.join(f'{each[_COLUMNS[0][1]]:.2f}' for each in last)})"
            lines.append(f"| {name} | " + " | ".join([*cells, _trained(seeds)]) + " |")
    return "\n".join(lines)


def _trained(seeds: Lines) -> str:
    every = [[line["trained"]["perf"] for line in lines if "trained" in line][-LATE:] for lines in seeds]
    return f"{fmean(fmean(each) for each in every):.2f}" if all(every) else ""


def drawn(found: Mapping[str, Lines]) -> str:
    """The whole picture."""
    learnt = {name: seeds for name, seeds in found.items() if seeds and name != BEFORE}
    columns, rows = 3, 2
    width = columns * (_WIDTH + _GAP) + _LEFT
    height = rows * (_HEIGHT + _GAP) + _TOP + 24
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for number, (key, title, bounds) in enumerate(_PANELS):
        x, y = _LEFT + number % columns * (_WIDTH + _GAP), _TOP + number // columns * (_HEIGHT + _GAP)
        parts.append(f'<g transform="translate({x} {y})">')
        parts += _panel({name: curve(seeds, key, found[BEFORE]) for name, seeds in learnt.items()}, title, bounds)
        parts.append("</g>")
    parts += _legend(list(learnt), height - 12)
    return "\n".join([*parts, "</svg>", ""])


def _panel(curves: Mapping[str, Curve], title: str, bounds: tuple[float, float]) -> Iterator[str]:
    low, high = bounds
    last = max(each.steps[-1] for each in curves.values()) or 1

    def place(step: int, value: float) -> str:
        inside = min(max((value - low) / (high - low), 0.0), 1.0)
        return f"{step / last * _WIDTH:.1f},{_HEIGHT * (1 - inside):.1f}"

    yield f'<text y="-8" font-weight="bold">{title}</text>'
    for part in range(5):
        y, value = _HEIGHT * (1 - part / 4), low + (high - low) * part / 4
        yield f'<line x2="{_WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e5e5e5"/>'
        yield f'<text x="-5" y="{y + 4:.1f}" text-anchor="end" fill="#555">{value:g}</text>'
    for step in range(0, last + 1, 20):
        yield f'<text x="{step / last * _WIDTH:.1f}" y="{_HEIGHT + 14}" text-anchor="middle" fill="#555">{step}</text>'
    for name, each in curves.items():
        up = [place(*point) for point in zip(each.steps, each.most, strict=True)]
        down = [place(*point) for point in zip(each.steps, each.least, strict=True)]
        yield f'<polygon points="{" ".join([*up, *reversed(down)])}" fill="{_color(name)}" opacity="0.08"/>'
    for name, each in curves.items():
        line = " ".join(place(*point) for point in zip(each.steps, each.mean, strict=True))
        wide = 2.4 if name == "full" else 1.3
        yield f'<polyline points="{line}" fill="none" stroke="{_color(name)}" stroke-width="{wide}"/>'


def _legend(names: Sequence[str], y: int) -> Iterator[str]:
    x = _LEFT
    for name in names:
        yield f'<line x1="{x}" x2="{x + 18}" y1="{y - 4}" y2="{y - 4}" stroke="{_color(name)}" stroke-width="3"/>'
        yield f'<text x="{x + 23}" y="{y}">{name}</text>'
        x += 40 + 7 * len(name)


def _color(name: str) -> str:
    return _COLORS[list(RECIPES).index(name) - 1]


if __name__ == "__main__":
    sys.exit(main())
