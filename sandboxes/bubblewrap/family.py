"""The processes of one bubblewrap sandbox, stopped, continued and ended from outside.

The agent inside is asked for nothing here. It runs as the user whom commands run as, so that one of them could answer
in its place that all stands still, and go on to change what this process reads, as root perhaps.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from swarm.errors import SandboxError
from swarm.values import value

_DONE_S = 10.0
"""Seconds in which all must stand still, or have ended."""

_AGAIN_S = 0.002
_ENDED = frozenset("ZX")
_STILL = _ENDED | frozenset("Tt")
_AGENT = "1"
_THREADS = 17
"""Where the number of threads stands after the name in a process's `stat`."""


@value(frozen=True, slots=True)
class _Member:
    """`states`: of all its threads. The first one may have ended long before the others."""

    pid: str
    parent: str
    states: frozenset[str]


@value(frozen=True, slots=True)
class Family:
    """`proc` is the sandbox's own /proc, opened once: it never shows another process. All of it blocks."""

    mark: str
    proc: int

    @classmethod
    @contextmanager
    def of(cls, first: int, mark: str) -> Iterator[Family]:
        """The family of a sandbox's first process, as this machine counts, for the length of the block.

        Raises:
            SandboxError: it cannot be seen from here.
        """
        try:
            proc = os.open(Path("/proc", str(first), "root", "proc"), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise SandboxError(f"the processes of {mark} cannot be seen: {error.strerror}") from error
        try:
            yield cls(mark, proc)
        finally:
            os.close(proc)

    def stop(self) -> None:
        """Let all stand still, the agent included.

        Raises:
            SandboxError: they are gone, or one cannot be stopped.
        """
        self._until_none(_STILL, "does not stand still", (signal.SIGSTOP,))

    def go_on(self) -> None:
        """Let all go on."""
        for each in self._members():
            self._send(each.pid, signal.SIGCONT)

    def clear(self) -> None:
        """End all but the agent.

        Raises:
            SandboxError: they are gone, or one does not end.
        """
        # Stopped first: else what multiplies does so faster.
        self._until_none(_ENDED, "cannot be cleared", (signal.SIGSTOP, signal.SIGKILL), spared=_AGENT)

    def _until_none(
        self, done: frozenset[str], complaint: str, signals: Sequence[signal.Signals], spared: str = ""
    ) -> None:
        deadline = time.monotonic() + _DONE_S
        told: set[str] = set()
        while True:
            found = list(self._members())
            if not found:
                raise SandboxError(f"{self.mark} has died")
            left = {each.pid for each in found if each.pid != spared and not each.states <= done}
            # Each is told once: who stands still may do so only until another one lets it go on.
            new = {each.pid for each in found if each.pid != spared and not each.states <= _ENDED} - told
            if not left and not new:
                return
            if time.monotonic() > deadline:
                raise SandboxError(f"{self.mark} {complaint}")
            self._let_start({each.pid for each in found if "D" in each.states and each.pid not in new}, found)
            told |= new
            for number in signals:
                for pid in left | new:
                    self._send(pid, number)
            time.sleep(_AGAIN_S)

    def _let_start(self, waiting: set[str], found: Sequence[_Member]) -> None:
        """Who starts a program by vfork cannot be stopped before its child runs that: a moment for the child."""
        for each in found:
            if each.parent in waiting and "T" in each.states:
                self._send(each.pid, signal.SIGCONT)

    def _members(self) -> Iterator[_Member]:
        with suppress(FileNotFoundError):  # all of them have ended
            for pid in filter(str.isdigit, os.listdir(self.proc)):  # noqa: PTH208  a descriptor
                with suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
                    about = self._about(f"{pid}/stat")
                    states = self._of_threads(f"{pid}/task") if int(about[_THREADS]) > 1 else about[0]
                    yield _Member(pid, about[1], frozenset(states))

    def _of_threads(self, folder: str) -> Iterator[str]:
        threads = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.proc)
        try:
            for name in os.listdir(threads):  # noqa: PTH208  a descriptor
                with suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
                    yield self._about(f"{folder}/{name}/stat")[0]
        finally:
            os.close(threads)

    def _about(self, path: str) -> list[str]:
        """State, parent, group and so on: what follows the name."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.proc)
        with open(fd, errors="replace") as file:
            return file.read().rpartition(")")[2].split()

    def _send(self, pid: str, number: signal.Signals) -> None:
        with suppress(OSError):  # it ended by itself
            process = os.open(pid, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.proc)
            try:
                signal.pidfd_send_signal(process, number)
            finally:
                os.close(process)
