"""The command `swarm`: finds the command family, turns errors into one line and an exit code.

Families import only the standard library at their top and the rest inside `run`, so that `--help` is instant.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import NoReturn

from swarm import __version__
from swarm.cli import doctor, endpoint, run, runs
from swarm.cli.stdio import discard_output
from swarm.errors import SwarmError

BROKEN = 3

FAMILIES = {
    "run": run,
    "runs": runs,
    "show": runs,
    "watch": runs,
    "endpoint": endpoint,
    "doctor": doctor,
}


class Parser(argparse.ArgumentParser):
    """An argument parser that says what is wrong on one line."""

    def error(self, message: str) -> NoReturn:
        if message.startswith("unrecognized arguments"):
            message += " (a task of several words stands in quotes)"
        self.exit(2, f"{self.prog}: {message}; see `{self.prog} --help`\n")


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 1, 2, 3, 4 or 130, as README tells."""
    try:
        return _dispatch(argv)
    except KeyboardInterrupt:
        print("swarm: interrupted", file=sys.stderr)
        return run.INTERRUPTED
    except BrokenPipeError:
        discard_output()  # whoever read our output has seen enough: `swarm runs | head`
        return 0


def _dispatch(argv: list[str] | None) -> int:
    try:
        args = _parser().parse_args(argv)
        code: int = FAMILIES[args.command].run(args)
        sys.stdout.flush()
        return code
    except SystemExit as end:  # argparse: --help, --version, wrong usage
        return end.code if isinstance(end.code, int) else 2
    except SwarmError as error:
        if os.environ.get("SWARM_DEBUG"):
            print_traceback()
        print(f"swarm: {one_line(str(error))}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        raise
    except OSError as error:
        if os.environ.get("SWARM_DEBUG"):
            print_traceback()
        place = f"{error.filename}: " if error.filename else ""
        print(f"swarm: {one_line(f'{place}{error.strerror or error}')}", file=sys.stderr)
        return BROKEN
    except Exception:  # noqa: BLE001  the last resort: a bug is told as one, and never as the work's failure (1)
        print_traceback()
        print("swarm: this is a bug in swarm; please report it with the lines above", file=sys.stderr)
        return BROKEN


def print_traceback() -> None:
    """Print the traceback of the error that is being handled."""
    import traceback

    traceback.print_exc()


def one_line(message: str) -> str:
    """A message that came from anywhere, as one line without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in message).split())


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


if __name__ == "__main__":
    sys.exit(main())
