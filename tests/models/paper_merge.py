"""Merging on paper. A tree is files of slots, each of which holds a word; a patch changes slots. What the queue is to
come to is found by putting one patch after the other onto the tree, with the tests run after each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from anyio.lowlevel import checkpoint

from swarm.stages import Change, Picked

Tree = dict[str, tuple[str, ...]]
SLOTS = 5


def lines_of(tree: Tree) -> dict[str, str]:
    """The same as text: between slots there are lines that nobody changes, so that git sees them apart."""
    between = "".join(f"between {n}\n" for n in range(6))
    return {name: "".join(f"{word}\n{between}" for word in slots) for name, slots in tree.items()}


def apply(tree: Tree, old: Tree, new: Tree) -> tuple[Tree, set[str]]:
    """What was changed from old to new, on top of a tree; and the files in which somebody else changed the same."""
    made, clash = dict(tree), set()
    for name, slots in new.items():
        before, here = old.get(name), tree.get(name)
        if before is None:
            clash |= {name} if here not in (None, slots) else set()
            made[name] = slots
        elif here is not None:
            clash |= {name for a, b, c in zip(before, slots, here, strict=True) if a != b and c not in (a, b)}
            made[name] = tuple(c if a == b else b for a, b, c in zip(before, slots, here, strict=True))
    return made, clash


@dataclass
class PaperRepository:
    """`swarm.protocols.Repository`, as far as the queue uses it."""

    trees: dict[str, Tree]
    parents: dict[str, str] = field(default_factory=dict)
    base: str = "base"

    def commit(self, tree: Tree, parent: str, why: str = "") -> str:
        name = f"{parent}+{why or len(self.trees)}"
        self.trees[name], self.parents[name] = tree, parent
        return name

    async def pick(self, onto: str, patch: str, *, message: str, author: str) -> Picked:
        await checkpoint()
        made, clash = apply(self.trees[onto], self.trees[self.parents[patch]], self.trees[patch])
        if clash:
            return Picked(None, tuple(sorted(clash)))
        return Picked(onto if made == self.trees[onto] else self.commit(made, onto, author))

    async def changes(self, patch: str) -> Sequence[Change]:
        await checkpoint()
        old, new = self.trees[self.parents[patch]], self.trees[patch]
        found = []
        for name, slots in new.items():
            before = old.get(name)
            lines = SLOTS * 7 if before is None else 2 * sum(a != b for a, b in zip(before, slots, strict=True))
            found += [Change(name, lines)] if lines else []
        return found


@dataclass
class PaperPatch:
    name: str
    place: int
    old: Tree
    new: Tree
    changes: Sequence[Change]
    needs: frozenset[str]


def order(patches: Sequence[PaperPatch]) -> list[PaperPatch]:
    """What others build on first; of the others the smallest, then who shares its files with the fewest, then the first
    of the plan."""

    def key(patch: PaperPatch) -> tuple[int, int, int]:
        files = {change.path for change in patch.changes}
        shared = sum(bool(files & {change.path for change in other.changes}) for other in patches if other is not patch)
        return sum(max(1, change.lines) for change in patch.changes), shared, patch.place

    left, found = list(patches), list[PaperPatch]()
    while left:
        free = [patch for patch in left if not patch.needs & {other.name for other in left}]
        found.append(min(free, key=key))
        left.remove(found[-1])
    return found


def red(tree: Tree, tests: Mapping[str, frozenset[str]]) -> set[str]:
    """The tests that fail: those whose words are all in the tree."""
    words = {word for slots in tree.values() for word in slots}
    return {name for name, bad in tests.items() if bad <= words}


def merged(
    floor: Tree, patches: Sequence[PaperPatch], tests: Mapping[str, frozenset[str]]
) -> tuple[Tree, list[str], dict[str, str]]:
    """The tree, who is in it, and why who is not."""
    tree, inside, out = floor, list[str](), dict[str, str]()
    names = {patch.name for patch in patches}
    for patch in order(patches):
        made, clash = apply(tree, patch.old, patch.new)
        if not patch.needs & names <= set(inside):
            out[patch.name] = "held"
        elif clash:
            out[patch.name] = "conflict"
        elif red(made, tests) - red(floor, tests):
            out[patch.name] = "red"
        else:
            tree = made
            inside.append(patch.name)
    return tree, inside, out
