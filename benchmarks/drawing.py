"""Pictures of results, in the environment `pictures`: python -m benchmarks.drawing FOLDER FILE..."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from benchmarks.aims import best
from benchmarks.record import Heading, Results, load, merged
from benchmarks.sums import short, summed

COLOURS = {"ours": "#0b7a75", "floor": "#9aa5b1", "peer": "#c8553d"}
_IN_SCENES = {"simulate-policies", "simulate-latency"}
LINES = ("#0b7a75", "#c8553d", "#5b6c9e", "#d9a441", "#7a4b8c", "#5a8f3c")
mpl.rcParams.update({
    "svg.hashsalt": "swarm", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 10,
    "axes.spines.top": False, "axes.spines.right": False, "figure.facecolor": "white",
})  # fmt: skip


def bars(row: Heading, results: Results, folder: Path) -> None:
    """The headline figure of every competitor, on a logarithmic scale, with its spread and its ratio to ours."""
    figure = row.figures[0]
    found = [(each, summed(results, row, each.name, figure)) for each in row.competitors]
    shown = [(each, one) for each, one in found if one is not None]
    if len(shown) < 2:
        return
    shown.sort(key=lambda pair: pair[1].median, reverse=figure.better == "less")
    picture, axes = plt.subplots(figsize=(8, 0.9 + 0.34 * len(shown)))
    for at, (each, one) in enumerate(shown):
        axes.barh(at, one.median, color=COLOURS[each.kind], height=0.7)
        axes.plot([one.least, one.most], [at, at], color="black", linewidth=1)
        ratio = "" if one.times is None else f"   {short(float(f'{one.times:.2g}'))}x ours"
        if figure.better == "more" and one.times:
            ratio = f"   ours is {short(float(f'{one.times:.2g}'))}x"
        axes.annotate(
            f"{short(one.median)}{ratio}", (one.most, at), xytext=(5, 0), textcoords="offset points", va="center"
        )
    axes.set_yticks(range(len(shown)), [each.title for each, _ in shown])
    axes.set_xscale("log")
    low, high = min(one.least for _, one in shown), max(one.most for _, one in shown)
    axes.set_xlim(low / 2, high * (high / low) ** 0.45 * 3)
    axes.set_xlabel(f"{figure.title} ({figure.better} is better)")
    picture.suptitle(row.title, x=0.01, ha="left", fontsize=11)
    _legend(axes, {each.kind for each, _ in shown})
    _save(picture, folder / f"bench-{row.name}")


def curve(row: Heading, results: Results, folder: Path) -> None:
    """Each figure over the axis, a line for each competitor."""
    assert row.axis is not None
    figures = row.figures[:4]
    picture, grid = plt.subplots(1, len(figures), figsize=(3.6 * len(figures) + 0.4, 3.4), squeeze=False)
    points = sorted({sample.at for sample in results.samples if sample.row == row.name and sample.at is not None})
    for axes, figure in zip(grid[0], figures, strict=True):
        most = 0.0
        for number, each in enumerate(row.competitors):
            found = [(at, summed(results, row, each.name, figure, at=at)) for at in points]
            line = [(at, one) for at, one in found if one is not None]
            if not line:
                continue
            colour = LINES[number % len(LINES)]
            axes.plot([at for at, _ in line], [one.median for _, one in line], "o-", color=colour, label=each.title)
            axes.fill_between(
                [at for at, _ in line], [one.least for _, one in line], [one.most for _, one in line],
                color=colour, alpha=0.15,
            )  # fmt: skip
            most = max(most, *(one.most for _, one in line))
        axes.set_ylim(0, most * 1.15 or 1)
        if row.axis.log:
            axes.set_xscale("log")
        axes.set_xlabel(row.axis.title)
        axes.set_title(figure.title, loc="left", fontsize=10)
    if len(row.competitors) > 1:
        grid[0][0].legend(frameon=False, fontsize=8)
    picture.suptitle(row.title, x=0.01, ha="left", fontsize=11)
    _save(picture, folder / f"bench-{row.name}")


def scenes(row: Heading, results: Results, folder: Path) -> None:
    """Each figure of every competitor in a panel of its own: for figures of one kind."""
    shown = [each for each in reversed(row.competitors) if summed(results, row, each.name, row.figures[0])]
    size = (2.2 + 1.55 * len(row.figures), 1.0 + 0.3 * len(shown))
    picture, grid = plt.subplots(1, len(row.figures), figsize=size, squeeze=False, sharey=True)
    for axes, figure in zip(grid[0], row.figures, strict=True):
        for at, each in enumerate(shown):
            if (one := summed(results, row, each.name, figure)) is not None:
                axes.barh(at, one.median, color=COLOURS[each.kind], height=0.7)
                axes.plot([one.least, one.most], [at, at], color="black", linewidth=1)
        axes.set_title(figure.title, loc="left", fontsize=10)
    grid[0][0].set_yticks(range(len(shown)), [each.title for each in shown])
    picture.suptitle(row.title, x=0.01, ha="left", fontsize=11)
    _save(picture, folder / f"bench-{row.name}")


def overview(rows: list[tuple[Heading, Results]], folder: Path) -> None:
    """Of every row and figure: how many times as good ours is as the best framework or tool."""
    found = []
    for row, results in rows:
        if row.axis is None and not row.name.startswith("simulate"):
            for figure in row.figures if row.name in {"calls", "startup"} else row.figures[:1]:
                if nearest := best(row, results, figure):
                    found.append((f"{row.name}: {figure.title}", nearest[1], nearest[0]))
    if not found:
        return
    found.sort(key=lambda entry: entry[1])
    picture, axes = plt.subplots(figsize=(8, 0.9 + 0.34 * len(found)))
    for at, (_, times, who) in enumerate(found):
        axes.barh(
            at, max(times - 1, 0) if times >= 1 else times - 1, left=1, color=COLOURS["ours" if times > 1 else "peer"]
        )
        axes.annotate(
            f"{short(float(f'{times:.2g}'))}x  ({who})", (max(times, 1), at), xytext=(5, 0),
            textcoords="offset points", va="center", fontsize=9,
        )  # fmt: skip
    axes.set_yticks(range(len(found)), [name for name, _, _ in found])
    axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xlim(min(0.5, min(times for _, times, _ in found) / 1.5), max(times for _, times, _ in found) * 60)
    axes.set_xlabel("how many times as good as the best peer (1: the same)")
    picture.suptitle("swarm against the best peer of each row", x=0.01, ha="left", fontsize=11)
    _save(picture, folder / "bench-overview")


def _legend(axes: Axes, kinds: set[str]) -> None:
    names = {"ours": "swarm", "floor": "floor", "peer": "peers"}
    handles = [Patch(color=COLOURS[kind], label=names[kind]) for kind in names if kind in kinds]
    axes.legend(handles=handles, frameon=False, fontsize=8, loc="upper right")


def _save(picture: plt.Figure, path: Path) -> None:
    picture.tight_layout()
    picture.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    picture.savefig(path.with_suffix(".png"), dpi=110)
    plt.close(picture)


def main(folder: Path, files: list[Path]) -> None:
    rows = merged(sorted((load(path) for path in files), key=lambda results: results.date))
    for row, results in rows:
        (curve if row.axis else scenes if row.name in _IN_SCENES else bars)(row, results, folder)
    overview(rows, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
