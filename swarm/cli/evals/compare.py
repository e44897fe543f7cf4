"""`swarm eval compare`: arms of evaluations beside each other."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from swarm.evals.compare.model import Comparison

HELP = "hold arms of evaluations against each other: success, price, and what flipped"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what it takes."""
    parser.add_argument("dirs", metavar="DIR", nargs="+", help="the folder of an evaluation, with one arm or several")
    parser.add_argument("--arms", metavar="A,B", help="these arms alone (default: all)")
    parser.add_argument("--base", metavar="ARM", help="the arm that the others are held against (default: the first)")
    parser.add_argument(
        "--metric", metavar="M,N", help="these metrics alone, such as resolved, score, cost_usd, wall_s"
    )
    parser.add_argument("--k", metavar="K,L", help="pass@k and pass^k for these k (default: all that were tried)")
    parser.add_argument("--confidence", metavar="X", type=float, default=0.95, help="of the intervals (default: 0.95)")
    parser.add_argument("--html", metavar="FILE", help="write a page that needs no network; `-` is standard output")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")


def run(args: argparse.Namespace) -> int:
    """Read, compare, write.

    Raises:
        UsageError: what is asked for is not there or cannot be compared.
        MachineError: the page cannot be written.
    """
    from pathlib import Path

    from swarm.cli.stdio import write_out
    from swarm.errors import UsageError
    from swarm.evals.compare.build import Wanted, compare
    from swarm.evals.compare.metrics import BY_NAME
    from swarm.legible import json_line

    if args.json and args.html == "-":
        raise UsageError("--json and --html - both write to standard output", remedy="give --html a file")
    metrics = _listed(args.metric)
    unknown = [name for name in metrics if name not in BY_NAME]
    if unknown:
        raise UsageError(f"there is no metric {unknown[0]}", remedy=f"there are: {', '.join(BY_NAME)}")
    if not 0.5 <= args.confidence < 1:
        raise UsageError(f"--confidence {args.confidence:g} is none", remedy="give one such as 0.95")
    wanted = Wanted(_listed(args.arms), args.base or "", metrics, _numbers(args.k), args.confidence)
    found = compare([Path(each) for each in args.dirs], wanted)
    if args.html is not None:
        _write_page(found, args.html)
    if args.json:
        write_out(json_line(found.model_dump_json()).encode() + b"\n")
    elif args.html is None:
        _show(found)
    return 0


def _listed(given: str | None) -> tuple[str, ...]:
    return tuple(part for each in (given or "").split(",") if (part := each.strip()))


def _numbers(given: str | None) -> tuple[int, ...]:
    from swarm.errors import UsageError

    parts = _listed(given)
    wrong = [part for part in parts if not (part.isascii() and part.isdigit() and int(part))]
    if wrong:
        raise UsageError(f"--k {wrong[0]} is no number of trials", remedy="give such as 1,2,4")
    return tuple(sorted({int(part) for part in parts}))


def _write_page(found: Comparison, where: str) -> None:
    from pathlib import Path

    from swarm.cli.stdio import complain, write_out
    from swarm.errors import MachineError, UsageError
    from swarm.evals.compare.render import page
    from swarm.whole_file import write_whole

    if where == "-":
        write_out(page(found, None).encode())
        return
    path = Path(where)
    if not where or path.is_dir():
        raise UsageError(f"{where or repr('')} is no file to write", remedy="say where the page goes: `--html FILE`")
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent}", remedy="make it, or name another file")
    data = page(found, path.parent).encode()
    try:
        write_whole(path, data)
    except OSError as error:
        raise MachineError(f"{path} cannot be written: {error.strerror}", remedy="name another file") from error
    complain(f"swarm: {path}: {len(data) / 1e6:.1f} MB")


def _show(found: Comparison) -> None:
    """Tables on a terminal, markdown elsewhere."""
    import sys

    from swarm.cli.stdio import write_out
    from swarm.evals.compare.tables import headline, markdown, tables

    if not sys.stdout.isatty():
        write_out(markdown(found).encode())
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from swarm.legible import clean

    console = Console(highlight=False)
    console.print(Text(headline(found), style="bold"))
    for note in found.notes:
        console.print(Text(f"! {clean(note)}", style="yellow"))
    for each in tables(found):
        drawn = Table(title=each.title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
        for index, head in enumerate(each.heads):
            drawn.add_column(Text(clean(head)), justify="right" if index else "left", overflow="fold")
        for row in each.rows:
            drawn.add_row(*(Text(clean(cell)) for cell in row))
        console.print(drawn)
        if each.hint:
            console.print(Text(each.hint, style="dim"))
