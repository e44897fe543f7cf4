"""The chain of merges: one commit a patch, one after the other, as far as they apply."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from swarm.merging.patch import Eviction, Patch
from swarm.protocols import Repository
from swarm.stages import Picked


@dataclass(frozen=True, slots=True)
class Link:
    """A merged patch: `commit` holds it and all before it."""

    patch: Patch
    commit: str


@dataclass(frozen=True, slots=True)
class Chain:
    """Patches that were merged onto `floor`, and those that were not."""

    floor: str
    links: tuple[Link, ...]
    evicted: tuple[Eviction, ...]

    @property
    def tip(self) -> str:
        return self.links[-1].commit if self.links else self.floor

    @property
    def steps(self) -> list[Link]:
        """The links that changed something."""
        below = [self.floor, *(link.commit for link in self.links)]
        return [link for link, before in zip(self.links, below, strict=False) if link.commit != before]


class Picker:
    """Makes chains. What was merged onto a commit once is not merged onto it again."""

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self._known: dict[tuple[str, str, str], Picked] = {}

    def __repr__(self) -> str:
        return f"<Picker: {len(self._known)} merges>"

    async def pick(self, onto: str, patch: Patch) -> Picked:
        """One patch on top of a commit."""
        key = onto, patch.commit, patch.message
        if key not in self._known:
            self._known[key] = await self.repository.pick(
                onto, patch.commit, message=patch.message, author=patch.author
            )
        return self._known[key]

    async def chain(self, floor: str, ordered: Sequence[Patch], merged: Sequence[Patch] = ()) -> Chain:
        """Merge patches in their order; one that does not apply, or builds on one that is not merged, is left out.
        `merged` are those that `floor` holds already."""
        links: list[Link] = []
        evicted: list[Eviction] = []
        tip, inside = floor, {patch.subtask_id for patch in merged}
        for patch in ordered:
            if lacking := [need for need in patch.needs if inside.isdisjoint(need)]:
                on = sorted({other for need in lacking for other in need})
                evicted.append(Eviction(patch, "held", against=tuple(on)))
                continue
            picked = await self.pick(tip, patch)
            if picked.commit is None:
                files = set(picked.conflicts)
                others = [other for other in (*merged, *(link.patch for link in links)) if files & other.files]
                against = tuple(dict.fromkeys(other.subtask_id for other in others))
                evicted.append(Eviction(patch, "conflict", against, picked.conflicts, picked.notes))
                continue
            links.append(Link(patch, picked.commit))
            inside.add(patch.subtask_id)
            tip = picked.commit
        return Chain(floor, tuple(links), tuple(evicted))
