"""Links of a toolchain in a container.

The engine follows one that it is given to mount, so that a Python would not find its own files: it gets the folder that
the link lies in, with the link and nothing else of that folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from swarm.sandboxes.host_root import HostRoot, linked

_OWN = ("/dev", "/proc", "/run", "/sys", "/tmp")


def links_among(shown: Sequence[Path], host: HostRoot, others: Sequence[Path]) -> Mapping[Path, Path]:
    """What of a toolchain are links to its files, with their targets; `others` are the other places of mounts.

    Left out is one whose folder holds what is the container's own: it is mounted as the file that it leads to.
    """
    own = (*host.binds, *map(Path, (*host.links, *_OWN)))
    found = {path: linked(path, (*shown, *others)) for path in shown}
    return {
        path: target
        for path, target in found.items()
        if target is not None and not any(place.is_relative_to(path.parent) for place in own)
    }


def make_links(links: Mapping[Path, Path], places: Sequence[Path], private: Path) -> dict[Path, Path]:
    """Make folders that hold the links, in `private`; gives them by where they are to be mounted. Blocks.

    `places` are those of all other mounts: one inside such a folder needs a place there, as it is read-only.
    """
    made: dict[Path, Path] = {}
    for path, target in links.items():
        folder = made.setdefault(path.parent, private / f"links-{len(made)}")
        folder.mkdir(exist_ok=True)
        (folder / path.name).symlink_to(target)
    for place in (*places, *made):
        for parent, folder in made.items():
            if parent in place.parents:
                inner = folder / place.relative_to(parent)
                inner.parent.mkdir(parents=True, exist_ok=True)
                inner.touch() if place.is_file() else inner.mkdir(exist_ok=True)
    for folder in made.values():
        for each in (folder, *folder.rglob("*")):
            if each.is_dir() and not each.is_symlink():
                each.chmod(0o755)  # whatever the umask: another user passes here
    return made
