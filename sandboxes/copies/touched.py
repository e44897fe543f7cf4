"""What may be different in an overlay from what lies below it, by a look at its upper layer alone."""

from __future__ import annotations

import os
from pathlib import Path

from swarm.sandboxes.descent import Descent, Parts
from swarm.sandboxes.git.nested import LONGEST
from swarm.values import value

MOST = 10_000
"""So many paths are worth it; beyond them all is looked at."""


@value(frozen=True, slots=True)
class Touched:
    """`folders` that are in the upper layer, and `paths` that may be different, each with all that is below it."""

    folders: frozenset[Parts]
    paths: tuple[bytes, ...]


def touched(upper: Path) -> Touched | None:
    """What was touched in an overlay; None where its upper layer does not tell, or tells of too much."""
    folders: set[Parts] = set()
    paths: list[bytes] = []
    hiding: set[Parts] = set()
    try:
        with Descent(upper) as tree:
            for parts, at, _, files in tree.walk():
                folders.add(parts)
                name = os.fsencode("/".join(parts))
                kept = set(os.listxattr(at))
                if "trusted.overlay.redirect" in kept or len(name) > LONGEST // 2 or len(paths) > MOST:
                    return None  # a folder was moved: what is in it lies below, under another name
                if parts[:-1] in hiding and parts:
                    hiding.add(parts)
                elif parts and "trusted.overlay.opaque" in kept:
                    hiding.add(parts)  # nothing of what lies below it is seen
                    paths.append(name)
                else:
                    paths += (os.fsencode("/".join((*parts, file))) for file in files)
    except OSError:
        return None
    return Touched(frozenset(folders), tuple(paths)) if len(paths) <= MOST else None
