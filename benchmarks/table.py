"""Tables in Markdown from results: ratios to ours first, then the absolute figures of one machine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks import aims
from benchmarks.record import Figure, Heading, Results, merged
from benchmarks.shape import Row
from benchmarks.sums import failures, short, summed


def text(files: Sequence[Results]) -> str:
    """All rows, the later file's where two have one."""
    found = merged(files)
    parts = [aims.text(found), *(section(row, results) for row, results in found)]
    return "\n\n".join(part for part in parts if part) + "\n"


def section(row: Heading, results: Results) -> str:
    """A row: its heading, its table, and where the figures come from."""
    body = curve(row, results) if row.axis else bars(row, results)
    return f"### {row.title}\n\n{row.note}\n\n{body}\n\n{origin(row, results)}"


def pictured(row: Heading) -> str:
    """The picture of a row, as a page in docs/ shows it."""
    return f"![{row.title}](images/bench-{row.name}.svg)"


def bars(row: Heading, results: Results) -> str:
    """A line a competitor. A ratio of 5 means: ours is five times as good."""
    figures = [figure for figure in row.figures if any(summed(results, row, e.name, figure) for e in row.competitors)]
    with_failures = any(failures(results, row, each.name)[0] for each in row.competitors)
    lines = [["", *(figure.title for figure in figures), *(["failed"] if with_failures else [])]]
    for each in row.competitors:
        if each.left_out:
            continue
        cells = [f"**{each.title}**" if each.kind == "ours" else f"{each.title}{' (floor)' * (each.kind == 'floor')}"]
        cells += [_cell(results, row, each.name, figure) for figure in figures]
        if with_failures:
            failed, of, said = failures(results, row, each.name)
            cells.append(f"{failed} of {of}: {_escaped(said)}" if failed else f"0 of {of}")
        lines.append(cells)
    left = [f"{each.title} ({each.left_out})" for each in row.competitors if each.left_out]
    return _markdown(lines) + (f"\n\nLeft out: {'; '.join(left)}." if left else "")


def curve(row: Heading, results: Results) -> str:
    """A line for each point of the axis and competitor."""
    assert row.axis is not None
    lines = [[row.axis.title, "", *(figure.title for figure in row.figures), "failed"]]
    points = sorted({sample.at for sample in results.samples if sample.row == row.name and sample.at is not None})
    for at in points:
        for each in row.competitors:
            samples = results.of(row.name, each.name, at)
            if not samples:
                continue
            cells = [_cell(results, row, each.name, figure, at) for figure in row.figures]
            failed, of = sum(sample.failed for sample in samples), sum(sample.of for sample in samples)
            lines.append([f"{at:,.0f}", each.title, *cells, f"{failed} of {of}" if of else "-"])
    return _markdown(lines)


def origin(row: Heading, results: Results) -> str:
    """Command, date, machine, commit, versions, rounds, load."""
    machine = results.machine
    samples = [sample for sample in results.samples if sample.row == row.name]
    rounds = max((sample.round for sample in samples), default=0)
    loads = [sample.load for sample in samples] or [0.0]
    others = [sample.others for sample in samples if sample.others is not None]
    taken = f", others took at most {max(others):.1f} processors" if others else ""
    told = (
        f"`{results.command}`, {results.date[:16].replace('T', ' ')}, {machine.get('cores', '?')} cores "
        f"({machine.get('cpu', '?')}), Python {machine.get('python', '?')}, commit {results.commit or '?'}; "
        f"{rounds} round{'s' * (rounds != 1)}, medians (least-most), load {min(loads):.1f}-{max(loads):.1f}{taken}"
    )
    quick = " Quick form: fewer agents and rounds than the heading says." if results.quick else ""
    return f"<sub>{told}.{quick}</sub>"


def versions(files: Sequence[Results]) -> str:
    """What was measured, by environment."""
    found: dict[str, dict[str, str]] = {}
    for results in files:
        found |= results.versions
    names = (", ".join(f"{package} {number}" for package, number in each.items()) for each in found.values())
    return "; ".join(sorted(names))


def listing(rows: Iterable[Row]) -> str:
    """Rows and competitors, for a reader."""
    lines = (f"{row.name:14} {row.title}\n{'':14} {', '.join(each.name for each in row.competitors)}" for row in rows)
    return "\n".join(lines)


def _cell(results: Results, row: Heading, name: str, figure: Figure, at: float | None = None) -> str:
    found = summed(results, row, name, figure, at=at)
    if found is None:
        return "-"
    spread = f" ({short(found.least)}-{short(found.most)})" if found.least != found.most else ""
    value = f"{short(found.median)}{spread}"
    return value if found.times is None else f"**{short(float(f'{found.times:.2g}'))}x** · {value}"


def _escaped(text: str) -> str:
    clean = "".join(letter if letter.isprintable() else " " for letter in text)[:80]
    return clean.replace("|", "/").replace("<", "&lt;").replace("`", "'")


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    head, *rest = lines
    rows = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *(f"| {' | '.join(line)} |" for line in rest)]
    return "\n".join(rows)
