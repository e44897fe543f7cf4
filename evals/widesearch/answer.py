"""Finds the table in an answer."""

from __future__ import annotations

import re

from swarm.evals.widesearch.tables import Table, read_table

_FENCED = re.compile(r"```markdown(.*?)```", re.DOTALL)
_BARRED = re.compile(r"(?:\|.*\n?)+")
_RULE = frozenset("|- :")
_FEWEST_BARS = 4


def answer_table(text: str) -> Table | None:
    """The first table of an answer: of its first `markdown` fence, else the first run of lines with bars. None where
    there is none. Columns without a name are left out.

    Raises:
        ValueError: what should be the table cannot be read as one.
    """
    fenced = _FENCED.search(text)
    body = fenced.group(1) if fenced else _barred(text)
    if body is None:
        return None
    first, *rest = body.strip().split("\n")
    lines = [line.strip() for line in (first.replace(" ", "").lower(), *rest)]
    kept = ["|".join(cell.strip() for cell in line.split("|")) for line in lines if "|" in line and set(line) - _RULE]
    table = read_table("\n".join(kept), "|")
    named = [at for at, name in enumerate(table.columns) if not name.startswith("Unnamed")]
    return Table([table.columns[at] for at in named], [[row[at] for at in named] for row in table.rows])


def _barred(text: str) -> str | None:
    """The first run of text with bars, from the first bar's line to the last one's."""
    if text.count("|") < _FEWEST_BARS:
        return None
    start = max(text.rfind("\n", 0, text.index("|")), 0)
    end = text.find("\n", text.rindex("|"))
    found = _BARRED.search(text[start : len(text) if end < 0 else end])
    return found.group() if found else None
