"""`swarm eval`: benchmarks run by swarms, answers graded, arms compared."""

from __future__ import annotations

import argparse
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any

SUITES = ("swebench", "widesearch", "repair")
"""The modules of `swarm.cli.evals` that make a suite."""

_TEXT = (
    "Run the instances of a benchmark, grade what comes out, and write it down so that nothing is lost: the same "
    "command again goes on where it was stopped, and runs again what the machine failed."
)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Declare the command and those below it."""
    parser = commands.add_parser(
        "eval",
        help="run benchmarks, grade answers, compare arms",
        description=_TEXT,
        epilog="Exit codes: 0 all have a verdict, 2 usage, 3 the machine failed some, 4 budget, 130 interrupted.",
        allow_abbrev=False,
    )
    suites = parser.add_subparsers(dest="suite", metavar="SUITE", required=True)
    from swarm.cli.evals.common import add_runner_arguments

    for name in SUITES:
        module = _module(name)
        own = suites.add_parser(
            name, help=module.HELP, description=f"{_sentence(module.HELP)} {_TEXT}", allow_abbrev=False
        )
        module.add_arguments(own)
        add_runner_arguments(own)
        if hasattr(module, "add_actions"):
            module.add_actions(own.add_subparsers(dest="action", metavar="ACTION", required=False))
    compare = _module("compare")
    own = suites.add_parser("compare", help=compare.HELP, description=_sentence(compare.HELP), allow_abbrev=False)
    compare.add_arguments(own)


def run(args: argparse.Namespace) -> int:
    """Do what was asked for; the exit code.

    Raises:
        SwarmError: it could not be begun, or a file of it cannot be written.
    """
    from swarm.cli.evals.common import run_suite

    module = _module(args.suite)
    if args.suite == "compare":
        handler = module.run
    else:
        handler = getattr(args, "handler", None) or partial(run_suite, make=module.make)
    code: int = handler(args)
    return code


def _module(name: str) -> ModuleType:
    return import_module(f"swarm.cli.evals.{name}")
