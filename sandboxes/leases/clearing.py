"""Clears up after one lease: finds what it left on this machine, and removes it in an order that can be repeated.

What may still use the rest goes first; the folder goes last, so that whoever is broken off in between leaves enough for
the next one to find it all again.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from swarm.removal import remove_tree
from swarm.sandboxes.channel import sweep
from swarm.sandboxes.docker.leftovers import ENGINES, Engines, engines_of
from swarm.sandboxes.leases.leftover import FAILURES, Leftover, reason
from swarm.sandboxes.leases.mounts import mounts_below, unmount
from swarm.sandboxes.limits import cgroups
from swarm.values import value

LOCK = "lock"
KEPT = (ENGINES, cgroups.RECORD, LOCK)
"""What stays in a lease's folder to the very end: it tells what else there is."""

T = TypeVar("T")

_ENDS_S = 5.0
_PAUSE_S = 0.01


@value(frozen=True, slots=True)
class Found:
    """What a lease left, in the order of its removal. `unseen` says what could not be looked at, and why; `away`:
    those of these reasons that are engines which do not answer, as one does that was stopped. `engines`: all that it
    names."""

    leftovers: tuple[Leftover, ...]
    unseen: tuple[str, ...]
    away: frozenset[str]
    engines: tuple[str, ...]


def look(folder: Path, engines: Engines, *, over: bool = False) -> Found:
    """Find what a lease left. Blocks, and never fails. `folder` must be free of links. `over`: whoever started
    anything for it has ended, so that processes which are not found now will not be there later."""
    unseen: list[str] = []
    away: list[str] = []

    def seen(find: Callable[[Path], Sequence[T]]) -> Sequence[T]:
        try:
            return find(folder)
        except FAILURES as error:
            unseen.append(reason(error))
            return ()

    found = [*seen(_processes)]
    none = over and not found and not unseen
    named = tuple(seen(engines_of))
    for address in named:
        try:
            found += engines.labelled(address).get(str(folder), [])
        except FAILURES as error:
            away.append(reason(error))
    found += [Leftover("cgroup", str(path), partial(_end_cgroup, path)) for path in seen(cgroups.leftovers)]
    found += [Leftover("mount", str(place), partial(_unmount, place)) for place in seen(mounts_below)]
    found.append(Leftover("folder", str(folder), partial(_empty, folder, swept=none)))
    return Found(tuple(found), (*unseen, *away), frozenset(away), named)


def clear(leftovers: Sequence[Leftover], until: float) -> list[str]:
    """Remove what was found; gives what went wrong. Blocks. After `until` (seconds of the monotonic clock) nothing
    more is begun."""
    wrong: list[str] = []
    for number, thing in enumerate(leftovers):
        if time.monotonic() > until:
            wrong.append(f"no time was left to remove {len(leftovers) - number} of {len(leftovers)}")
            break
        try:
            thing.remove()
        except FAILURES as error:
            wrong.append(f"{thing.kind} {thing.name}: {reason(error)}")
    return wrong


def _processes(folder: Path) -> list[Leftover]:
    belongs = sweep.of_lease(folder)
    return [
        Leftover("process", f"{sweep.pid_of(process)} ({sweep.command_of(process)})", partial(_end, process, belongs))
        for process in sweep.find(belongs)
    ]


def _end(process: Path, belongs: Callable[[Path], bool]) -> None:
    """Kill it and wait for its end, if it is still the one that was found."""
    with suppress(ProcessLookupError):
        handle = os.pidfd_open(sweep.pid_of(process))
        try:
            if not belongs(process):
                return
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            ended = select.poll()
            ended.register(handle, select.POLLIN)
            if not ended.poll(_ENDS_S * 1000):
                raise OSError("it was killed and does not end")
        finally:
            os.close(handle)


def _end_cgroup(path: Path) -> None:
    if not cgroups.remove(path):
        raise OSError("processes in it cannot be ended")


def _unmount(place: Path) -> None:
    if not unmount(place) and place in mounts_below(place):
        raise OSError("it cannot be unmounted")


def _empty(folder: Path, *, swept: bool) -> None:
    """Remove all in a lease's folder but what finds and locks it. `swept`: no process belongs to it any more."""
    deadline = time.monotonic() + _ENDS_S
    while not swept and sweep.send(signal.SIGKILL, sweep.of_lease(folder)):  # what was started since it was looked for
        if time.monotonic() > deadline:
            raise OSError("processes that belong to it cannot be ended")
        time.sleep(_PAUSE_S)
    if mounted := mounts_below(folder):
        raise OSError(f"{mounted[0]} is still mounted")  # removing would go on in what is mounted there
    left = [path for path in _contents(folder) if not _gone(path)]
    if left:
        raise OSError(f"{left[0]} cannot be removed")


def _contents(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.name not in KEPT]
    except FileNotFoundError:
        return []


def _gone(path: Path) -> bool:
    if path.is_dir() and not path.is_symlink():
        remove_tree(path)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)
    return not os.path.lexists(path)
