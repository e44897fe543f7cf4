"""Putting a patch on a tree where git's merge could come to one thing only, without starting a git for it.

That is so where neither what the patch was made on has lost a file on the way to the tree, nor the patch takes one
away: then nothing was renamed, and each path stands by itself. Where both have changed the same path, git merges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from swarm.sandboxes.git import objects
from swarm.sandboxes.git.command import Git
from swarm.sandboxes.git.objects import FOLDER, Tree

_NOTHING, _LINK, _TREE = b"000000", b"120000", b"040000"
_BEFORE = {
    b"100644": (b"100644", b"100755", _NOTHING),
    b"100755": (b"100644", b"100755", _NOTHING),
    _LINK: (_LINK, _NOTHING),
}
"""What may have stood where a file stands now: it is no other kind of file that gave way to it."""

_MOST_EDITS = 1_000  # of a patch, and it is git that merges it
_MOST_ENTRIES = 100_000  # of trees that are kept, some 20 MB

_FEW = 100

Entry = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Edits:
    """What a patch makes of files: path, what stood there (None: nothing), what stands there now. `folders`: the trees
    above them before it. `plain`: it only adds files and changes them."""

    files: tuple[tuple[bytes, Entry | None, Entry], ...]
    folders: tuple[str, ...]
    plain: bool


def edits_of(fields: Sequence[bytes]) -> Edits:
    """What `git diff-tree -r -t -z --raw` tells, of which each other field is a path."""
    files: list[tuple[bytes, Entry | None, Entry]] = []
    folders: list[str] = []
    plain = len(fields) <= 2 * _MOST_EDITS
    for about, path in zip(fields[::2], fields[1::2], strict=True) if plain else ():
        before, after, old, new, _ = about.lstrip(b":").split(b" ")
        if _TREE in (before, after):
            folders += [old.decode()] if before == _TREE else []
        elif before in _BEFORE.get(after, ()):
            there = (before, bytes.fromhex(old.decode())) if before != _NOTHING else None
            files.append((path, there, (after, bytes.fromhex(new.decode()))))
        else:
            plain = False
    return Edits(tuple(files), tuple(folders), plain) if plain else Edits((), (), plain)


class Overlay:
    """What is known of the trees and patches of a store."""

    def __init__(self) -> None:
        self._edits: dict[str, Edits] = {}
        self._grown: set[tuple[str, str]] = set()
        self._trees: dict[str, Tree] = {}
        self._entries = 0

    def __repr__(self) -> str:
        return f"<Overlay: {len(self._edits)} patches, {len(self._trees)} trees>"

    def learn(self, patch: str, edits: Edits) -> None:
        """What the commit `patch` changes of the one below it."""
        self._edits[patch] = edits

    def merged(self, below: str, onto: str, patch: str, tree: str) -> None:
        """A patch on the tree `below` was put on `onto`, which made `tree`."""
        edits = self._edits.get(patch)
        if edits is not None and edits.plain and self._has_grown(below, onto):
            self._grown.add((below, tree))

    def laid(self, git: Git, store: Path, below: str, onto: str, patch: str) -> str | None:
        """The tree `onto` with a patch that was made on the tree `below`; None: git must merge.

        Raises:
            MachineError: a tree cannot be written.
        """
        edits = self._edits.get(patch)
        if edits is None or not edits.plain or not self._has_grown(below, onto):
            return None
        self._fetch(git, store, (below, *edits.folders))
        return self._with(git, store, onto, edits.files)

    def _has_grown(self, below: str, onto: str) -> bool:
        return below == onto or (below, onto) in self._grown

    def _with(self, git: Git, store: Path, tree: str, files: Sequence[tuple[bytes, Entry | None, Entry]]) -> str | None:
        """The tree with files in it, "" being the empty one; None where another stands in the place of one."""
        if tree:
            self._fetch(git, store, (tree,))
        before = self._trees.get(tree) if tree else {}
        if before is None:
            return None
        entries = dict(before)
        inner: dict[bytes, list[tuple[bytes, Entry | None, Entry]]] = {}
        for path, old, new in files:
            first, _, rest = path.partition(b"/")
            if rest:
                inner.setdefault(first, []).append((rest, old, new))
            elif (there := entries.get(first)) != new:
                if there != old:
                    return None
                entries[first] = new
        for first, below in inner.items():
            there = entries.get(first, (FOLDER, b""))
            made = self._with(git, store, there[1].hex(), below) if there[0] == FOLDER else None
            if made is None:
                return None
            entries[first] = (FOLDER, bytes.fromhex(made))
        if entries == before:
            return tree
        made = objects.write_tree(store, entries, 2 * len(next(iter(entries.values()))[1]))
        self._keep(made, entries)
        return made

    def _fetch(self, git: Git, store: Path, names: Sequence[str]) -> None:
        """Have trees at hand, as far as they are there."""
        lacking = []
        for name in dict.fromkeys(name for name in names if name not in self._trees):
            body = objects.read(store, name, b"tree")
            if body is None:
                lacking.append(name)
            else:
                self._parse(name, body)
        if lacking:
            for name, body in _batch(git, [*lacking, *self._beside(names[0], lacking)]).items():
                self._parse(name, body)

    def _beside(self, above: str, lacking: Sequence[str]) -> list[str]:
        """Folders that stand in one beside what is asked for, unless they are many: other patches come to them."""
        entries = self._trees.get(above, {}).values()
        found = [name.hex() for mode, name in entries if mode == FOLDER]
        return [name for name in found if name not in self._trees and name not in lacking] if len(found) <= _FEW else []

    def _parse(self, name: str, body: bytes) -> None:
        tree = objects.parsed(body, len(name))
        if tree is not None:
            self._keep(name, tree)

    def _keep(self, name: str, tree: Tree) -> None:
        if self._entries > _MOST_ENTRIES:
            self._trees, self._entries = {}, 0
        self._trees[name] = tree
        self._entries += len(tree)


def _batch(git: Git, names: Sequence[str]) -> Mapping[str, bytes]:
    """The contents of trees, of those that are there."""
    out = git.run("cat-file", "--batch", stdin="\n".join((*names, "")).encode()).out
    found, at = dict[str, bytes](), 0
    for name in names:
        end = out.find(b"\n", at)
        about = out[at:end].split(b" ")
        at = end + 1
        if len(about) == 3 and about[2].isdigit():
            size = int(about[2])
            if about[1] == b"tree":
                found[name] = out[at : at + size]
            at += size + 1
    return found
