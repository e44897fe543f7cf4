"""A test command that was typed: looked at before a plan is thrown away for it."""

from __future__ import annotations

import re
from pathlib import Path
from shutil import which

from swarm.config import HOST_IMAGE, RunConfig

_PLAIN = re.compile(r"[\w./+-]+")
_ASSIGNED = re.compile(r"\w+=\S*")
_OF_SHELLS = re.compile(
    r"[.]|alias|break|case|cd|command|continue|eval|exec|exit|export|for|if|read|return|set|shift|source|test|time|trap|"
    r"true|false|type|ulimit|umask|unset|until|wait|while"
)


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
