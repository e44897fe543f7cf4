"""The toolsets that a sub-agent starts from."""

from __future__ import annotations

from swarm.tools.files import edit, read, write
from swarm.tools.registry import Toolset
from swarm.tools.search import glob, grep
from swarm.tools.shell import bash
from swarm.tools.submit import submit


def coding() -> Toolset:
    """All that work on a repository needs."""
    return Toolset([bash, read, write, edit, grep, glob, submit])


def reading() -> Toolset:
    """Looking without touching."""
    return Toolset([read, grep, glob, submit])


def plain() -> Toolset:
    """For tasks without a repository."""
    return Toolset([bash, submit])
