"""The limit of memory where no cgroup may be used: what all processes of a sandbox hold together is looked at.

A limit that each process bears (`ulimit -d`) counts neither the others nor what is shared. So this is a watch over all
of them, from outside, as long as the sandbox is open: over the limit the largest process is killed, as the kernel would
do, until it is kept again. The closer to the limit, the oftener it looks.

Counted are memory of the processes' own, what they map and share, files without a name that they hold open (memfd),
what of these was swapped out, and temporary files. Not seen: segments of System V that nobody maps, and what the kernel
holds for sockets and pipes.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress

import anyio
import anyio.to_thread

from swarm.errors import SandboxError
from swarm.stopping import companions
from swarm.values import value

_SPEED = 4 << 30
"""Bytes a second that nobody is thought to take faster."""

_SOONEST_S, _LATEST_S = 0.02, 1.0
_SHARE = 0.1
"""Of one core, what looking may take."""

_DIES_S = 0.2
"""Seconds in which the kernel takes back what a killed process held."""

_TEMPORARY = ("tmp", "dev/shm")
_OWN = ("RssAnon", "VmSwap")
_EXACTLY_OWN = ("Pss_Anon", "SwapPss")


@value(frozen=True, slots=True)
class _Process:
    pid: str
    own: int
    shared: int


class MemoryWatch:
    """Watches the processes of one sandbox. `limit`: bytes. `process`: its first one, as this machine counts.

    What is looked at is the sandbox's own /proc, opened once: it never shows another process.
    """

    def __init__(self, limit: int, proc: int, temporary: tuple[int, ...]) -> None:
        self._limit = limit
        self._proc = proc
        self._temporary = temporary

    @classmethod
    @asynccontextmanager
    async def opened(cls, process: int, limit: int) -> AsyncIterator[MemoryWatch]:
        """A watch for the length of the block, which keeps the limit.

        Raises:
            SandboxError: the sandbox's processes cannot be seen from here.
        """
        with ExitStack() as stack:

            def folder(path: str) -> int:
                fd = os.open(f"/proc/{process}/root/{path}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                stack.callback(os.close, fd)
                return fd

            try:
                watch = cls(limit, folder("proc"), tuple(folder(path) for path in _TEMPORARY))
                if not watch._processes():
                    raise SandboxError("the memory of a sandbox cannot be watched: its /proc shows no process")
            except OSError as error:
                raise SandboxError(f"the memory of a sandbox cannot be watched: {error}") from error
            async with companions() as group:
                group.start_soon(watch._keep)
                yield watch

    async def _keep(self) -> None:
        while True:
            again = await anyio.to_thread.run_sync(self._look)
            await anyio.sleep(again)

    def _look(self) -> float:
        """Look once, and kill what must be killed; gives in how many seconds to look again."""
        started = time.thread_time()
        found = self._processes()
        used = self._used(found)
        if used > self._limit:
            found = self._processes(exactly=True)
            used = self._used(found)
            if used > self._limit:
                return self._kill(found)
        cost = time.thread_time() - started
        return max(cost / _SHARE, min(_LATEST_S, max(_SOONEST_S, (self._limit - used) / _SPEED)))

    def _processes(self, *, exactly: bool = False) -> list[_Process]:
        """What each holds. `exactly`: of pages that several map, its share, which takes far longer to find out."""
        found: list[_Process] = []
        with suppress(FileNotFoundError):  # all of them have ended
            for pid in filter(str.isdigit, os.listdir(self._proc)):  # noqa: PTH208  a descriptor
                with suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
                    found.append(self._process(pid, exactly))
        return found

    def _process(self, pid: str, exactly: bool) -> _Process:
        own, shared = _OWN, "RssShmem"
        text = ""
        if exactly:
            with suppress(PermissionError):  # it has made itself unreadable
                text = self._read(f"{pid}/smaps_rollup")
                own, shared = _EXACTLY_OWN, "Pss_Shmem"
        if not text:
            text = self._read(f"{pid}/status")
        sizes = {line.partition(":")[0]: line.split()[1] for line in text.splitlines() if line.endswith(" kB")}
        return _Process(pid, sum(int(sizes.get(name, 0)) for name in own) * 1024, int(sizes.get(shared, 0)) * 1024)

    def _read(self, path: str) -> str:
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._proc), errors="replace") as file:
            return file.read()

    def _used(self, found: list[_Process]) -> int:
        seen: set[tuple[int, int]] = set()
        files = sum(self._nameless(one.pid, seen) for one in found) + sum(map(_taken, self._temporary))
        # What is mapped may be of a file too: the larger of both is there for certain.
        return sum(one.own for one in found) + max(files, sum(one.shared for one in found))

    def _nameless(self, pid: str, seen: set[tuple[int, int]]) -> int:
        """Bytes of the files in memory that a process holds open, but for those seen already."""
        total = 0
        with suppress(OSError):  # it ended, or has made itself unreadable
            fds = os.open(f"{pid}/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._proc)
            try:
                for name in os.listdir(fds):  # noqa: PTH208  a descriptor
                    with suppress(OSError):
                        if not os.readlink(name, dir_fd=fds).startswith("/memfd:"):
                            continue
                        about = os.stat(name, dir_fd=fds)
                        if (about.st_dev, about.st_ino) not in seen:
                            seen.add((about.st_dev, about.st_ino))
                            total += about.st_blocks * 512
            finally:
                os.close(fds)
        return total

    def _kill(self, found: list[_Process]) -> float:
        """Kill the largest, but never the agent; gives in how many seconds to look again."""
        sizes = {one.pid: one.own + max(one.shared, self._nameless(one.pid, set())) for one in found if one.pid != "1"}
        if not sizes:
            return _LATEST_S  # it is all in temporary files, whose own limit holds
        largest = max(sizes, key=lambda pid: sizes[pid])
        with suppress(OSError):  # it ended by itself
            process = os.open(largest, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._proc)
            try:
                signal.pidfd_send_signal(process, signal.SIGKILL)
                self._await_end(largest)
            finally:
                os.close(process)
        return _SOONEST_S

    def _await_end(self, pid: str) -> None:
        """Give the kernel time to take back what a killed process held, so that no other one dies for it."""
        until = time.monotonic() + _DIES_S
        while "VmRSS:" in self._read(f"{pid}/status") and time.monotonic() < until:
            time.sleep(0.002)


def _taken(folder: int) -> int:
    about = os.fstatvfs(folder)
    return (about.f_blocks - about.f_bfree) * about.f_frsize
