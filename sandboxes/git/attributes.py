"""What git is to convert in the run's store: what the user's tree says at the start, and nothing that comes later.

Whoever works in a copy may write a `.gitattributes`; it is a file like any other. Heeded, it could make git refuse to
record what stands there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from swarm.sandboxes.git.command import Git
from swarm.sandboxes.git.reading import texts

_CONVERSIONS = ("text", "eol", "crlf", "ident", "working-tree-encoding")
NO_CONVERSION = "* " + " ".join(f"!{name}" for name in (*_CONVERSIONS, "filter")) + "\n"
"""The line of `info/attributes` that outdoes every `.gitattributes`."""

_NAME = b".gitattributes"
_LINE = re.compile(
    rb'[ \t\r]*(?P<pattern>"(?:[^"\\]|\\.)*"|[^ \t\r"#][^ \t\r]*)(?P<words>(?:[ \t\r]+[^ \t\r]+)*)[ \t\r]*'
)
_ATTRIBUTE = re.compile(rb"[\w.][\w.-]*")
"""A name of one, as git takes it."""

_LARGEST = 1 << 20
_HEEDED = 100 << 20
"""Bytes of a `.gitattributes` that git itself still reads."""


def conversions(git: Git, entries: Iterable[bytes], modules: Iterable[bytes] = ()) -> bytes:
    """The lines of `info/attributes` that make every copy be converted as the `.gitattributes` of a tree say.

    `entries`: what is in it, see `reading.entries`; `modules`: folders in which nothing holds that is said above them.
    Of filters only that of LFS is heeded.
    """
    rules: list[tuple[bytes, str]] = []
    for line in entries:
        about, _, path = line.partition(b"\t")
        folder, _, name = path.rpartition(b"/")
        if name == _NAME and about.startswith(b"100"):
            rules.append((folder, about.split(b" ")[2].decode()))
    said = texts(git, (blob for _, blob in rules), _HEEDED)
    found: list[tuple[bytes, bytes]] = [(folder, NO_CONVERSION.encode()) for folder in modules]
    found += ((folder, said[blob]) for folder, blob in rules if blob in said)
    # The deeper one comes later: it counts more. A macro is known only where it is defined at the top.
    found.sort(key=lambda each: each[0].count(b"/") + bool(each[0]))
    macros: set[bytes] = set()
    lines = [NO_CONVERSION.encode()]
    for folder, text in found:
        for line in text[:_LARGEST].removeprefix(b"\xef\xbb\xbf").split(b"\n"):
            lines.append(_moved(line, folder, macros))
    return b"".join(lines)


def _moved(line: bytes, folder: bytes, macros: set[bytes]) -> bytes:
    """A line of a folder's file as one of the top, with what it says of conversion; nothing where it says nothing."""
    match = _LINE.fullmatch(line)
    if match is None:
        return b""
    pattern = match["pattern"]
    words = [kept for word in match["words"].split() if (kept := _kept(word, macros))]
    if pattern.startswith(b"[attr]"):
        if folder or not _ATTRIBUTE.fullmatch(pattern.removeprefix(b"[attr]")):
            return b""
        macros.add(pattern.removeprefix(b"[attr]"))
        return b" ".join((pattern, *words)) + b"\n"
    if not words or pattern.startswith((b"!", b'"!')):
        return b""
    return (_below(folder, pattern) if folder else pattern) + b" " + b" ".join(words) + b"\n"


def _kept(word: bytes, macros: set[bytes]) -> bytes:
    name = word.lstrip(b"-!").partition(b"=")[0]
    if word == b"binary":
        return b"-text"
    if name == b"filter":
        return word if word == b"filter=lfs" else b"!filter"
    return word if name.decode(errors="replace") in _CONVERSIONS or name in macros else b""


def _below(folder: bytes, pattern: bytes) -> bytes:
    """A pattern as it reads from the top."""
    quoted = pattern.startswith(b'"')
    inner = pattern[1:-1] if quoted else pattern.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    above = b"".join(b"\\\\" + bytes((byte,)) if byte in b"*?[" else _escaped(byte) for byte in folder)
    if b"/" not in inner.rstrip(b"/"):
        inner = b"**/" + inner
    return b'"/' + above + b"/" + inner.removeprefix(b"/") + b'"'


def _escaped(byte: int) -> bytes:
    """A byte of a path as a pattern between quotes."""
    if byte == ord("\\"):
        return b"\\\\\\\\"
    return bytes((byte,)) if 0x20 <= byte < 0x7F and byte != ord('"') else b"\\%03o" % byte
