"""`swarm report`: a run, or two side by side, as one page of HTML."""

from __future__ import annotations

import argparse
import os
from typing import Any

from swarm.cli.runs import RUN_HELP
from swarm.cli.stdio import complain, write_out


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "report",
        help="write a run, or two side by side, as a page",
        description="Write a run, or two side by side, as one page of HTML that needs no network: summary, plan, "
        "timeline, patch, gate, and what each agent said and did.",
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", nargs="+", help=f"{RUN_HELP}; two are compared")
    parser.add_argument("--html", metavar="FILE", help="where the page goes; `-` is standard output")


def run(args: argparse.Namespace) -> int:
    """Write the page.

    Raises:
        SwarmError: no such run, its record cannot be read, or the page cannot be written.
    """
    from pathlib import Path

    from swarm.cli.history import RUNNING, find_run, read_record
    from swarm.config import home
    from swarm.errors import MachineError, UsageError
    from swarm.report.build import RunFolder, report
    from swarm.whole_file import write_whole

    if args.html is None:
        raise UsageError("a report is a page", remedy="say where it goes: `--html FILE`, or `--html -`")
    if len(args.run) > 2:
        raise UsageError("one run is reported, or two side by side", remedy="name one or two runs")
    if not args.html:
        raise UsageError("--html '' names no file", remedy="say where the page goes: `--html FILE`, or `--html -`")
    path = Path(args.html)
    if path.is_dir():
        raise UsageError(f"{path} is a folder", remedy="name a file in it")
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent}", remedy="make it, or name another file")
    folder = home(os.environ) / "runs"
    records = [read_record(find_run(folder, given)) for given in args.run]
    page = report([RunFolder(record.folder, record.status, record.status == RUNNING) for record in records])
    data = page.encode()
    where = "standard output" if args.html == "-" else str(path)
    try:
        if args.html == "-":
            write_out(data)
        else:
            write_whole(path, data)
            complain(f"swarm: {path}: {len(data) / 1e6:.1f} MB")
    except BrokenPipeError:
        raise  # whoever reads has seen enough
    except OSError as error:
        raise MachineError(f"{where} cannot be written: {error.strerror}", remedy="name another file") from error
    return 0
