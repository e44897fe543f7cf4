"""Trees of commits that runs of one process share: what many of them begin with is written once for all.

    HOME/leases/bases-XXXX/COMMIT-XXXX/{tree,index}

They have a lease of their own, for they outlive each run. A tree stays for as long as a run lies over it; the last few
that nobody uses wait for the next run. Nobody but us can enter them, as it is with those of a run alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from swarm.removal import remove_tree
from swarm.sandboxes.leases.late import LateLease

_SPARE = 2
"""Trees that are kept although no run uses them: the next one often begins with what the last one did."""


@dataclass(eq=False)
class _Base:
    """`place` is None until it was made."""

    users: int = 0
    place: Path | None = None
    making: anyio.Lock = field(default_factory=anyio.Lock)


class Shelf:
    """Holds such trees, in a lease that is taken with the first of them."""

    def __init__(self, lease: LateLease) -> None:
        self._lease = lease
        self._bases: dict[Hashable, _Base] = {}

    def __repr__(self) -> str:
        return f"<Shelf: {len(self._bases)} trees, {sum(each.users > 0 for each in self._bases.values())} in use>"

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[Lent]:
        """What one run takes from it; given back at the end of the block, when nothing lies over it any more."""
        lent = Lent(self)
        try:
            yield lent
        finally:
            with anyio.CancelScope(shield=True):
                await self._give_back(lent)

    async def take(self, key: Hashable, name: str, make: Callable[[Path], Awaitable[None]], lent: Lent) -> Path:
        """See `Lent.take`."""
        await self._lease.take()
        base = self._bases.setdefault(key, _Base())
        base.users += 1
        lent.taken.append((key, base))
        async with base.making:
            if base.place is None:
                folder = partial(tempfile.mkdtemp, prefix=f"{name}-", dir=self._lease.folder)
                place = Path(await anyio.to_thread.run_sync(folder))
                try:
                    await make(place)
                except BaseException:
                    with anyio.CancelScope(shield=True):
                        await anyio.to_thread.run_sync(remove_tree, place)
                    raise
                base.place = place
        return base.place

    async def _give_back(self, lent: Lent) -> None:
        for key, base in lent.taken:
            base.users -= 1
            if self._bases.pop(key, None) is not None:
                self._bases[key] = base  # the last one used is the last one to go
        idle = [key for key, base in self._bases.items() if not base.users]
        gone = [self._bases.pop(key).place for key in idle[: max(0, len(idle) - _SPARE)]]
        for place in filter(None, gone):
            await anyio.to_thread.run_sync(remove_tree, place)


@dataclass(frozen=True, slots=True)
class Lent:
    """What one run has from a shelf."""

    shelf: Shelf
    taken: list[tuple[Hashable, _Base]] = field(default_factory=list)

    async def take(self, key: Hashable, name: str, make: Callable[[Path], Awaitable[None]]) -> Path:
        """The folder that `make` fills, made by whoever is first to ask for the `key`. Raises what `make` raises.

        Raises:
            MachineError: the lease cannot be taken.
        """
        return await self.shelf.take(key, name, make, self)
