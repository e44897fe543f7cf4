"""Commits and trees of a run's store, read and written without starting a git: they are small, and there are many.

What is written has the name and the form that git gives it. Where that is not sure, nothing is: git is asked then.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from swarm.errors import MachineError
from swarm.shortage import remedy_for
from swarm.values import value

FOLDER = b"40000"
_MODES = frozenset((FOLDER, b"100644", b"100755", b"120000", b"160000"))
_NAME = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_PLAIN_AUTHOR = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9 ._/:-]*[A-Za-z0-9_])?")
"""Of which git takes nothing away."""

_COMMITTER = re.compile(rb"^committer .*> (\d{1,12}) [+-]\d{4}$", re.MULTILINE)
_LAST = "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
_NOT_WRITTEN = re.compile(f"[\0\ufdd0-\ufdef{_LAST}]")
"""No characters of Unicode: git complains of a text that holds one of them."""


@value(frozen=True, slots=True)
class Commit:
    """A commit of the store."""

    name: str
    tree: str
    parents: tuple[str, ...]


Tree = Mapping[bytes, tuple[bytes, bytes]]
"""What stands under each name: the mode as a tree has it, and the object, as bytes."""


def write(store: Path, kind: bytes, body: bytes, form: int) -> str:
    """Make an object; gives its name, of `form` hexadecimal digits.

    Raises:
        MachineError: it cannot be written.
    """
    data = b"%s %d\0%s" % (kind, len(body), body)
    digest = hashlib.sha1(data, usedforsecurity=False) if form == 40 else hashlib.sha256(data)
    name = digest.hexdigest()
    path = _path(store, name)
    if path.exists():
        return name
    made: Path | None = None
    try:
        path.parent.mkdir(exist_ok=True)
        fd, there = tempfile.mkstemp(prefix="tmp_obj_", dir=path.parent)  # a name that git clears away when it is old
        made = Path(there)
        with os.fdopen(fd, "wb") as file:
            file.write(zlib.compress(data, 1))
            os.fchmod(file.fileno(), 0o444)
        made.rename(path)
    except OSError as error:
        if made is not None:
            with suppress(OSError):
                made.unlink()
        told = f"{store} cannot be written: {error.strerror or error}"
        raise MachineError(told, remedy=remedy_for(error)) from error
    return name


def read(store: Path, name: str, kind: bytes) -> bytes | None:
    """The content of an object that lies by itself in the store; None: it is elsewhere, or damaged: git can tell."""
    if not _NAME.fullmatch(name):
        return None
    try:
        head, _, body = zlib.decompress(_path(store, name).read_bytes()).partition(b"\0")
    except (OSError, zlib.error):
        return None
    return body if head == b"%s %d" % (kind, len(body)) else None


def read_commit(store: Path, name: str) -> Commit | None:
    """What a commit is; None: git must tell."""
    body = read(store, name, b"commit")
    if body is None:
        return None
    head = [line.split(b" ", 1) for line in body.partition(b"\n\n")[0].split(b"\n")]
    trees = [line[1].decode() for line in head if line[0] == b"tree"]
    parents = [line[1].decode() for line in head if line[0] == b"parent"]
    return Commit(name, trees[0], tuple(parents)) if len(trees) == 1 else None


def date_of(store: Path, name: str) -> int | None:
    """When a commit was made, in Unix seconds; None: git must tell."""
    body = read(store, name, b"commit") or b""
    found = _COMMITTER.search(body.partition(b"\n\n")[0])
    return int(found[1]) if found else None


def write_commit(
    store: Path, commit: tuple[str, Sequence[str]], message: str, people: tuple[str, str, str], date: int
) -> str | None:
    """Make a commit of a tree and parents; `people` are author, committer and the address of both. None: git must."""
    tree, parents = commit
    author, committer, email = people
    if not _NAME.fullmatch(tree) or any(len(each) != len(tree) or not _NAME.fullmatch(each) for each in parents):
        return None
    if len(set(parents)) != len(parents) or date < 0 or not _PLAIN_AUTHOR.fullmatch(author):
        return None
    if _NOT_WRITTEN.search(message):
        return None
    lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents)]
    lines += [f"{role} {who} <{email}> {date} +0000" for role, who in (("author", author), ("committer", committer))]
    text = "\n".join(lines).encode() + b"\n\n" + message.encode(errors="replace")
    return write(store, b"commit", text, len(tree))


def parsed(body: bytes, form: int) -> Tree | None:
    """The content of a tree, whose names have `form` digits; None where it is not as git writes it now."""
    entries = dict(_entries(body, form // 2))
    return entries if all(mode in _MODES for mode, _ in entries.values()) else None


def write_tree(store: Path, entries: Tree, form: int) -> str:
    """Make a tree. Raises as `write`."""
    ordered = sorted((name + b"/" if mode == FOLDER else name, name) for name, (mode, _) in entries.items())
    return write(store, b"tree", b"".join(b"%s %s\0%s" % (entries[n][0], n, entries[n][1]) for _, n in ordered), form)


def _entries(body: bytes, size: int) -> Iterator[tuple[bytes, tuple[bytes, bytes]]]:
    at = 0
    while (zero := body.find(b"\0", at)) >= 0:
        mode, _, name = body[at:zero].partition(b" ")
        at = zero + 1 + size
        yield name, (mode, body[zero + 1 : at])


def _path(store: Path, name: str) -> Path:
    return store / f"objects/{name[:2]}/{name[2:]}"
