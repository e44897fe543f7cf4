"""One shell that was started ahead, and the FIFOs through which it is given its command and watched.

The command's streams are its own FIFOs: what is left of it cannot write into the next one's output, and its end is told
apart from that by a third, which it does not hold.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import select
import termios
from contextlib import suppress
from pathlib import Path

import anyio
import anyio.to_thread

from swarm.sandboxes.channel.feed import Feed
from swarm.sandboxes.channel.output import HeadTail

_CHUNK = 1 << 16
_INLINE = 1 << 16
"""Bytes that are written to a file at once, without a thread."""

_DRAIN = 1 << 21
"""Bytes that are still taken of a stream whose writers are being killed."""

_MODES = {"go": 0o644, "out": 0o622, "err": 0o622, "status": 0o622}
_ONCE = ("go", "status")
"""Opened by our side and the shell before the command begins, and by nobody after that."""

_SCRIPT = "script"
_LEADER = re.compile(rb"[1-9][0-9]{0,9}\n")
_CODE = re.compile(rb" ([0-9]{1,3})\n")
_KEPT = 64
"""Bytes of what was told that are kept: more than the longest line of ours."""

_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


class Slot:
    """`code` is None until the command ended, and afterwards where whoever kept it was killed.

    `held`: somebody still holds the command's streams. `mark` is in the environment of all its processes.
    """

    def __init__(self, parent: Path, name: str, sandbox: str) -> None:
        self.name = name
        self.token = secrets.token_hex(8)
        self.mark = f"{sandbox}.{name}"
        self.leader = ""
        self.code: int | None = None
        self.held = False
        self._folder = parent / name
        self._folder.mkdir()
        self._folder.chmod(0o711)
        for fifo in _MODES:
            self._make(fifo)
        self._files: set[str] = set()
        self._status = self._go = -1
        self._open_once()
        self._closed = False
        self._told = b""
        self._open: dict[int, HeadTail] = {}
        self._events: select.epoll | None = None

    @property
    def streams(self) -> tuple[Path, Path]:
        """Where the command's output and errors go."""
        return self._folder / "out", self._folder / "err"

    async def ready(self) -> bool:
        """Wait until the shell waits for its command; False where it could not be started or has been killed."""
        while b"\n" not in self._told and len(self._told) < _KEPT:
            # Mostly the shell is there already, and to look costs less than to wait.
            if not _events(self._status):
                await anyio.wait_readable(self._status)
            if not self._listen():
                return False
        # A shell that could not be started tells its code instead, whoever else writes here anything.
        if not _LEADER.fullmatch(self._told) or self._told == b"1\n":
            return False
        self.leader, self._told = self._told.decode().strip(), b""
        if not self._listen() or self._told:
            return False
        for name in _ONCE:
            (self._folder / name).chmod(0)
        return True

    async def start(self, before: str, script: str, stdin: bytes | Feed, out: HeadTail, err: HeadTail) -> None:
        """Let the shell run one line of ours, and then a script."""
        if stdin:
            before = f'exec <"$1/in"; {before}'
        if isinstance(stdin, Feed):
            stdin.open_at(self._folder / "in")
            self._files.add("in")
            stdin = b""
        text = script.encode(errors="surrogateescape")
        if len(text) + len(stdin) > _INLINE:
            await anyio.to_thread.run_sync(self._write, text, stdin)
        else:
            self._write(text, stdin)
        self._events = select.epoll()
        for name, kept in (("out", out), ("err", err)):
            fd = os.open(f"{self._folder}/{name}", _READ)
            self._open[fd] = kept
            self._events.register(fd, select.EPOLLIN)
        self._events.register(self._status, select.EPOLLIN)
        os.write(self._go, before.encode(errors="surrogateescape") + b"\n")

    async def follow(self) -> None:
        """Keep what the command writes until its main process has ended."""
        assert self._events is not None
        while True:
            await anyio.wait_readable(self._events.fileno())
            for fd, _ in self._events.poll(0):
                if fd != self._status:
                    self._take(fd)
                elif not self._listen() or self._is_told():
                    self._take_rest()
                    return

    async def released(self) -> None:
        """Wait until nobody holds the command's streams any more, keeping what is still written."""
        assert self._events is not None
        self._events.unregister(self._status)
        while self._open:
            await anyio.wait_readable(self._events.fileno())
            for fd, _ in self._events.poll(0):
                self._take(fd)

    def drain(self) -> None:
        """Keep what was written last by processes that have been killed."""
        for fd in tuple(self._open):
            taken = 0
            while taken < _DRAIN and (count := self._take(fd)):
                taken += count

    def renew(self, name: str) -> bool:
        """Make it ready for another command, by a name that nobody knows who knew the old one.

        False where the command before did not end in order, or its keeper has not gone yet: then it is to be closed.
        """
        gone = _events(self._status) & (select.POLLHUP | select.POLLIN) == select.POLLHUP
        if self.code is None or self._open or not gone or _waiting(self._go):
            return False
        os.close(self._status)
        os.close(self._go)
        self._status = self._go = -1
        try:
            for once in _ONCE:  # new ones, of which nobody holds an end
                (self._folder / once).unlink()
                self._make(once)
            for file in self._files - {_SCRIPT}:
                (self._folder / file).unlink()
            self._folder = self._folder.rename(self._folder.with_name(name))
            self._open_once()
        except FileNotFoundError:  # without isolation a command can remove them
            return False
        self._files &= {_SCRIPT}
        self.mark = f"{self.mark.removesuffix(self.name)}{name}"
        self.name, self.token = name, secrets.token_hex(8)
        self.leader, self.code, self.held, self._told = "", None, False, b""
        if self._events is not None:
            self._events.close()
            self._events = None
        return True

    def close(self) -> None:
        """Give up all that it holds. May be called twice."""
        if self._closed:
            return
        self._closed = True
        # The names first: whoever opened one after its reader has gone would wait for ever.
        for name in (*_MODES, *self._files):
            (self._folder / name).unlink(missing_ok=True)
        with suppress(OSError):  # a shell that just begins may still write there: it goes with the folder above
            self._folder.rmdir()
        for fd in (self._status, self._go, *self._open):
            if fd >= 0:
                os.close(fd)
        self._status = self._go = -1
        self._open.clear()
        if self._events is not None:
            self._events.close()

    def _write(self, script: bytes, stdin: bytes) -> None:
        contents = {_SCRIPT: script, "in": stdin} if stdin else {_SCRIPT: script}
        for name, content in contents.items():
            fd = os.open(f"{self._folder}/{name}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                if name not in self._files:
                    os.fchmod(fd, 0o644)
                    self._files.add(name)
                left = memoryview(content)
                while left:
                    left = left[os.write(fd, left) :]
                # Not opened with O_TRUNC: some file systems would then write it to the disk when it is closed.
                os.ftruncate(fd, len(content))
            finally:
                os.close(fd)

    def _make(self, fifo: str) -> None:
        path = self._folder / fifo
        os.mkfifo(path)
        path.chmod(_MODES[fifo])  # not by the umask

    def _open_once(self) -> None:
        self._status = os.open(f"{self._folder}/status", _READ)
        # Both ends, so that the shell finds a writer, and the end of the file when this process is gone.
        self._go = os.open(f"{self._folder}/go", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def _is_told(self) -> bool:
        """Whether the exit code was told. What lacks the token is not the keeper's, and is dropped."""
        _, token, rest = self._told.rpartition(self.token.encode())
        if token and (found := _CODE.match(rest)):
            self.code = int(found[1])
        self._told = self._told[-_KEPT:]
        return self.code is not None

    def _listen(self) -> bool:
        """Take what the keeper tells; False when it is gone."""
        try:
            chunk = os.read(self._status, 1 << 10)
        except BlockingIOError:
            return True
        self._told += chunk
        return bool(chunk)

    def _take(self, fd: int, most: int = _CHUNK) -> int:
        """Take a chunk; gives its length, 0 where there is nothing now or nobody writes any more."""
        try:
            chunk = os.read(fd, most)
        except BlockingIOError:
            return 0
        if chunk:
            self._open[fd].add(chunk)
            return len(chunk)
        assert self._events is not None
        self._events.unregister(fd)
        del self._open[fd]
        os.close(fd)
        return 0

    def _take_rest(self) -> None:
        """Take what the pipes hold now, and no more: somebody else may go on writing."""
        for fd in tuple(self._open):
            left = _waiting(fd)
            while left > 0 and (count := self._take(fd, min(left, _CHUNK))):
                left -= count
            if fd in self._open and left == 0:
                self._peek(fd)
        self.held = bool(self._open)

    def _peek(self, fd: int) -> None:
        """Forget a stream that nobody holds any more."""
        if _events(fd) & (select.POLLHUP | select.POLLIN) == select.POLLHUP:
            self._take(fd)


def _waiting(fd: int) -> int:
    """How many bytes a pipe holds."""
    return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, b"\0" * 4), "little")


def _events(fd: int) -> int:
    """What a pipe has to tell now. A FIFO that nobody has opened yet tells nothing, though reading it finds its end."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return next((event for _, event in poll.poll(0)), 0)
