"""Removes what runs left behind that did not come to their end: whatever bears a dead lease of a home.

A lease that somebody holds is never touched, and nothing that bears the lease of another home.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from swarm.sandboxes.docker.leftovers import Engines
from swarm.sandboxes.leases.clearing import clear, look
from swarm.sandboxes.leases.lease import Holder, all_leases, forget, holder, leases_of, try_lock
from swarm.sandboxes.leases.leftover import FAILURES, Leftover, reason
from swarm.values import value

_REAPS_S = 20.0
"""Seconds that a run gives to what others left."""


_ANSWERS_S = 2.0
"""Seconds in which an engine answers, or is left for later."""


@value(frozen=True, slots=True)
class DeadLease:
    """What one of them left. `unseen` says what could not be looked at; then the folder stays, for a later try.

    `away`: those of `unseen` that are engines which do not answer. `kept`: the folder is there. Without it, only
    containers and the like are left that bear its path.
    """

    id: str
    folder: Path
    holder: Holder
    leftovers: tuple[Leftover, ...]
    unseen: tuple[str, ...]
    away: frozenset[str] = frozenset()
    kept: bool = True


@value(frozen=True, slots=True)
class Dead:
    """All of a home. `unseen` says what could not be looked at beside what the leases tell."""

    leases: tuple[DeadLease, ...]
    unseen: tuple[str, ...]


@contextmanager
def dead_leases(home: Path, more_engines: Iterable[str] = (), patience: float = 8.0) -> Iterator[Dead]:
    """Find what dead leases left, and hold them for the length of the block, so that nobody else removes them.

    Looks into the engines that the leases name, and in `more_engines`; `patience`: seconds in which one answers.
    Blocks.
    """
    with ExitStack() as stack:
        unseen: list[str] = []
        locked = _lock_the_dead(home, stack, unseen)
        engines = stack.enter_context(Engines(patience))
        found: list[DeadLease] = []
        asked = list(more_engines)
        for folder, lock in sorted(locked.items()):
            seen = look(folder, engines)
            asked += seen.engines
            found.append(DeadLease(folder.name, folder, holder(lock), seen.leftovers, seen.unseen, seen.away))
        told = {reason for lease in found for reason in lease.unseen}
        for address in dict.fromkeys(asked):
            try:
                found += _orphans(leases_of(home), address, engines)
            except FAILURES as error:
                unseen += [reason(error)] if reason(error) not in told else []
        yield Dead(tuple(found), tuple(unseen))


def remove(lease: DeadLease, until: float) -> list[str]:
    """Remove what a dead lease left; gives what went wrong. Blocks. `until` as in `clear`."""
    wrong = clear(lease.leftovers, until)
    if lease.kept and not wrong and not lease.unseen:
        try:
            forget(lease.folder)
        except FAILURES as error:
            wrong.append(f"folder {lease.folder}: {reason(error)}")
    return wrong


async def reap(home: Path) -> str:
    """Remove all that bears a dead lease of this home, in bounded time; gives a line about it where there was
    something, else nothing. Never fails: what could not be removed waits for the next one."""
    until = time.monotonic() + _REAPS_S
    with anyio.move_on_after(_REAPS_S):
        try:
            return await anyio.to_thread.run_sync(partial(_reap, home, until), abandon_on_cancel=True)
        except FAILURES as error:
            return _text(f"what earlier runs left behind could not be looked at: {reason(error)}")
    return f"what earlier runs left behind could not be removed within {_REAPS_S:.0f} s; see `swarm gc`"


def _reap(home: Path, until: float) -> str:
    removed: Counter[str] = Counter()
    ids: list[str] = []
    with dead_leases(home, patience=_ANSWERS_S) as dead:
        left = bool(dead.unseen)
        for lease in dead.leases:
            wrong = remove(lease, until)
            left = left or bool(wrong) or not lease.away.issuperset(lease.unseen)
            if not lease.unseen and not wrong:
                ids.append(lease.id)
                removed.update(thing.kind for thing in lease.leftovers)
    if not ids:
        return "what earlier runs left behind could not all be looked at and removed; see `swarm gc`" if left else ""
    things = ", ".join(f"{count} {kind}{'es' if kind.endswith('s') else 's'}" for kind, count in removed.items())
    more = "; not all could be, see `swarm gc`" if left else ""
    return _text(f"removed what was left behind by {', '.join(ids)}: {things}{more}")


def _text(said: str) -> str:
    """Fit for any file: a folder's name need be no text."""
    return said.encode(errors="backslashreplace").decode()


def _lock_the_dead(home: Path, stack: ExitStack, unseen: list[str]) -> dict[Path, int]:
    """The folders of dead leases, with their locks."""
    locked: dict[Path, int] = {}
    if not leases_of(home).is_dir():
        return locked
    with all_leases(home) as leases:
        for folder in leases.iterdir():
            try:
                if not folder.is_dir() or folder.is_symlink():
                    continue
                lock = try_lock(folder)
            except OSError as error:  # another user's, or no run made it
                unseen.append(f"{folder} cannot be looked at: {reason(error)}")
                continue
            if lock is not None:
                stack.callback(os.close, lock)
                locked[folder] = lock
    return locked


def _orphans(leases: Path, address: str, engines: Engines) -> list[DeadLease]:
    """What is in an engine and bears a lease of ours whose folder is gone. The engine was asked before it is looked
    whether the folder is there: a lease's folder comes before all else of it, and goes after it."""
    return [
        DeadLease(Path(label).name, Path(label), Holder(), tuple(things), (), kept=False)
        for label, things in engines.labelled(address).items()
        if Path(label).parent == leases and not Path(label).exists()
    ]
