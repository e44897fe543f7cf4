"""A long report from documents far longer than a model's window: a section for each question, every claim cited.

    python -m examples.deep                                    # made-up records, no model: search and quotation
    python -m examples.deep --model NAME --base-url URL        # the same by a language model
    python -m examples.deep --docs FOLDER --question 'Why ...?' --question 'Who ...?' --model NAME

Each question is one sub-agent's. Sources are checked: a claim without one that holds is marked, and named at the end.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import anyio

from examples.corpora import QUESTIONS, write_deep
from examples.documents import answered
from examples.flags import flags_of, parser
from swarm import SwarmError

TASK = """Write a report from the attached documents alone, with one section for each of these questions:

{questions}

Put the source behind each claim; quote where the words matter. Say what the documents leave open."""


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    options = parser("deep", "A report from long documents, every claim with its source.")
    options.add_argument("--docs", type=Path, metavar="DIR", help="documents (default: made-up records)")
    options.add_argument("--question", action="append", help="what to report on (repeatable)")
    options.add_argument("--days", type=int, default=2_000, metavar="N", help="length of each made-up record (2000)")
    given = options.parse_args(arguments)
    if given.docs is not None and not given.question:
        options.error("--docs needs --question")
    return given


def main(arguments: Sequence[str] | None = None) -> int:
    given = parsed(arguments)
    task = TASK.format(questions="\n".join(f"- {question}" for question in given.question or QUESTIONS))
    try:
        flags = flags_of(given)
        docs = given.docs or write_deep(flags.out / "docs", given.days)
        result = anyio.run(answered, flags, task, docs, {"aggregate": "text"}, "report.md")
    except SwarmError as error:
        print(f"deep: {error}", file=sys.stderr)
        return error.exit_code
    return result.exit_code


if __name__ == "__main__":
    sys.exit(main())
