"""Reads rows out of results: structured ones, JSON in a text, markdown tables."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from swarm.types import AgentResult

Cells = dict[str, str]
"""One row: text by column name. A cell without text is not there."""

_FENCE = re.compile(r"```[^\n`]*\n(.*?)```", re.DOTALL)
# These never go back: lines may be long.
_RULE = re.compile(r"\s*+\|?\s*+:?-++:?\s*+(?:\|\s*+:?-++:?\s*+)*+\|?\s*$")
_CELL = r"(?::-++:?|-++:|-{3,}+)"
_SURE_RULE = re.compile(rf"\s*+\|?\s*+{_CELL}\s*+(?:\|\s*+{_CELL}\s*+)*+\|?\s*$")
_BAR = re.compile(r"(?<!\\)\|")


def rows_of(result: AgentResult) -> list[Cells]:
    """The rows of one result, its structured form before its text."""
    return structured_rows(result.result) or text_rows(result.text)


def structured_rows(value: Any) -> list[Cells]:
    """Rows of a JSON value: a list of objects, an object with such lists, or one object as one row."""
    if isinstance(value, list):
        found = [_cells(item) for item in value if isinstance(item, Mapping)]
    elif isinstance(value, Mapping):
        lists = [part for part in value.values() if _is_rows(part)]
        found = [_cells(item) for part in lists for item in part] if lists else [_cells(value)]
    else:
        found = []
    return [row for row in found if row]


def text_rows(text: str) -> list[Cells]:
    """Rows of all markdown tables in a text; where there are none, of its JSON (in fences, or the whole text)."""
    lines = text.splitlines()
    found: list[Cells] = []
    for rule, next_rule in pairwise([*_rules(lines), len(lines) + 1]):
        found += _table(lines, rule, next_rule - 1)
    if found:
        return found
    for body in [*_FENCE.findall(text), text]:
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            continue
        if _is_rows(value) or isinstance(value, Mapping):
            found += structured_rows(value)
    return found


def _rules(lines: list[str]) -> list[int]:
    """The lines below the heads of tables. Within a table, dashes may be the cells of a row that has nothing to say:
    there another one begins only with three of them in each cell, or a colon."""
    found: list[int] = []
    within = False
    for at, line in enumerate(lines):
        if "|" not in line:
            within = False
        elif at and "|" in lines[at - 1] and (_SURE_RULE.match(line) if within else _RULE.match(line)):
            found.append(at)
            within = True
    return found


def _table(lines: list[str], rule: int, end: int) -> list[Cells]:
    """The rows under a table's rule, until a line that has no bar, or the head of the next table."""
    names = _distinct(_split(lines[rule - 1]))
    found: list[Cells] = []
    for line in lines[rule + 1 : end]:
        if "|" not in line:
            break
        cells = _split(line)
        wide = [*names, *(f"column {n}" for n in range(len(names) + 1, len(cells) + 1))]
        row = {name: cell for name, cell in zip(wide, cells, strict=False) if cell}
        if row:
            found.append(row)
    return found


def _split(line: str) -> list[str]:
    body = line.strip()
    body = body[1:] if body.startswith("|") else body
    body = body[:-1] if body.endswith("|") and not body.endswith("\\|") else body
    return [plain(cell.replace("\\|", "|")) for cell in _BAR.split(body)]


def _distinct(names: list[str]) -> list[str]:
    """Column names, each once: what stands under a repeated one is kept apart."""
    taken: list[str] = []
    for n, name in enumerate(names, 1):
        own = name or f"column {n}"
        taken.append(own if own not in taken else f"{own} {n}")
    return taken


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(item, Mapping) for item in value)


def _cells(item: Mapping[str, Any]) -> Cells:
    return {plain(str(name)): text for name, value in item.items() if (text := _text(value))}


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return plain(value)
    return plain(json.dumps(value, ensure_ascii=False))


def plain(text: str) -> str:
    """Text on one line, with single blanks."""
    return " ".join(text.split())
