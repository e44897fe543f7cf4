"""Reading trees and contents of the store, without a checkout."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from swarm.errors import MachineError
from swarm.sandboxes.git.command import Git

_REGULAR = (b"100644", b"100755")
_LINK = (b"120000",)


def entries(git: Git, commit: str) -> Sequence[bytes]:
    """All that is in the tree of a commit: mode, kind and name of an object, a tab, the path."""
    return git.run("ls-tree", "-r", "-z", commit).parts


def contents(entries: Iterable[bytes]) -> dict[str, str]:
    """See `swarm.protocols.Repository.contents`."""
    return _of_modes(entries, _REGULAR)


def links(entries: Iterable[bytes]) -> dict[str, str]:
    """See `swarm.protocols.Repository.links`."""
    return _of_modes(entries, _LINK)


def _of_modes(entries: Iterable[bytes], modes: tuple[bytes, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in entries:
        what, _, name = entry.partition(b"\t")
        mode, _, blob = what.split()[:3]
        if mode in modes:
            found[name.decode(errors="surrogateescape")] = blob.decode()
    return found


def texts(git: Git, blobs: Iterable[str], most: int) -> dict[str, bytes]:
    """See `swarm.protocols.Repository.texts`."""
    wanted = list(dict.fromkeys(blobs))
    if not wanted:
        return {}
    asked = "\n".join(wanted).encode() + b"\n"
    sizes = git.run("cat-file", "--batch-check", stdin=asked).out.split(b"\n")
    small = [line.split()[0] for line in sizes if len(line.split()) == 3 and int(line.split()[2]) <= most]
    out = git.run("cat-file", "--batch", stdin=b"\n".join(small) + b"\n").out if small else b""
    found, at = dict[str, bytes](), 0
    for blob in small:
        end = out.find(b"\n", at)
        head = out[at:end].split()
        if len(head) != 3 or head[0] != blob:
            raise MachineError(f"git gave no content for {blob.decode()}")
        size = int(head[2])
        found[blob.decode()] = out[end + 1 : end + 1 + size]
        at = end + 1 + size + 1
    return found
