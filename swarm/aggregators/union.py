"""The union of rows from many sources: the pure part of tables.

Rows with the same key are one row. Where they say different things, all that was said is kept, with who said it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from swarm.aggregators.rows import Cells, plain

Key = tuple[tuple[str, str], ...]
Cell = dict[str, set[str]]
"""What stands in a cell, and which sources say so. More than one text is a conflict."""


def folded(name: str) -> str:
    """A name as it is compared: without case, blanks for underscores."""
    return plain(name.replace("_", " ")).casefold()


@dataclass
class Table:
    """Rows by key. `key` names the columns by which rows are the same; without any, only equal rows are."""

    key: tuple[str, ...] = ()
    columns: dict[str, str] = field(default_factory=dict)
    """Names as first written, by their folded form."""
    rows: dict[Key, dict[str, Cell]] = field(default_factory=dict)

    def add(self, cells: Cells, sources: Iterable[str]) -> None:
        """Take one row in. Names that fold to the same column keep both their texts."""
        told: dict[str, list[str]] = {}
        for name, text in cells.items():
            if text:
                self.columns.setdefault(folded(name), name)
                told.setdefault(folded(name), []).append(text)
        if told:
            row = self.rows.setdefault(self._key_of(told), {})
            for column, texts in told.items():
                for text in texts:
                    row.setdefault(column, {}).setdefault(text, set()).update(sources)

    def join(self, other: Table) -> None:
        """Take all rows of a table with the same key columns in."""
        for column, name in other.columns.items():
            self.columns.setdefault(column, name)
        for key, row in other.rows.items():
            own = self.rows.setdefault(key, {})
            for column, cell in row.items():
                for text, sources in cell.items():
                    own.setdefault(column, {}).setdefault(text, set()).update(sources)

    def conflicts(self) -> list[tuple[Key, str, Cell]]:
        """Cells in which sources contradict each other; key columns differ in writing only."""
        keys = {folded(name) for name in self.key}
        return [
            (key, column, cell)
            for key, row in self.rows.items()
            for column, cell in row.items()
            if len(cell) > 1 and column not in keys
        ]

    def markdown(self) -> str:
        """The table; a cell with a conflict holds all that was said, what most sources say first."""
        if not self.rows:
            return ""
        order = self._order()
        lines = [_line(self.columns[column] for column in order), _line("---" for _ in order)]
        for row in self.rows.values():
            lines.append(_line(" / ".join(self._texts(column, row)) for column in order))
        return "\n".join(lines)

    def json(self) -> dict[str, Any]:
        """The table for programs: texts in `rows`, and every conflict with its sources."""
        order = self._order()
        return {
            "key": [self.columns.get(folded(name), name) for name in self.key],
            "columns": [self.columns[column] for column in order],
            "rows": [
                {self.columns[c]: texts[0] for c in order if (texts := self._texts(c, row))}
                | {"_sources": sorted({s for cell in row.values() for sources in cell.values() for s in sources})}
                for row in self.rows.values()
            ],
            "conflicts": [
                {
                    "row": {self.columns.get(c, c): text for c, text in key},
                    "column": self.columns[column],
                    "values": [{"value": text, "sources": sorted(cell[text])} for text in ranked(cell)],
                }
                for key, column, cell in self.conflicts()
            ],
        }

    def _texts(self, column: str, row: dict[str, Cell]) -> list[str]:
        texts = ranked(row.get(column, {}))
        return texts[:1] if column in {folded(name) for name in self.key} else texts

    def _order(self) -> list[str]:
        """Key columns first, the others as they came."""
        keys = [column for name in self.key if (column := folded(name)) in self.columns]
        return [*keys, *(column for column in self.columns if column not in keys)]

    def _key_of(self, told: dict[str, list[str]]) -> Key:
        wanted = [folded(name) for name in self.key]
        if wanted and all(column in told for column in wanted):
            return tuple((column, folded(sorted(told[column])[0])) for column in wanted)
        # Without its whole key a row is the same as an equal one only.
        return tuple(sorted((column, text) for column, texts in told.items() for text in texts))


def ranked(cell: Cell) -> list[str]:
    """The texts of a cell, that of most sources first."""
    return sorted(cell, key=lambda text: (-len(cell[text]), text))


def unite(rows: Iterable[tuple[str, Cells]], key: Sequence[str] = ()) -> Table:
    """The union of rows, each with its source."""
    table = Table(tuple(key))
    for source, cells in rows:
        table.add(cells, [source])
    return table


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
