"""The results of a run of benchmarks as a JSON file. Only the standard library: peers read it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

FORMAT = "swarm-bench/1"


@dataclass(frozen=True)
class Figure:
    """What a sample tells, by `key`; `better` is `less` or `more`."""

    key: str
    title: str
    better: str = "less"


@dataclass(frozen=True)
class Axis:
    """What a curve is drawn over: the samples of its row carry `at`."""

    title: str
    log: bool = False


@dataclass(frozen=True)
class Entrant:
    """A competitor in a row. `kind`: `ours` (the first of them is what ratios are to), `floor` or `peer`."""

    name: str
    title: str
    kind: str
    left_out: str = ""


@dataclass(frozen=True)
class Heading:
    """What a row is about, as it stands in the file."""

    name: str
    title: str
    note: str
    figures: tuple[Figure, ...]
    competitors: tuple[Entrant, ...]
    axis: Axis | None = None


@dataclass(frozen=True)
class Sample:
    """One measurement. A figure that could not be taken is not there; `failed` of `of` pieces of work failed.

    `load` is the machine's load figure before it, `others` the processors that others took meanwhile (None: not known).
    """

    row: str
    competitor: str
    round: int
    load: float
    figures: dict[str, float]
    failed: int = 0
    of: int = 0
    error: str = ""
    at: float | None = None
    others: float | None = None


@dataclass
class Results:
    """All of a run."""

    date: str
    command: str
    commit: str
    machine: dict[str, Any]
    quick: bool = False
    wall_s: float = 0.0
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    rows: list[Heading] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)

    def of(self, row: str, competitor: str, at: float | None = None) -> list[Sample]:
        """The samples of a competitor in a row."""
        key = (row, competitor, at)
        return [each for each in self.samples if (each.row, each.competitor, each.at) == key]

    @property
    def most_load(self) -> float:
        """The highest load figure beside a sample."""
        return max((sample.load for sample in self.samples), default=0.0)

    def save(self, path: Path) -> None:
        """Write the file, in one move."""
        body = {"format": FORMAT, **asdict(self)}
        samples = body.pop("samples")
        head = json.dumps(body, indent=1)[:-2]
        lines = ",\n  ".join(json.dumps(sample) for sample in samples)
        new = path.with_name(f"{path.name}.new")
        new.write_text(f'{head},\n "samples": [\n  {lines}\n ]\n}}\n', encoding="utf-8")
        new.replace(path)


def load(path: Path) -> Results:
    """Read a file; raises ValueError where it is not one of ours."""
    body = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(body, dict) or body.pop("format", None) != FORMAT:
        raise ValueError(f"{path}: not {FORMAT}")
    try:
        rows = [_heading(row) for row in body.pop("rows")]
        samples = [Sample(**sample) for sample in body.pop("samples")]
        found = Results(**body, rows=rows, samples=samples)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error
    known = {(row.name, each.name) for row in rows for each in row.competitors}
    for sample in samples:
        if (sample.row, sample.competitor) not in known:
            raise ValueError(f"{path}: a sample of {sample.row}/{sample.competitor}, which no row has")
    return found


def merged(files: Iterable[Results]) -> list[tuple[Heading, Results]]:
    """Every row with the results it stands in; of two rows of a name the last one."""
    found = {row.name: (row, results) for results in files for row in results.rows}
    return list(found.values())


def _heading(row: dict[str, Any]) -> Heading:
    axis = row.get("axis")
    return Heading(
        name=row["name"],
        title=row["title"],
        note=row.get("note", ""),
        figures=tuple(Figure(**figure) for figure in row["figures"]),
        competitors=tuple(Entrant(**entrant) for entrant in row["competitors"]),
        axis=Axis(**axis) if axis else None,
    )
