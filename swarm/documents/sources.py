"""Which files are attached: files and folders of the user's, looked at without following links out of them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Literal

from swarm.errors import UsageError
from swarm.values import value

Kind = Literal["text", "markdown", "html", "pdf", "png", "jpeg"]

LARGEST = 64 << 20
"""Bytes of one document."""

LARGEST_IMAGE = 5 << 20
"""Bytes of one image: it goes into every sub-agent's prompt."""

MOST_IMAGES = 8
MOST_BYTES = 512 << 20
MOST_FILES = 2_000
MOST_LOOKED_AT = 20_000
"""Entries of folders, whatever they are: who attaches a whole disk by mistake hears of it soon."""

DEEPEST = 16
"""Folders below an attached one."""

_HEAD = 4096
_HTML = (".html", ".htm", ".xhtml")
_MARKDOWN = (".md", ".markdown")
_NEEDS: dict[Kind, tuple[str, ...]] = {"pdf": ("pypdf",), "html": ("markdownify", "bs4")}
_MOST_SAID = 8


@value(frozen=True, slots=True)
class Source:
    """One file. `name` is what models and people are told of it."""

    name: str
    path: Path
    kind: Kind

    @property
    def is_image(self) -> bool:
        return self.kind in ("png", "jpeg")


@dataclass(slots=True)
class Gathered:
    """The files in the order of their names, and what was left out, in words."""

    sources: list[Source] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    @property
    def notice(self) -> str:
        """What was left out, as one line; "" where nothing was."""
        more = len(self.skipped) - _MOST_SAID
        rest = [f"and {more} more"] if more > 0 else []
        return f"not attached: {'; '.join([*self.skipped[:_MOST_SAID], *rest])}" if self.skipped else ""


def gather(paths: Sequence[str | Path]) -> Gathered:
    """The documents in these files and folders; blocks.

    Raises:
        UsageError: a path is not there or cannot be read, nothing of use is in any of them, or a library is missing
            that one of them needs.
    """
    found, seen, total = Gathered(), set[str](), 0
    for given in paths:
        path = Path(given).absolute()
        folder = _is_folder(path, str(given))
        for name, file in _walk(path, found.skipped) if folder else [(path.name, path)]:
            place = os.path.realpath(file)
            if place in seen:
                continue
            seen.add(place)
            source, size, why = _look(name, file)
            if source is None:
                if not folder:
                    raise UsageError(
                        f"--attach {_legible(str(given))}: {why}",
                        remedy="attach text, Markdown, HTML, PDF, PNG or JPEG",
                    )
                found.skipped.append(f"{_legible(name)} ({why})")
                continue
            total += size
            if len(found.sources) >= MOST_FILES or total > MOST_BYTES:
                raise UsageError(
                    f"--attach {_legible(str(given))}: more than {MOST_FILES} files or {MOST_BYTES >> 20} MiB in all",
                    remedy="attach a part of it",
                )
            found.sources.append(source)
    if not found.sources:
        raise UsageError(
            f"nothing to read in {', '.join(map(str, paths))}{'; ' + found.notice if found.notice else ''}",
            remedy="attach text, Markdown, HTML, PDF, PNG or JPEG",
        )
    _drop_images(found)
    _require_libraries(found.sources)
    found.sources = _named_apart(sorted(found.sources, key=lambda source: (source.name, str(source.path))))
    return found


def _is_folder(path: Path, given: str) -> bool:
    """Whether what was named is a folder. Raises: UsageError; it is not there, or may not be looked at."""
    shown = f"--attach {_legible(given)}"
    if not _is_utf8(given):
        raise UsageError(f"{shown}: its name is no UTF-8", remedy="give it another name")
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except FileNotFoundError:
        raise UsageError(f"{shown}: there is no such file or folder", remedy="give one that is there") from None
    except OSError as error:
        raise UsageError(f"{shown}: {error.strerror}", remedy="give one that can be read") from None


def _is_utf8(name: str) -> bool:
    return name == name.encode(errors="replace").decode()


def _legible(name: str) -> str:
    """A name as it may be told: what is no UTF-8, and what a terminal would obey, are question marks."""
    return "".join(sign if sign.isprintable() else "?" for sign in name.encode(errors="replace").decode())


def read_source(path: Path, most: int) -> bytes:
    """The bytes of a regular file. Raises: OSError; EFBIG where there are more than `most`."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(22, "it is no regular file")
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(27, f"it has more than {most >> 20} MiB")
    return data


def _walk(top: Path, skipped: list[str]) -> Iterator[tuple[str, Path]]:
    """The files of a folder with their names, hidden ones and what links lead out to left out.

    Raises:
        UsageError: it holds too many.
    """
    real, looked = os.path.realpath(top), 0
    left: list[tuple[Path, int]] = [(top, 0)]
    while left:
        folder, depth = left.pop()
        try:
            with os.scandir(folder) as entries:
                few = sorted(islice(entries, MOST_LOOKED_AT + 1), key=lambda entry: entry.name)
        except OSError as error:
            skipped.append(f"{_legible(_name(top, folder))} ({error.strerror})")
            continue
        looked += len(few)
        if looked > MOST_LOOKED_AT:
            raise UsageError(
                f"--attach {_legible(str(top))}: more than {MOST_LOOKED_AT} files and folders to look at",
                remedy="attach a part of it",
            )
        for found in few:
            entry = Path(found.path)
            name = _name(top, entry)
            if entry.name.startswith("."):
                continue
            if found.is_symlink():
                place = os.path.realpath(entry)
                if not place.startswith(real + os.sep):
                    skipped.append(f"{_legible(name)} (a link out of the folder)")
                elif any(part.startswith(".") for part in Path(os.path.relpath(place, real)).parts):
                    skipped.append(f"{_legible(name)} (a link to what is hidden)")
                elif not os.path.isdir(place):  # noqa: PTH112  what it names is looked at where it is
                    yield name, entry
            elif found.is_dir(follow_symlinks=False):
                if depth >= DEEPEST:
                    skipped.append(f"{_legible(name)} (more than {DEEPEST} folders deep)")
                else:
                    left.append((entry, depth + 1))
            else:
                yield name, entry


def _name(top: Path, path: Path) -> str:
    return Path(top.name or "attached", path.relative_to(top)).as_posix()


def _look(name: str, path: Path) -> tuple[Source | None, int, str]:
    """What a file is, its size, or why it is not taken."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return None, 0, "no regular file"
        if status.st_size > LARGEST:
            return None, 0, f"more than {LARGEST >> 20} MiB"
        with open(path, "rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        return None, 0, error.strerror or "it cannot be read"
    kind = kind_of(name, head)
    if kind is None:
        return None, 0, "empty" if not head else "binary"
    if kind in ("png", "jpeg") and status.st_size > LARGEST_IMAGE:
        return None, 0, f"an image of more than {LARGEST_IMAGE >> 20} MiB"
    if not _is_utf8(str(path)):  # it could not be written down where it is
        return None, 0, "its name is no UTF-8"
    return Source(_legible(name), path, kind), status.st_size, ""


def kind_of(name: str, head: bytes) -> Kind | None:
    """What a file holds, by its first bytes, and only then by its name; None for what is empty or binary."""
    lower, start = name.lower(), head.lstrip()[:200].lower()
    if not head.strip():
        return None
    if b"%PDF-" in head[:1024]:
        return "pdf"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if b"\0" in head and not head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return None
    if lower.endswith(_HTML) or start.startswith((b"<!doctype html", b"<html")):
        return "html"
    return "markdown" if lower.endswith(_MARKDOWN) else "text"


def _drop_images(found: Gathered) -> None:
    images = [source for source in found.sources if source.is_image]
    for source in images[MOST_IMAGES:]:
        found.sources.remove(source)
        found.skipped.append(f"{source.name} (more than {MOST_IMAGES} images)")


def _require_libraries(sources: Sequence[Source]) -> None:
    for source in sources:
        lacking = [module for module in _NEEDS.get(source.kind, ()) if find_spec(module) is None]
        if lacking:
            raise UsageError(
                f"{source.name}: reading {source.kind.upper()} needs {lacking[0]}, which is not installed",
                remedy="pip install 'swarm[documents]'",
            )


def _named_apart(sources: list[Source]) -> list[Source]:
    """Each with a name of its own."""
    taken: set[str] = set()
    named = []
    for source in sources:
        name, number = source.name, 1
        while name in taken:
            number += 1
            name = f"{source.name} ({number})"
        taken.add(name)
        named.append(Source(name, source.path, source.kind))
    return named
