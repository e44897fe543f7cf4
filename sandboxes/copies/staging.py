"""Putting a folder as it stands into git's index, whatever was made in it, without running anything of it."""

from __future__ import annotations

from collections.abc import Container, Iterable
from pathlib import Path

from swarm.sandboxes.git.command import Git
from swarm.sandboxes.git.nested import nested_files, nested_repositories

_GITLINK = b"160000 "


def add_all(git: Git, folder: Path) -> str:
    """Put the folder as it stands into the index, and that into a tree.

    Submodules are taken out of the index meanwhile: git would look into them by running git there, which would heed
    the configuration that whoever worked in the folder left in them.
    """
    entries = split(git.run("ls-files", "-z", "--stage").out)
    links = _links(entries)
    if links:
        git.run(
            "update-index",
            "-z",
            "--index-info",
            stdin=b"".join(b"0 %s\t%s\0" % (_zero(n), p) for p, n in links.items()),
        )
    nested = [path for path in nested_repositories(folder) if not _holds(entries, path, links)]
    apart = [f":(exclude,literal){path}" for path in nested]
    # Exit code 1: something that cannot be read or is no file (a socket, a FIFO) was left as it was.
    git.run("add", "-A", "--sparse", "--ignore-errors", "--", ".", *apart, ok=(0, 1))
    inside = [path for path in nested_files(folder, nested) if not any(_under(path, link) for link in links)]
    if inside:
        git.run("update-index", "-z", "--add", "--replace", "--stdin", stdin=b"\0".join(inside) + b"\0", ok=(0, 128))
    _restore(git, links)
    return git.run("write-tree").text


def _restore(git: Git, links: dict[bytes, bytes]) -> None:
    """Put submodules back as they were where nothing took their place, and forget new ones."""
    entries = split(git.run("ls-files", "-z", "--stage").out)
    lines = [b"0 %s\t%s\0" % (_zero(name), path) for path, name in _links(entries).items() if path not in links]
    for path, name in links.items():
        if not _holds(entries, path.decode(errors="surrogateescape")):
            lines.append(b"160000 %s\t%s\0" % (name, path))
    if lines:
        git.run("update-index", "-z", "--index-info", stdin=b"".join(lines))


def _links(entries: Iterable[bytes]) -> dict[bytes, bytes]:
    """The submodules of an index, as `ls-files --stage` lists it: path to commit."""
    found: dict[bytes, bytes] = {}
    for line in entries:
        if line.startswith(_GITLINK):
            about, _, path = line.partition(b"\t")
            found[path] = about.split(b" ")[1]
    return found


def _holds(entries: Iterable[bytes], folder: str, but: Container[bytes] = ()) -> bool:
    path = folder.encode(errors="surrogateescape")
    names = (line.partition(b"\t")[2] for line in entries)
    return any(_under(name, path) for name in names if name not in but)


def _under(path: bytes, folder: bytes) -> bool:
    return path == folder or path.startswith(folder + b"/")


def _zero(name: bytes) -> bytes:
    return b"0" * len(name)


def split(listed: bytes) -> list[bytes]:
    """The parts of what git lists with `-z`."""
    return [part for part in listed.split(b"\0") if part]
