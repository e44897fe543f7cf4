"""What a run leaves on this machine, and how it is told that it did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

LABEL = "swarm.lease"
"""The label of containers and the like; its value is the path of a lease's folder."""

VARIABLE = "SWARM_LEASE"
"""The same for processes, in their environment, where nothing else tells them."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """One thing. `kind` is a word for people: process, container, volume, network, image, cgroup, mount, folder.

    `remove` blocks, is satisfied where it is gone already, and raises OSError or MachineError where it cannot.
    """

    kind: str
    name: str
    remove: Callable[[], None]
