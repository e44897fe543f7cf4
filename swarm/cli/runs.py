"""`swarm runs` and `swarm show`: the runs that were."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

from swarm.cli.stdio import complain

if TYPE_CHECKING:
    from pathlib import Path

    from swarm.cli.history import Record

RUN_HELP = "a run's id, the start of it, its folder, or `last`"


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Declare the two commands."""
    runs = commands.add_parser(
        "runs",
        help="list the runs, newest first",
        description="List the runs that are kept under SWARM_HOME, newest first, one a line.",
        allow_abbrev=False,
    )
    runs.add_argument("--json", action="store_true", help="one JSON object a line")
    show = commands.add_parser(
        "show",
        help="tell what happened in a run",
        description="Tell what happened in a run: its stages and sub-agents, merges, gate, answer, and what it used.",
        allow_abbrev=False,
    )
    show.add_argument("run", metavar="RUN", help=RUN_HELP)
    show.add_argument("--json", action="store_true", help="the events of its journal, one JSON object a line")


def run(args: argparse.Namespace) -> int:
    """Run one of the commands.

    Raises:
        SwarmError: no such run, or its record cannot be read.
    """
    from swarm.config import home

    folder = home(os.environ) / "runs"
    if args.command == "runs":
        return _list(folder, args.json)

    from swarm.cli.history import find_run

    return _show(find_run(folder, args.run), args.json)


def _list(folder: Path, json: bool) -> int:
    import json as codec

    from swarm.cli.history import records

    if json:
        for record in records(folder):
            print(codec.dumps(record.as_json()))
        return 0
    rows = list(records(folder))
    if not rows:
        complain(f"no runs in {folder}")
        return 0
    width = max(len(record.run_id) for record in rows)
    for record in rows:
        print(_row(record, width))
    return 0


def _row(record: Record, width: int) -> str:
    import time

    from pydantic import ValidationError

    from swarm.cli.summary import was_dry
    from swarm.cli.text import clock, line
    from swarm.result import RunResult

    try:
        result = RunResult.model_validate(record.result)
    except ValidationError:  # none yet, or not as a run writes it
        result = None
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(record.started)) if record.started else "?"
    useful = f"{result.coverage.useful}/{result.coverage.asked}" if result and not was_dry(result) else "-"
    gate = result.gate if result else None
    tested = "gate -" if gate is None else "gate ok" if gate.passed else "gate no"
    took = clock(result.wall_s) if result else "-"
    return (
        f"{line(record.run_id):<{width}}  {when:<16}  {line(record.status):<16}  {line(record.mode):<6}  "
        f"{useful:>7}  {tested:<7}  {took:>8}  {line(record.task, 60)}"
    )


def _show(folder: Path, json: bool) -> int:
    from swarm.journal.reader import read_events

    events = read_events(folder / "events.jsonl")
    if json:
        from swarm.legible import json_line

        for event in events:
            print(json_line(event.model_dump_json()))
        return 0

    from swarm.cli.history import read_record
    from swarm.cli.story import story
    from swarm.cli.view import fold

    view = fold(events)
    for text in story(view, read_record(folder), folder):
        print(text)
    return 0
