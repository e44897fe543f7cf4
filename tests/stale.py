"""What test runs left that were killed: `python -m tests.stale FOLDER PREFIX`. See scripts/pytest.

The place of a run is locked as long as it lives. Of a dead one's, the leases are reaped as the next `swarm` would, what
of an engine still runs is ended, and what is mounted there is taken away before the files are.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import anyio

from swarm.removal import remove_tree
from swarm.sandboxes.leases.mounts import mounts_below, unmount
from swarm.sandboxes.leases.reaper import reap


def clear(place: Path) -> None:
    """Remove a folder, and what runs and is mounted for it."""
    for home in {found.parent for depth in ("*", "*/*", "*/*/*") for found in place.glob(f"{depth}/home/leases")}:
        anyio.run(reap, home)
    end_those_of(place)
    for mount in mounts_below(place):
        unmount(mount)
    remove_tree(place)


def end_those_of(folder: Path) -> None:
    """Kill the processes whose command names something below a folder: an engine and what holds its containers."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"{folder}/".encode() in (process / "cmdline").read_bytes() and int(process.name) != os.getpid():
                os.kill(int(process.name), signal.SIGKILL)


def main(folder: Path, prefix: str) -> None:
    for place in folder.glob(f"{prefix}*"):
        try:
            lock = os.open(place / "lock", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue  # none: it came to its end, and is kept to be looked at
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue  # at work
        else:
            sys.stderr.write(f"tests: clearing {place}, which a killed run left\n")
            clear(place)
        finally:
            os.close(lock)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
