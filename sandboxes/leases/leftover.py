"""What a run leaves on this machine, and how it is told that it did."""

from __future__ import annotations

from collections.abc import Callable

from swarm.errors import MachineError
from swarm.values import value

LABEL = "swarm.lease"
"""The label of containers and the like; its value is the path of a lease's folder."""

VARIABLE = "SWARM_LEASE"
"""The same for processes, in their environment, where nothing else tells them."""

FAILURES = (OSError, MachineError, ValueError, RecursionError)
"""What may come of what lies on a disk and was written by anybody; `reason` puts it into words."""


@value(frozen=True, slots=True)
class Leftover:
    """One thing. `kind` is a word for people: process, container, volume, network, image, cgroup, mount, folder.

    `remove` blocks, is satisfied where it is gone already, and raises OSError or MachineError where it cannot.
    """

    kind: str
    name: str
    remove: Callable[[], None]


def reason(error: BaseException) -> str:
    """A failure in words, without its remedy."""
    if isinstance(error, MachineError):
        return error.message
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or type(error).__name__
