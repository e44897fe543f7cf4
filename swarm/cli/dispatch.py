"""Finds the command family, turns errors into one line and an exit code.

Families import only the standard library at their top and the rest inside `run`, so that `--help` is instant.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import NoReturn

from swarm import __version__
from swarm.cli import doctor, endpoint, gc, image, resume, run, runs
from swarm.cli.stdio import complain, discard_output, one_line
from swarm.errors import SwarmError

BROKEN = 3

FAMILIES = {
    "run": run,
    "resume": resume,
    "runs": runs,
    "show": runs,
    "watch": runs,
    "endpoint": endpoint,
    "image": image,
    "doctor": doctor,
    "gc": gc,
}


class Parser(argparse.ArgumentParser):
    """An argument parser that says what is wrong on one line."""

    def error(self, message: str) -> NoReturn:
        if message.startswith("unrecognized arguments"):
            message += " (a task of several words stands in quotes)"
        self.exit(2, f"{self.prog}: {message}; see `{self.prog} --help`\n")


def dispatch(argv: list[str] | None) -> int:
    """Run one command and return its exit code. Only KeyboardInterrupt comes out of it."""
    try:
        args = _parser().parse_args(argv)
        code: int = FAMILIES[args.command].run(args)
        sys.stdout.flush()
        return code
    except SystemExit as end:  # argparse: --help, --version, wrong usage
        return end.code if isinstance(end.code, int) else 2
    except SwarmError as error:
        _print_traceback_on_request()
        complain(f"swarm: {one_line(str(error))}")
        return error.exit_code
    except BrokenPipeError:
        discard_output()  # whoever read our output has seen enough: `swarm runs | head`
        return 0
    except OSError as error:
        _print_traceback_on_request()
        place = f"{error.filename}: " if error.filename else ""
        complain(f"swarm: {one_line(f'{place}{error.strerror or error}')}")
        return BROKEN
    except Exception:  # noqa: BLE001  the last resort: a bug is told as one, and never as the work's failure (1)
        _print_traceback()
        complain("swarm: this is a bug in swarm; please report it with the lines above")
        return BROKEN


def _print_traceback_on_request() -> None:
    if os.environ.get("SWARM_DEBUG"):
        _print_traceback()


def _print_traceback() -> None:
    import traceback

    complain(traceback.format_exc().rstrip())


def _parser() -> Parser:
    parser = Parser(
        prog="swarm",
        description="One task becomes a swarm of sandboxed agents and one tested answer.",
        epilog="Exit codes: 0 done, 1 failed or partial, 2 usage, 3 machine, 4 budget, 130 interrupted.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"swarm {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for family in dict.fromkeys(FAMILIES.values()):
        family.add_parser(commands)
    return parser
