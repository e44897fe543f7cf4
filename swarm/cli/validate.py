"""`swarm validate`: whether the log of a run is whole and says what it says."""

from __future__ import annotations

import argparse
import os
from typing import Any

from swarm.cli.runs import RUN_HELP
from swarm.cli.stdio import complain

MOST = 200
"""Problems that are told."""


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Declare the command."""
    text = "check the log of a run: whole, in order, its tokens, hashes and sums as they should be"
    about = "Check the log of a run: whole, in order, its tokens, hashes and sums as they should be."
    parser = commands.add_parser("validate", help=text, description=about, allow_abbrev=False)
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    parser.add_argument("--json", action="store_true", help="one JSON object for each problem a line")


def run(args: argparse.Namespace) -> int:
    """Tell each problem by file and line. Exit code 0: there is none.

    Raises:
        UsageError: there is no such run.
        JournalError: its log cannot be read.
    """
    import json

    from swarm.cli.history import find_run
    from swarm.cli.text import line
    from swarm.config import home
    from swarm.journal.validation import has_ended, validate

    folder = find_run(home(os.environ) / "runs", args.run)
    found = 0
    for problem in validate(folder):
        found += 1
        if found <= MOST:
            print(json.dumps(problem._asdict()) if args.json else line(str(problem), 400))
    if found:
        more = f", of which the first {MOST} are told" if found > MOST else ""
        complain(f"swarm: the log of {folder.name} is not valid: {found} problem{'s' * (found > 1)}{more}")
        return 1
    if not has_ended(folder):
        complain(f"swarm: {folder.name} has not ended; what there is of its log is valid")
    elif not args.json:
        print(f"{line(folder.name)}: valid")
    return 0
