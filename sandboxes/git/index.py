"""The index of git as a file: what it remembers of each file's inode, so that an unchanged file need not be read."""

from __future__ import annotations

import hashlib
import os
import re
import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from swarm.errors import MachineError

_HEAD = struct.Struct(">4sLL")
_STAT = struct.Struct(">10L")
_FLAGS = struct.Struct(">H")
_EXTENDED = 0x4000
_STAGE = 0x3000
_GITLINK = 0o160000
_LINK_MODE = _GITLINK.to_bytes(4, "big")
_NOT_ALL = (b"sdir", b"link")
"""Names of the parts by which an index says that folders stand in it for all below, or that there is more elsewhere."""

_TREE = b"TREE\0"
_TREE_NOTE = re.compile(rb"\0[0-9]+ [0-9]+\n")
"""The note on the whole tree: how many files, -1 where it does not hold any more, and how many folders."""

_LOW = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class _Entry:
    at: int
    remembered: tuple[int, ...]
    path: bytes


def listed(index: Path) -> tuple[list[bytes], dict[bytes, str]]:
    """The files in an index, sorted; and its submodules with their commits.

    Raises:
        MachineError: it is no index that we know how to read.
    """
    if not index.exists():
        return [], {}
    data = bytearray(index.read_bytes())
    size = _hash_size(data, index)
    files: list[bytes] = []
    links: dict[bytes, str] = {}
    for entry in _entries(data, size, index):
        if entry.remembered[6] == _GITLINK:
            links[entry.path] = data[entry.at + _STAT.size :][:size].hex()
        else:
            files.append(entry.path)
    return files, links


def may_hold_links(index: Path) -> bool:
    """Whether there may be submodules in an index; where it says no, there is none. It is not taken apart for that."""
    data = index.read_bytes() if index.exists() else b""
    return any(part in data for part in (_LINK_MODE, *_NOT_ALL))


def whole_tree(index: Path) -> str | None:
    """The tree that is in an index, where git noted that when it wrote it; None: git must tell.

    With the note nothing in it is in conflict: git makes none then, and takes it away with whatever it changes.
    """
    try:
        data = index.read_bytes()
    except OSError:  # git, who is asked then, tells what is wrong with it
        return None
    at = data.rfind(_TREE)
    for size in (20, 32):
        if at > 0 and len(data) - size in _ends(data, at):
            first = _TREE_NOTE.match(data, at + 8)
            start = first.end() if first else len(data)
            return data[start:][:size].hex() if start + size <= len(data) - size else None
    return None


def _ends(data: bytes, at: int) -> Iterator[int]:
    """Where each part of an index ends, from the one at a place on."""
    while at + 8 <= len(data):
        at += 8 + int.from_bytes(data[at + 4 : at + 8], "big")
        yield at


def restat(index: Path, folder: Path, *, source: Path | None = None, only: Collection[bytes] | None = None) -> int:
    """Let an index remember the files of `folder`, which is known to hold what the index says.

    With `source`, `folder` is a copy of that: then only files are remembered that the index knew as unchanged there.
    `only` names the files it is about; others stay as they are remembered.
    The time of the index, by which git tells what may have changed in the same second, stays. Gives how many bytes the
    files have that are remembered now.

    Raises:
        MachineError: it is no index that we know how to read.
    """
    data = bytearray(index.read_bytes())
    size = _hash_size(data, index)
    written = index.stat().st_mtime_ns
    total = 0
    for entry in _entries(data, size, index):
        if entry.remembered[6] == _GITLINK or (only is not None and entry.path not in only):
            continue
        path = b"%s/%s" % (os.fsencode(folder), entry.path)
        known = source is None or _matches(b"%s/%s" % (os.fsencode(source), entry.path), entry, written)
        found = _stat_of(path, entry.remembered) if known else None
        _STAT.pack_into(data, entry.at, *(found or _forgotten(entry.remembered)))
        total += found[9] if found else 0
    data[-size:] = _hash(size, data[:-size])
    making = index.with_name(f"{index.name}.new")
    making.write_bytes(data)
    os.utime(making, ns=(written, written))
    making.replace(index)
    return total


def _entries(data: bytearray, size: int, index: Path) -> Iterator[_Entry]:
    """What is in it but for what is in conflict."""
    try:
        yield from _read(data, size, index)
    except (struct.error, ValueError):  # its sum is right, and yet it breaks off
        raise MachineError(f"{index} is damaged") from None


def _read(data: bytearray, size: int, index: Path) -> Iterator[_Entry]:
    magic, version, count = _HEAD.unpack_from(data)
    if magic != b"DIRC" or version not in (2, 3):
        raise MachineError(f"{index} is no index of git in a form that is known here")
    at = _HEAD.size
    for _ in range(count):
        remembered = _STAT.unpack_from(data, at)
        flags = _FLAGS.unpack_from(data, at + _STAT.size + size)[0]
        start = at + _STAT.size + size + (4 if flags & _EXTENDED else 2)
        end = data.index(b"\0", start)
        if not flags & _STAGE:
            yield _Entry(at, remembered, bytes(data[start:end]))
        at += (end - at) // 8 * 8 + 8


def _matches(path: bytes, entry: _Entry, written: int) -> bool:
    """Whether a file is as the index remembers it, without doubt."""
    found = _stat_of(path, entry.remembered)
    if found is None or entry.remembered[2] >= written // 1_000_000_000:
        return False
    # The device is not looked at, nor are parts of seconds of its times: git does not either.
    return all(found[n] == entry.remembered[n] for n in (0, 2, 5, 6, 7, 8, 9))


def _stat_of(path: bytes, remembered: tuple[int, ...]) -> tuple[int, ...] | None:
    """What an index would remember of a file; None where it is not of the kind and mode that the index says."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    mode = remembered[6]
    if (found.st_mode & 0o170000) != (mode & 0o170000):
        return None
    if mode & 0o170000 == 0o100000 and bool(found.st_mode & 0o100) != bool(mode & 0o100):
        return None
    return (
        *divmod(found.st_ctime_ns, 1_000_000_000),
        *divmod(found.st_mtime_ns, 1_000_000_000),
        found.st_dev & _LOW,
        found.st_ino & _LOW,
        mode,
        found.st_uid,
        found.st_gid,
        found.st_size & _LOW,
    )


def _forgotten(remembered: tuple[int, ...]) -> tuple[int, ...]:
    return (0, 0, 0, 0, 0, 0, remembered[6], 0, 0, 0)


def _hash_size(data: bytearray, index: Path) -> int:
    for size in (20, 32):
        if bytes(data[-size:]) == _hash(size, data[:-size]):
            return size
    raise MachineError(f"{index} is damaged")


def _hash(size: int, data: bytearray) -> bytes:
    return (hashlib.sha1(data, usedforsecurity=False) if size == 20 else hashlib.sha256(data)).digest()
