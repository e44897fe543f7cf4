"""Makes one table of the rows in all results, as markdown and as `artifacts/table.json`."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
from pydantic_core import to_json

from swarm.agents.desk import Desk
from swarm.aggregators.rows import rows_of
from swarm.aggregators.union import Table, folded, ranked, unite
from swarm.events import Notice
from swarm.stages import Harvest, Merged
from swarm.types import AgentResult

FILE = "table.json"
_MOST_CONFLICTS = 50  # that the answer tells; the file holds all


class TableAggregator:
    """The rows of all stages, united by the configured key columns; no model is asked."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def merge(self, harvest: Harvest) -> Merged:
        found = {result.subtask_id: rows_of(result) for result in all_useful(harvest)}
        rows = [(source, cells) for source, own in found.items() for cells in own]
        table = unite(rows, self._desk.config.table_key)
        without = [source for source, own in found.items() if not own]
        data = {**table.json(), "without_rows": without}
        await anyio.Path(self._desk.artifacts / FILE).write_bytes(to_json(data, indent=2))
        if not rows:
            return Merged(
                f"There is no answer: no result holds a table with a row.{_without(without)}", whole=True, void=True
            )
        strange = _strange(table)
        if strange:
            self._desk.sink.emit(Notice(level="warning", message=strange))
        parts = [table.markdown(), strange, _conflicts(table), _without(without).strip()]
        return Merged("\n\n".join(part for part in parts if part), whole=True)


def all_useful(harvest: Harvest) -> list[AgentResult]:
    """The results worth keeping of this stage and of those before."""
    before = [
        result
        for report in harvest.earlier
        for result in report.results
        if result.keep and result.subtask_id not in report.merged.passed_over
    ]
    return [*before, *harvest.useful]


def _without(sources: Sequence[str]) -> str:
    return f" Without a table, and so not in it: {', '.join(sources)}." if sources else ""


def _strange(table: Table) -> str:
    """What is to be said of key columns that no row has."""
    unknown = [name for name in table.key if folded(name) not in table.columns]
    if not unknown:
        return ""
    there = ", ".join(repr(name) for name in table.columns.values())
    named = ", ".join(map(repr, unknown))
    return f"No row has the key {named}: only equal rows are united. The columns are: {there}."


def _conflicts(table: Table) -> str:
    found = table.conflicts()
    if not found:
        return ""
    lines = ["Sources contradict each other (all in the table, most sources first):", ""]
    for key, column, cell in found[:_MOST_CONFLICTS]:
        row = ", ".join(text for _, text in key)
        said = "; ".join(f"{text} ({', '.join(sorted(cell[text]))})" for text in ranked(cell))
        lines.append(f"- {row}: {table.columns[column]}: {said}")
    if len(found) > _MOST_CONFLICTS:
        lines.append(f"- and {len(found) - _MOST_CONFLICTS} more, in artifacts/{FILE}")
    return "\n".join(lines)
