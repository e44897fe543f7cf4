"""`swarm eval repair`: faults that a seed plants in real packages."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from swarm.config import RunConfig
    from swarm.evals.repair.origins import Origin
    from swarm.evals.suite import Suite

HELP = "repair packages in which a seed plants faults; some tests are held back"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the suite takes."""
    parser.add_argument("--packages", metavar="A,B", help="of boltons, sqlparse, toolz (default: boltons)")
    parser.add_argument("--package", metavar="PATH", help="a package of your own with its tests, which is copied")
    parser.add_argument("--sources", metavar="DIR", help="where the code of --package is (default: found)")
    parser.add_argument("--test", metavar="CMD", dest="package_test", help="pytest of --package (default: all tests)")
    parser.add_argument("--faults", metavar="N", type=int, default=6, help="in each instance (default: 6)")
    parser.add_argument(
        "--instances", metavar="N", type=int, default=1, help="of each package, by seeds from --seed on"
    )
    parser.add_argument(
        "--hidden", metavar="X", type=float, default=0.3, help="part of the tests held back (default: 0.3)"
    )


def make(args: argparse.Namespace, config: RunConfig) -> Suite:
    """The suite that was asked for.

    Raises:
        UsageError: a package is not known, or a number is out of bounds.
    """
    import os

    from swarm.config import home
    from swarm.errors import UsageError
    from swarm.evals.repair.damage import Wanted
    from swarm.evals.repair.suite import Repair, Settings

    if args.faults < 1 or args.instances < 1 or not 0 <= args.hidden <= 0.9:
        raise UsageError(
            f"--faults {args.faults}, --instances {args.instances}, --hidden {args.hidden:g} cannot be made",
            remedy="give 1 or more faults and instances, and hide 0 to 0.9 of the tests",
        )
    first = args.seed or 1
    wanted = [
        Wanted(origin, args.faults, first + number, args.hidden)
        for origin in _origins(args)
        for number in range(args.instances)
    ]
    place = home(os.environ)
    return Repair(wanted, Settings(config, place, place / "evals" / "repair"))


def _origins(args: argparse.Namespace) -> list[Origin]:
    from pathlib import Path

    from swarm.errors import UsageError
    from swarm.evals.repair.origins import local, pinned

    if args.package is not None:
        if args.packages:
            raise UsageError("--package and --packages are two things", remedy="give one of them")
        return [local(Path(args.package), args.sources, args.package_test)]
    if args.sources or args.package_test:
        raise UsageError("--sources and --test belong to --package", remedy="give --package PATH, or leave them out")
    return [pinned(name) for name in dict.fromkeys((args.packages or "boltons").split(",")) if name]
