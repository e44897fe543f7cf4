"""A file of lines that only grows, and the hash of all that is in it."""

from __future__ import annotations

import hashlib
import os
import zlib
from contextlib import suppress
from pathlib import Path

from swarm.errors import JournalError
from swarm.shortage import is_shortage, remedy_for


class LineFile:
    """Whole lines, given to the kernel at once. The first failure is kept: nothing is written after it."""

    def __init__(self, fd: int, path: Path) -> None:
        self.fd = fd
        self.path = path
        self.dirty = False
        """Whether there are lines that were not synced."""
        self.failure: JournalError | None = None
        self._digest = hashlib.sha256()

    def __repr__(self) -> str:
        return f"<LineFile {self.path.name}{', failed' if self.failure else ''}>"

    @property
    def sha256(self) -> str:
        """Of all bytes that are in it."""
        return self._digest.hexdigest()

    def read_in(self) -> None:
        """Hash what is there already. Blocks."""
        self.dirty = True  # who wrote it may have died before it was synced
        at = 0
        while block := os.pread(self.fd, 1 << 20, at):
            self._digest.update(block)
            at += len(block)

    def write(self, line: bytes) -> None:
        """Give a line to the kernel. It goes to the page cache of a regular file, in microseconds, so that the event
        loop need not be spared it; a kernel that has too much unwritten slows down whoever writes, which is us."""
        if self.failure is not None:
            return
        written, size = 0, len(line)
        try:
            written = os.write(self.fd, line)
            while written < size:  # the disk is nearly full
                written += os.write(self.fd, memoryview(line)[written:])
        except OSError as error:
            self.fail(error)
            if written:
                with suppress(OSError):  # what there is stays whole lines
                    os.ftruncate(self.fd, os.fstat(self.fd).st_size - written)
            return
        self._digest.update(line)
        self.dirty = True

    def sync(self) -> None:
        """Bring it to the disk. Blocks. Raises: OSError."""
        if self.dirty:
            self.dirty = False
            os.fdatasync(self.fd)

    def fail(self, error: OSError) -> None:
        """Write nothing any more."""
        error.filename = error.filename or str(self.path)
        remedy = f"{remedy_for(error)}; then go on with `swarm resume`" if is_shortage(error) else ""
        self.failure = JournalError(f"{self.path} cannot be written: {error.strerror or error}", remedy=remedy)


def checksum(line: bytes) -> str:
    """The `crc` of a record's line of JSON, in which it is empty yet; without the line's end."""
    return f"{zlib.crc32(line):08x}"


def sealed(line: bytes) -> bytes:
    """The line with its checksum in it, and with its end."""
    return stamped(line)[1]


def stamped(line: bytes) -> tuple[str, bytes]:
    """The checksum of a line, and the line with it and with its end."""
    crc = b"%08x" % zlib.crc32(line)
    return crc.decode(), line.replace(_EMPTY, b'"crc":"%s"' % crc, 1) + b"\n"


def is_intact(line: bytes, crc: object) -> bool:
    """Whether a line, with its end, is as it was written, by the `crc` that it holds."""
    if not isinstance(crc, str) or not crc.isascii():
        return False
    return checksum(line[:-1].replace(b'"crc":"%s"' % crc.encode(), _EMPTY, 1)) == crc


_EMPTY = b'"crc":""'


def cut_torn_line(fd: int) -> int:
    """Let a file end with its last whole line; gives how many bytes were cut off."""
    size = os.fstat(fd).st_size
    end, block = size, 1 << 16
    while end > 0:
        start = max(0, end - block)
        at = os.pread(fd, end - start, start).rfind(b"\n")
        if at >= 0:
            end = start + at + 1
            break
        end = start
    if end < size:
        os.ftruncate(fd, end)
    return size - end
