"""What swarm costs against floors and peers, in one interleaved run, and what is made of the results.

    python -m benchmarks run [ROW,ROW...] [--quick] [--rounds N] [--only NAME...] [--out FILE]    (this is `make bench`)
    python -m benchmarks publish [FILE...]      tables into docs/performance.md, pictures into docs/images
    python -m benchmarks table [FILE...]        the tables alone, on standard output
    python -m benchmarks pictures [FILE...] [--folder DIR]
    python -m benchmarks rows                   the rows and who takes part
    python -m benchmarks lock [NAME...]         the peers' lock files, written anew

Without FILE the newest of benchmarks/results is taken, and every other one whose rows it has not (growth, Ray, ...).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from benchmarks import environments, publishing, table
from benchmarks.record import Results, load
from benchmarks.rows import ROWS, chosen
from benchmarks.runner import run, to_stderr
from benchmarks.shape import ROOT, Place

RESULTS = Path(__file__).resolve().parent / "results"
CACHE = ROOT / ".cache/bench"


def measure(options: argparse.Namespace) -> None:
    """`run`."""
    rows = chosen(options.rows)
    if options.rounds:
        rows = [replace(row, rounds=min(row.rounds, options.rounds)) for row in rows]
    if options.only:
        kept = [(row, tuple(each for each in row.competitors if each.name in options.only)) for row in rows]
        rows = [replace(row, competitors=competitors) for row, competitors in kept if competitors]
    stamp = time.strftime("%Y-%m-%d-%H%M%S")
    quick = "-quick" if options.quick else ""
    default = CACHE if options.quick or options.rows or options.only else RESULTS
    out = Path(options.out).resolve() if options.out else default / f"bench-{stamp}{quick}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    CACHE.mkdir(parents=True, exist_ok=True)
    command = "make bench" + (f" ROWS={options.rows}" if options.rows else "") + (" QUICK=1" if options.quick else "")
    if options.only or options.rounds:
        command = f"python -m benchmarks {' '.join(sys.argv[1:])}"
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="swarm-bench-")))
        engine = ""
        if any("docker" in row.name for row in rows):
            from benchmarks.engine import docker_engine  # the tests' parts: only where they are needed

            engine = stack.enter_context(docker_engine())
        results = run(rows, Place(folder, CACHE, options.quick, engine), command, out, to_stderr)
    print(table.text([results]))
    to_stderr(f"{results.wall_s:.0f} s; raw results: {out}")


def files(names: list[str]) -> list[Results]:
    """What is told; `benchmarks/results` in order of time where nothing is named."""
    paths = [Path(name) for name in names] or list(RESULTS.glob("*.json"))
    if not paths:
        sys.exit("there are no results yet: run `make bench`")
    return sorted((load(path) for path in paths), key=lambda results: results.date)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    take = commands.add_parser("run", help="measure")
    take.add_argument("rows", nargs="?", default="", help="names, separated by commas (default: all)")
    take.add_argument("--quick", action="store_true", help="small, two rounds: does it work?")
    take.add_argument("--rounds", type=int, help="so many at most; each row has its own number")
    take.add_argument("--only", nargs="+", metavar="NAME", help="these competitors alone")
    take.add_argument("--out", metavar="FILE", help="the raw results")
    for name in ("table", "pictures", "publish"):
        told = commands.add_parser(name)
        told.add_argument("files", nargs="*")
        if name == "pictures":
            told.add_argument("--folder", default=str(ROOT / "docs/images"))
    commands.add_parser("rows")
    locked = commands.add_parser("lock")
    locked.add_argument("names", nargs="*")
    options = parser.parse_args()
    try:
        match options.command:
            case "run":
                measure(options)
            case "table":
                print(table.text(files(options.files)))
            case "pictures":
                publishing.pictures(files(options.files), Path(options.folder), CACHE)
            case "publish":
                publishing.publish(files(options.files), CACHE)
            case "lock":
                environments.lock(options.names)
            case _:
                print(table.listing(ROWS))
    except ValueError as error:
        sys.exit(f"bench: {error}")


if __name__ == "__main__":
    main()
