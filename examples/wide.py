"""A wide table from a folder of documents: one row for each item, every cell with its source.

    python -m examples.wide                                    # a made-up corpus, no model: search and quotation
    python -m examples.wide --model NAME --base-url URL        # the same by a language model
    python -m examples.wide --docs FOLDER --items 'A,B' --columns 'Name,Founded,Seat' --model NAME

Each item is one sub-agent's. Sources are checked: a claim without one that holds is marked, and named at the end.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import anyio

from examples.corpora import COLUMNS, ISLANDS, write_wide
from examples.documents import answered
from examples.flags import flags_of, parser
from swarm import SwarmError

TASK = """Make one table with a row for each of these items, from the attached documents alone:

{items}

Columns: {columns}

Put the source behind each cell but those of {first}. A cell that no document answers says [no source]."""


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    options = parser("wide", "A table from a folder of documents, every cell with its source.")
    options.add_argument("--docs", type=Path, metavar="DIR", help="documents (default: a made-up corpus)")
    options.add_argument("--items", metavar="A,B,C", help="what gets a row")
    options.add_argument("--columns", metavar="A,B,C", default=",".join(COLUMNS), help="the first one names the item")
    given = options.parse_args(arguments)
    if given.docs is not None and not given.items:
        options.error("--docs needs --items")
    return given


def main(arguments: Sequence[str] | None = None) -> int:
    given = parsed(arguments)
    items = given.items.split(",") if given.items else [island.name for island in ISLANDS]
    columns = [name.strip() for name in given.columns.split(",")]
    task = TASK.format(items="\n".join(f"- {i.strip()}" for i in items), columns=", ".join(columns), first=columns[0])
    try:
        flags = flags_of(given)
        docs = given.docs or write_wide(flags.out / "docs")
        shape = {"aggregate": "table", "table_key": (columns[0],)}
        result = anyio.run(answered, flags, task, docs, shape, "table.md")
    except SwarmError as error:
        print(f"wide: {error}", file=sys.stderr)
        return error.exit_code
    return result.exit_code


if __name__ == "__main__":
    sys.exit(main())
