"""Working copies by copy-on-write: what all copies of a commit share is written once for a lease.

    LEASE/layers-XXXX/bases/COMMIT/tree  the tree of a commit, given to the sandboxes' user; it never changes. Runs that
                                         begin alike share it (`swarm.sandboxes.copies.shelf`)
    LEASE/layers-XXXX/snapshots/NAME     a frozen `upper`, or a frozen tree
    LEASE/ws-XXXX/{tree,upper,work}      a copy: an overlay is mounted on `tree`, what is changed lies in `upper`

Nobody but us can enter the first: a sandbox sees a base only through an overlay.

Which kind of copy works is found by a trial, the best first. Without overlays (they take root) a copy is a tree of its
own, whose content is shared where the file system can (reflinks). Nothing is ever shared by hard links.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread

from swarm.errors import MachineError
from swarm.removal import remove_tree
from swarm.sandboxes.copies.checkouts import Checkouts, Owner
from swarm.sandboxes.copies.layering import Kind, Layering, State, best, layering
from swarm.shortage import remedy_for, told

if TYPE_CHECKING:
    from swarm.sandboxes.copies.shelf import Lent
    from swarm.sandboxes.git.repository import GitRepository

CLEANUP_SECONDS = 30.0
T = TypeVar("T")


class Layers:
    """`swarm.protocols.WorkingCopies` below one lease. `owner`: who works in the copies (`SandboxBackend.owner`);
    `kind`: how copies are made, None: by the best way that works here; `shelf`: where bases are that other runs have
    too."""

    def __init__(
        self,
        lease: Path,
        repository: GitRepository | None = None,
        owner: Owner = None,
        kind: Kind | None = None,
        shelf: Lent | None = None,
    ) -> None:
        self._lease = lease.resolve()
        self._shared = self._lease
        self._repository = repository
        self._owner = owner
        self._kind = kind
        self._shelf = shelf
        self._layering: Layering | None = None
        self._bases: dict[str | None, State] = {}
        self._snapshots: dict[str, State] = {}
        self._numbers = itertools.count(1)
        self._preparing = anyio.Lock()
        self._making: dict[str | None, anyio.Lock] = {}

    @property
    def kind(self) -> Kind | None:
        """How copies are made; None as long as none was."""
        return self._kind

    @asynccontextmanager
    async def open(self, commit: str | None) -> AsyncIterator[LayeredCopy]:
        """See `swarm.protocols.WorkingCopies`."""
        base = await self._base(commit)
        async with self.begin(base, None) as copy:
            yield copy

    @asynccontextmanager
    async def restore(self, snapshot: str) -> AsyncIterator[LayeredCopy]:
        """See `swarm.protocols.WorkingCopies`."""
        if snapshot not in self._snapshots:
            raise MachineError(f"there is no snapshot {snapshot} in {self._lease}")
        async with self.begin(self._snapshots[snapshot], None) as copy:
            yield copy

    async def adopt(self, folder: Path) -> str:
        """Record a folder that is no repository: `open` takes what this gives as a commit."""
        await self._ready()
        assert self._repository is not None
        return await self._repository.adopt(folder)

    @asynccontextmanager
    async def begin(self, state: State, like: LayeredCopy | None) -> AsyncIterator[LayeredCopy]:
        """A new copy over `state`, or like another copy over it is now."""
        checkouts, how = await self._ready()
        place = Path(await anyio.to_thread.run_sync(partial(tempfile.mkdtemp, prefix="ws-", dir=self._lease)))
        copy = LayeredCopy(self, place, state)
        try:
            await _work(how.make, state, place, like.place if like else None)
            source = like.tree if like else state.indexed
            await _work(lambda _: checkouts.lend(source, copy.tree, copied=how.copies))
            lower = self._commit_of(state)
            if lower is not None and not how.copies:
                await _work(lambda _: checkouts.note_upper(copy.tree, lower, place / "upper"))
            yield copy
        finally:
            with anyio.move_on_after(CLEANUP_SECONDS, shield=True):
                await anyio.to_thread.run_sync(_undo, how, place, checkouts, abandon_on_cancel=True)

    async def freeze(self, copy: LayeredCopy) -> str:
        """Keep the state of a copy; gives the snapshot's name."""
        checkouts, how = await self._ready()
        name = f"snapshot-{next(self._numbers)}"
        place = self._shared / "snapshots" / name
        try:
            layers = await _work(how.freeze, copy.state, copy.place, place)
            await _work(lambda _: checkouts.lend(copy.tree, place, copied=how.copies))
        except BaseException:
            with anyio.move_on_after(CLEANUP_SECONDS, shield=True):
                await anyio.to_thread.run_sync(remove_tree, place)
            raise
        self._snapshots[name] = State(copy.commit, layers, place)
        return name

    async def difference(self, copy: LayeredCopy) -> bytes:
        """The patch of a copy: of a fork of it, since who works in it could lead us out of it while we read."""
        checkouts, _ = await self._ready()
        assert self._repository is not None
        began = copy.commit if copy.commit is not None else await _work(lambda _: checkouts.empty())
        async with copy.fork() as frozen:
            staged = await _work(lambda _: checkouts.stage(frozen.tree, began))
        return await self._repository.diff(began, staged.tree)

    async def move(self, copy: LayeredCopy, commit: str, *, begins: bool, shows: str | None = None) -> None:
        """Bring a copy that is as it began, or shows what it was recorded as, to another commit. `begins`: it begins
        anew there."""
        checkouts, _ = await self._ready()
        old = shows or copy.commit
        if old is None or copy.commit is None:
            raise MachineError(f"{copy.tree} is no copy of a commit")
        if not await _work(lambda _: checkouts.unchanged(copy.tree, old, strictly=shows is None)):
            raise MachineError(f"{copy.tree} was changed: it cannot be moved to another commit")
        if old != commit:
            await _work(lambda _: checkouts.move(copy.tree, old, commit, self._owner, begins=begins))

    async def _base(self, commit: str | None) -> State:
        """The tree of a commit that all its copies lie over, made by whoever is first."""
        checkouts, _ = await self._ready()
        async with self._making.setdefault(commit, anyio.Lock()):
            if commit not in self._bases:
                tree = await self._shared_base(checkouts, commit) or await self._own_base(checkouts, commit)
                self._bases[commit] = State(commit, (tree,), tree)
            return self._bases[commit]

    async def _shared_base(self, checkouts: Checkouts, commit: str | None) -> Path | None:
        """The tree of a commit as other runs have it too; None where it is not shared."""
        if self._shelf is None or commit is None:
            return None
        look = await _work(lambda _: checkouts.look(commit))
        if look is None:
            return None

        def make(place: Path, _: object) -> None:
            (place / "tree").mkdir()
            checkouts.make(commit, place / "tree", self._owner)
            checkouts.keep(place / "tree", place / "index")

        place = await self._shelf.take((*look, self._owner), commit, partial(_work, make))
        await _work(lambda _: checkouts.adopt(place / "tree", commit, place / "index"))
        return place / "tree"

    async def _own_base(self, checkouts: Checkouts, commit: str | None) -> Path:
        place = self._shared / "bases" / (commit or "empty")
        tree = place / "tree"
        try:
            await anyio.to_thread.run_sync(partial(tree.mkdir, parents=True))
            await _work(lambda _: checkouts.make(commit, tree, self._owner))
        except BaseException:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(remove_tree, place)
            raise
        return tree

    def _commit_of(self, state: State) -> str | None:
        """The commit whose tree is all that lies below a copy; None where there is more, or no commit."""
        only = state.layers[0] if len(state.layers) == 1 else None
        return next((commit for commit, base in self._bases.items() if base.layers[0] == only), None)

    async def _ready(self) -> tuple[Checkouts, Layering]:
        async with self._preparing:
            if self._layering is None:
                self._shared = await _work(self._lay_out)
                if self._kind is None:
                    self._kind = await _work(lambda _: best(self._lease))
                if self._repository is None:
                    from swarm.sandboxes.git.repository import plain_store

                    self._repository = await _work(lambda _: plain_store(self._shared / "states.git"))
                self._layering = layering(self._kind)
        assert self._repository is not None
        return self._repository.checkouts, self._layering

    def _lay_out(self, _: Callable[[], None]) -> Path:
        shared = Path(tempfile.mkdtemp(prefix="layers-", dir=self._lease))
        for name in ("bases", "snapshots"):
            (shared / name).mkdir()
        return shared


@dataclass(slots=True)
class LayeredCopy:
    """`swarm.protocols.WorkingCopy`. `place` holds all of it; `state` is what lies below."""

    layers: Layers
    place: Path
    state: State
    commit: str | None = None

    def __post_init__(self) -> None:
        self.commit = self.state.commit

    @property
    def tree(self) -> Path:
        """See `swarm.protocols.WorkingCopy`."""
        return self.place / "tree"

    async def patch(self) -> bytes:
        """See `swarm.protocols.WorkingCopy`."""
        return await self.layers.difference(self)

    async def snapshot(self) -> str:
        """See `swarm.protocols.WorkingCopy`."""
        return await self.layers.freeze(self)

    def fork(self, snapshot: str | None = None) -> AbstractAsyncContextManager[LayeredCopy]:
        """See `swarm.protocols.WorkingCopy`."""
        return self.layers.begin(self._now(), self) if snapshot is None else self.layers.restore(snapshot)

    async def move_to(self, commit: str, *, as_changes: bool = False, shows: str | None = None) -> None:
        """See `swarm.protocols.WorkingCopy`."""
        await self.layers.move(self, commit, begins=not as_changes, shows=shows)
        if not as_changes:
            self.commit = commit

    def _now(self) -> State:
        return State(self.commit, self.state.layers, self.state.indexed)


async def _work(work: Callable[..., T], *args: object) -> T:
    """Do something in a thread, with a word that raises there when we were cancelled; waits for its end."""
    try:
        return await anyio.to_thread.run_sync(partial(work, *args, anyio.from_thread.check_cancelled))
    except OSError as error:
        if isinstance(error, MachineError):
            raise
        raise MachineError(f"a working copy: {told(error)}", remedy=remedy_for(error)) from error


def _undo(how: Layering, place: Path, checkouts: Checkouts) -> None:
    how.undo(place)
    remove_tree(place)
    checkouts.forget(place / "tree")
