"""Finds the command family, turns errors into one line and an exit code.

Families import only the standard library at their top and the rest inside `run`, so that `--help` is instant.
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from types import ModuleType
from typing import NoReturn

from swarm import __version__
from swarm.cli.stdio import complain, discard_output, one_line
from swarm.errors import SwarmError
from swarm.shortage import is_shortage, remedy_for, shortage_in, told

BROKEN = 3

FAMILIES = (
    *("run", "resume", "runs", "validate", "export", "watch", "report", "eval", "endpoint", "image"),
    *("mcp", "acp", "doctor", "gc", "init", "completion"),
)
"""The modules of this package that hold commands."""

_ELSEWHERE = {"show": "runs"}


class Parser(argparse.ArgumentParser):
    """An argument parser that says what is wrong on one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see `{self.prog} --help`\n")

    def refuse(self, command: str, rest: list[str]) -> NoReturn:
        """End: this is too much for a command."""
        hint = " (a task of several words stands in quotes)" if command == "run" else ""
        name = f"{self.prog} {command}"
        self.exit(2, f"{name}: unrecognized arguments: {one_line(' '.join(rest))}{hint}; see `{name} --help`\n")


def dispatch(argv: list[str] | None) -> int:
    """Run one command and return its exit code. Only KeyboardInterrupt comes out of it."""
    try:
        given = sys.argv[1:] if argv is None else argv
        if {"--version", "--verbose"} <= set(given) <= {"--version", "--verbose", "--json"}:
            return int(_family("version").run(as_json="--json" in given))
        parser = _parser(given[0] if given else "")
        args, rest = parser.parse_known_args(given)
        if rest:
            parser.refuse(args.command, rest)
        code: int = _family(args.command).run(args)
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
        remedy = f"; {remedy_for(error)}" if is_shortage(error) else ""
        complain(f"swarm: {one_line(f'{place}{error.strerror or error}{remedy}')}")
        return BROKEN
    except Exception as error:  # noqa: BLE001  the last resort: a bug is told as one, and never as the work's failure (1)
        if (short := shortage_in(error)) is not None:
            _print_traceback_on_request()
            complain(f"swarm: {one_line(f'{told(short)}; {remedy_for(short)}')}")
            return BROKEN
        _print_traceback()
        complain("swarm: this is a bug in swarm; please report it with the lines above")
        return BROKEN


def _print_traceback_on_request() -> None:
    if os.environ.get("SWARM_DEBUG"):
        _print_traceback()


def _print_traceback() -> None:
    import traceback

    complain(traceback.format_exc().rstrip())


def _family(command: str) -> ModuleType:
    return import_module(f"swarm.cli.{_ELSEWHERE.get(command, command)}")


def _parser(first: str) -> Parser:
    """That of the family whose command is the first word, where it is one; else, and for `completion`, of all."""
    parser = Parser(
        prog="swarm",
        description="One task becomes a swarm of sandboxed agents and one tested answer.",
        epilog="Exit codes: 0 done, 1 failed or partial, 2 usage, 3 machine, 4 budget, 130 interrupted.",
        allow_abbrev=False,
    )
    about = "show the version; with --verbose what a bug report needs, with --verbose --json as JSON"
    parser.add_argument("--version", action="version", version=f"swarm {__version__}", help=about)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    named = _ELSEWHERE.get(first, first)
    for name in (named,) if named in FAMILIES and named != "completion" else FAMILIES:
        _family(name).add_parser(commands)
    return parser
