"""`swarm export`: the logs of runs in the forms of trainers."""

from __future__ import annotations

import argparse
import os
from typing import Any

from swarm.cli.runs import RUN_HELP
from swarm.cli.stdio import complain

FORMATS = ("atif", "verifiers", "verl", "trl", "slime", "sft", "parquet")


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Declare the command."""
    text = "write the logs of runs in the form of a trainer"
    about = "Write the logs of runs in the form of a trainer, or as Parquet."
    parser = commands.add_parser("export", help=text, description=about, allow_abbrev=False)
    parser.add_argument("runs", metavar="RUN", nargs="+", help=RUN_HELP)
    parser.add_argument("--format", required=True, choices=FORMATS, help="that of a trainer; parquet: tables")
    parser.add_argument("--out", metavar="PATH", required=True, help="the file; for atif of several runs the folder")


def run(args: argparse.Namespace) -> int:
    """Write them; what was left out is told on standard error.

    Raises:
        UsageError: there is no such run, or nothing can be written there.
        JournalError: a log cannot be read.
    """
    from pathlib import Path

    from swarm.cli.history import find_run
    from swarm.config import home
    from swarm.rl.export.catalog import export

    place = home(os.environ) / "runs"
    done = export(args.format, [find_run(place, each) for each in args.runs], Path(args.out))
    for reason, count in sorted(done.left_out.items()):
        if count:
            complain(f"swarm: left out: {count} {reason}")
    print(f"{args.out}: {done.rows} {'row' if done.rows == 1 else 'rows'}")
    return 0
