"""Where control groups might be made: what the machine tells of its hierarchies, versions 1 and 2.

Version 2 lets a cgroup with processes of its own hand no controllers to its children. So there our own cgroup will
not do, but the next one above it that hands them down already (systemd's slices do), and which we may write: as root,
or as a user inside `user@UID.service`, which is theirs. We never change the settings of a cgroup that is not ours.
(Written by the kernel's and systemd's documents, its logic tested on files: no machine with a usable version 2 could
be tried.)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from swarm.values import value

MEMORY, PIDS, CPU = "memory", "pids", "cpu"
CONTROLLERS = (MEMORY, PIDS, CPU)


@value(frozen=True, slots=True)
class Hierarchy:
    """A place where cgroups can be made. `controllers`: those that hold for them."""

    version: int
    parent: Path
    controllers: tuple[str, ...]


def find(proc: Path = Path("/proc")) -> list[Hierarchy]:
    """Where cgroups might be made by what the machine tells, the best first; only a trial shows. Blocks."""
    try:
        mounts = _mounts((proc / "self/mountinfo").read_text(errors="surrogateescape"))
        own = dict(
            line.split(":", 2)[1:] for line in (proc / "self/cgroup").read_text(errors="surrogateescape").splitlines()
        )
    except (OSError, ValueError):
        return []
    found: list[Hierarchy] = []
    for names, path in own.items():
        wanted = tuple(name for name in CONTROLLERS if name in names.split(","))
        for version, kinds, root, mount in mounts:
            if version == 1 and wanted and set(wanted) <= kinds:
                found += [Hierarchy(1, folder, wanted) for folder in _upwards(root, mount, path)]
                break
            if version == 2 and not names:
                found += _second(_upwards(root, mount, path))
                break
    return found


def _mounts(text: str) -> list[tuple[int, frozenset[str], str, Path]]:
    """Of each mounted hierarchy: version, controllers (version 1), which of its cgroups is mounted, and where."""
    found: list[tuple[int, frozenset[str], str, Path]] = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) > 4 and len(kind) > 2 and kind[0] in ("cgroup", "cgroup2"):
            version = 2 if kind[0] == "cgroup2" else 1
            found.append((version, frozenset(kind[2].split(",")), fields[3], Path(fields[4])))
    return found


def _upwards(root: str, mount: Path, own: str) -> list[Path]:
    """Our own cgroup as a folder, and those above it that are mounted, nearest first."""
    inside = own.removeprefix(root) if root != "/" else own
    parts = [part for part in inside.split("/") if part]
    if ".." in parts or (root != "/" and not own.startswith(root)):
        parts = []
    return [mount.joinpath(*parts[:length]) for length in range(len(parts), -1, -1)]


def _second(folders: Sequence[Path]) -> list[Hierarchy]:
    """Those cgroups of version 2 that hand controllers down, the one with most of them first, then the nearest."""
    found: list[Hierarchy] = []
    for folder in folders:
        given = (read(folder / "cgroup.subtree_control") or "").split()
        names = tuple(name for name in CONTROLLERS if name in given)
        if names and read(folder / "cgroup.type") in (None, "domain"):
            found.append(Hierarchy(2, folder, names))
    return sorted(found, key=lambda one: -len(one.controllers))


def read(path: Path) -> str | None:
    """The text of a small file, None where it is not there."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return None
