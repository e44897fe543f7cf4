"""Trees of git, read and changed in one place without an index: what is asked stays cheap in a large repository."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from swarm.sandboxes.git.command import Git

FOLDER = "040000"
GITLINK = "160000"
_ARGUMENTS = 500


@dataclass(frozen=True, slots=True)
class Entry:
    """What stands under a name in a tree."""

    mode: str
    name: str
    """The object's."""

    @property
    def line(self) -> bytes:
        kind = {FOLDER: "tree", GITLINK: "commit"}.get(self.mode, "blob")
        return f"{self.mode} {kind} {self.name}".encode()


def entry_at(git: Git, tree: str, path: bytes) -> Entry | None:
    """What stands at a path; None: nothing."""
    folder, _, last = path.rpartition(b"/")
    above = entry_at(git, tree, folder) if folder else Entry(FOLDER, tree)
    if above is None or above.mode != FOLDER:
        return None
    return _listed(git, above.name).get(last)


def folders_at(git: Git, commit: str, paths: Sequence[bytes]) -> dict[bytes, str]:
    """The trees of the folders that stand at some paths in a commit; with an empty path the whole."""
    found = {b"": git.run("rev-parse", f"{commit}^{{tree}}").text}
    some = [os.fsdecode(path) for path in paths if path]
    for number in range(0, len(some), _ARGUMENTS):
        # -t: a folder that stands in another one that is asked for is listed as well.
        listed = git.run("ls-tree", "-d", "-t", "-z", commit, "--", *some[number : number + _ARGUMENTS]).parts
        for line in listed:
            about, _, path = line.partition(b"\t")
            if about.startswith(FOLDER.encode()):
                found[path] = about.split(b" ")[2].decode()
    return {path: found[path] for path in paths if path in found}


def without_folders(git: Git, tree: str, instead: Mapping[bytes, Entry | None]) -> str:
    """The tree with something else, None for nothing, where folders stand at some paths, none of them in another."""
    entries = _listed(git, tree)
    below: dict[bytes, dict[bytes, Entry | None]] = {}
    before = dict(entries)
    for path, entry in instead.items():
        first, _, rest = path.partition(b"/")
        there = entries.get(first)
        if there is None or there.mode != FOLDER:
            continue
        if rest:
            below.setdefault(first, {})[rest] = entry
        elif entry is None:
            del entries[first]
        else:
            entries[first] = entry
    for first, inner in below.items():
        made = without_folders(git, entries[first].name, inner)
        if made != entries[first].name and not _listed(git, made):
            del entries[first]
        else:
            entries[first] = Entry(FOLDER, made)
    return write_tree(git, entries) if entries != before else tree


def replaced(git: Git, tree: str, path: bytes, entry: Entry | None) -> str:
    """The tree with something else at a path; None: nothing. Folders above are made, empty ones vanish."""
    first, _, rest = path.partition(b"/")
    entries = _listed(git, tree)
    if rest:
        there = entries.get(first)
        if entry is None and (there is None or there.mode != FOLDER):
            return tree
        below = there.name if there is not None and there.mode == FOLDER else write_tree(git, {})
        made = replaced(git, below, rest, entry)
        entry = Entry(FOLDER, made) if _listed(git, made) else None
    if entry is None:
        entries.pop(first, None)
    else:
        entries[first] = entry
    return write_tree(git, entries)


def write_tree(git: Git, entries: dict[bytes, Entry]) -> str:
    """Make a tree; what it names need not be there."""
    lines = b"".join(entry.line + b"\t" + name + b"\0" for name, entry in entries.items())
    return git.run("mktree", "-z", "--missing", stdin=lines).text


def links_of(entries: Iterable[bytes]) -> dict[bytes, str]:
    """The submodules of an index, as `ls-files --stage` lists it: path to commit."""
    start = f"{GITLINK} ".encode()
    found = (line.partition(b"\t") for line in entries if line.startswith(start))
    return {path: about.split(b" ")[1].decode() for about, _, path in found}


def _listed(git: Git, tree: str) -> dict[bytes, Entry]:
    found: dict[bytes, Entry] = {}
    for line in git.run("ls-tree", "-z", tree).parts:
        about, _, name = line.partition(b"\t")
        mode, _, oid = about.decode().split(" ")
        found[name] = Entry(mode, oid)
    return found
