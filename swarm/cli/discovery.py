"""The test command of a repository: found where the user gave none, and looked at where one was typed."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING

from swarm.cli.stdio import complain
from swarm.cli.text import line
from swarm.config import HOST_IMAGE, RunConfig
from swarm.discovery.search import Choice, choose, command_of, find_tests

if TYPE_CHECKING:
    from collections.abc import Callable

    from swarm.discovery.found import Found

_ASKS_S = 20.0
_MOST_NAMED = 3
_PLAIN = re.compile(r"[\w./+-]+")
_ASSIGNED = re.compile(r"\w+=\S*")
_OF_SHELLS = re.compile(
    r"[.]|alias|break|case|cd|command|continue|eval|exec|exit|export|for|if|read|return|set|shift|source|test|time|trap|"
    r"true|false|type|ulimit|umask|unset|until|wait|while"
)


def with_gate(config: RunConfig, repo: Path | None, start: Path) -> RunConfig:
    """The configuration with the test command that was found for a repository, if one was wanted and can be run.
    Blocks. `start` is the folder that the user named, in the repository or at its top."""
    if config.test is not None or not config.find_test or repo is None:
        return config
    choice = found_in(repo, start, config)
    if choice.found is None:
        if choice.missing:
            complain(f"swarm: no gate: {without(choice)}; give another with --test CMD")
        return config
    return config.model_copy(update={"test": choice.command, "test_found": told(choice)})


def found_in(repo: Path, start: Path, config: RunConfig) -> Choice:
    """What was found in a repository, judged by what its sandboxes would hold. Blocks."""
    found = find_tests(repo, start)
    return choose(found, _able(config, repo) if found else lambda each: True)


def told(choice: Choice) -> str:
    """Where the command comes from, and what else could be meant."""
    assert choice.found is not None
    rest = [
        each for each in choice.others if (each.program, each.folder) != (choice.found.program, choice.found.folder)
    ]
    named = [f"`{command_of(each)}` ({each.why})" for each in rest[:_MOST_NAMED]]
    where = f"{choice.found.folder}/" if choice.found.folder else ""
    also = f"; also found: {', '.join(named)}" if named else ""
    beside = sorted({each.folder for each in (*choice.others, *choice.missing)} - {choice.found.folder})
    left = ", ".join(f"{folder}/" for folder in beside[:_MOST_NAMED])
    left += f" and {len(beside) - _MOST_NAMED} more" if len(beside) > _MOST_NAMED else ""
    return line(f"{where}{choice.found.why}{f'; not tested by it: {left}' if left else ''}{also}", 400)


def without(choice: Choice) -> str:
    """Why nothing of what was found can be run."""
    first = choice.missing[0]
    lacks = f"Python's {first.module}" if first.module and first.program == "python3" else first.program
    return line(f"`{command_of(first)}` was found ({first.why}), but the sandbox has no {lacks}", 300)


def _able(config: RunConfig, repo: Path) -> Callable[[Found], bool]:
    """Whether a command can be run in the sandbox, as far as can be told: what an image holds shows on the base."""
    if config.image != HOST_IMAGE:
        return lambda found: True

    import anyio

    from swarm.sandboxes.environments import Environment, holds_module, lies_in, own_python
    from swarm.sandboxes.toolchain import of_repository

    path = ":".join(anyio.run(of_repository, repo)[1])
    own = own_python(repo, os.environ.get("PATH", ""))
    modules: dict[str, bool] = {}

    def able(found: Found) -> bool:
        program = which(found.program, path=path)
        if program is None or not found.module:
            return program is not None
        if found.module not in modules:
            file = Path(program)
            if own is not None and file.is_relative_to(own.prefix):
                modules[found.module] = holds_module(own, found.module)
            elif own is not None or lies_in(repo, file):  # what a repository brings, or names, is not run here
                base = Path(os.path.realpath(file)).parent.parent
                modules[found.module] = holds_module(Environment(file.parent.parent, base, file), found.module)
            else:
                modules[found.module] = _imports(program, found.module)
        return modules[found.module]

    return able


def _imports(python: str, module: str) -> bool:
    ask = f"import sys, importlib.util as u; sys.exit(u.find_spec({module!r}) is None)"
    try:
        # -I: nothing of the current folder has a say.
        done = subprocess.run([python, "-I", "-c", ask], capture_output=True, timeout=_ASKS_S, check=False)
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


async def cannot_run(command: str, config: RunConfig, repo: Path) -> str:
    """Why a command cannot be run in the sandboxes of a repository, in words; empty where it can, or where that shows
    only when it is run."""
    from swarm.sandboxes.toolchain import of_repository

    word = next((word for word in command.split() if not _ASSIGNED.fullmatch(word)), "")
    known = config.image == HOST_IMAGE and not config.toolchain  # what the sandbox has
    if not known or not _PLAIN.fullmatch(word) or _OF_SHELLS.fullmatch(word):
        return ""
    if "/" in word:
        there = (repo / word).exists()
    else:
        there = which(word, path=":".join((await of_repository(repo))[1])) is not None
    return "" if there else f"`{word}` is not there"
