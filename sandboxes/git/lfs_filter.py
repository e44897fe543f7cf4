"""Git LFS without git-lfs, as the filter process that git talks to: `python lfs_filter.py STORE [SOURCE...]`.

A large file goes into git as a pointer and its content into STORE; out of git comes the content where STORE or a SOURCE
(a store as git-lfs keeps it, or a checkout) has it, else the pointer. It runs alone: nothing of ours is imported.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n(?:.*\n)*?oid sha256:([0-9a-f]{64})\nsize (\d+)\n"
)
LONGEST_POINTER = 1024
_LARGEST = 100 << 20
"""Bytes of a file whose content is put into a tree."""

_PACKET = 65516


def pointer(oid: str, size: int) -> bytes:
    """What git keeps of a large file."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n".encode()


def place(store: Path, oid: str) -> Path:
    """Where a store of git-lfs has a content."""
    return store / "objects" / oid[:2] / oid[2:4] / oid


class _Filter:
    def __init__(self, store: Path, sources: list[Path], read: BinaryIO, write: BinaryIO) -> None:
        self._store = store
        self._sources = sources
        self._read = read
        self._write = write

    def run(self) -> None:
        self._lines()
        self._say(b"git-filter-server\n", b"version=2\n")
        self._lines()
        self._say(b"capability=clean\n", b"capability=smudge\n")
        while about := self._lines():
            keys = dict(line.partition(b"=")[::2] for line in about)
            with tempfile.TemporaryFile() as given:
                digest = hashlib.sha256()
                for part in self._packets():
                    given.write(part)
                    digest.update(part)
                size = given.tell()
                given.seek(0)
                small = given.read() if size < LONGEST_POINTER else b""
                found = POINTER.fullmatch(small)
                given.seek(0)
                if keys[b"command"] == b"smudge":
                    content = self._content(found[1].decode(), int(found[2]), keys[b"pathname"]) if found else None
                    self._answer(content or given)
                    if content is not None:
                        content.close()
                elif size == 0 or small.startswith(b"version https://git-lfs"):
                    self._answer(given)
                else:
                    oid = digest.hexdigest()
                    self._keep(given, oid)
                    self._say(b"status=success\n")
                    self._packet(pointer(oid, size))
                    self._say()
                    self._say()

    def _content(self, oid: str, size: int, path: bytes) -> BinaryIO | None:
        if size > _LARGEST:
            return None
        for source in (self._store, *self._sources):
            for where in (place(source, oid), source / os.fsdecode(path)):
                try:
                    if where.is_symlink() or not where.is_file() or where.stat().st_size != size:
                        continue
                    file = where.open("rb")
                except OSError:
                    continue
                if hashlib.file_digest(file, "sha256").hexdigest() == oid:
                    file.seek(0)
                    return file
                file.close()
        return None

    def _keep(self, given: BinaryIO, oid: str) -> None:
        where = place(self._store, oid)
        if where.exists():
            return
        where.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=where.parent, delete=False) as file:
            try:
                while part := given.read(1 << 20):
                    file.write(part)
                file.flush()
                Path(file.name).replace(where)
            except OSError:
                Path(file.name).unlink()
                raise

    def _answer(self, content: BinaryIO) -> None:
        self._say(b"status=success\n")
        while part := content.read(_PACKET):
            self._packet(part)
        self._say()
        self._say()

    def _lines(self) -> list[bytes]:
        return [line.rstrip(b"\n") for line in self._packets()]

    def _packets(self) -> Iterator[bytes]:
        """What comes until a flush, or the end."""
        while head := self._read.read(4):
            size = int(head, 16)
            if size == 0:
                return
            yield self._read.read(size - 4)

    def _packet(self, data: bytes) -> None:
        self._write.write(b"%04x" % (len(data) + 4) + data)

    def _say(self, *lines: bytes) -> None:
        for line in lines:
            self._packet(line)
        self._write.write(b"0000")
        self._write.flush()


if __name__ == "__main__":
    _Filter(Path(sys.argv[1]), [Path(each) for each in sys.argv[2:]], sys.stdin.buffer, sys.stdout.buffer).run()
