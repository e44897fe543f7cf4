"""From a tree of a run's store back to what a repository of the user's would record: submodules as links, and what a
partial clone never fetched in its place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from swarm.sandboxes.git.apart import Apart
from swarm.sandboxes.git.command import Git
from swarm.sandboxes.git.trees import FOLDER, GITLINK, Entry, entry_at, without_folders


def part_of(git: Git, commit: str, path: bytes) -> str | None:
    """The tree of a module in a commit of the store, of the top with an empty path; None where no folder is there."""
    top = git.run("rev-parse", f"{commit}^{{tree}}").text
    found = entry_at(git, top, path) if path else Entry(FOLDER, top)
    return found.name if found is not None and found.mode == FOLDER else None


def recorded(git: Git, tree: str, apart: Apart, path: bytes, links: Mapping[bytes, str]) -> str:
    """What the repository at `path` would record of its part of the store's tree. `links`: the commits of modules."""
    prefix = path + b"/" if path else b""
    inner = apart.inside(path)
    absent = []
    for line in apart.lines:
        about, _, name = line.partition(b"\t")
        if name.startswith(prefix) and not any(name.startswith(each.path + b"/") for each in inner):
            absent.append((about, name[len(prefix) :]))
    instead: dict[bytes, Entry | None] = {}
    for each in inner:
        link = each.link and links.get(each.path, each.link)
        instead[each.path[len(prefix) :]] = Entry(GITLINK, link) if link else None
    tree = without_folders(git, tree, instead) if instead else tree
    return _with(git, tree, absent) if absent else tree


def _with(git: Git, tree: str, absent: list[tuple[bytes, bytes]]) -> str:
    """The tree with entries whose content is not here, where nothing took their place."""
    there = {path for path in git.run("ls-tree", "-r", "-z", "--name-only", tree).out.split(b"\0") if path}
    folders = {b"/".join(parts[:n]) for path in there for parts in (path.split(b"/"),) for n in range(1, len(parts))}
    lines = []
    for about, path in absent:
        above = {b"/".join(path.split(b"/")[:n]) for n in range(1, path.count(b"/") + 1)}
        if path not in there and path not in folders and not above & there:
            lines.append(about + b"\t" + path + b"\0")
    index = Path(git.env["GIT_DIR"]) / "whole-index"
    env = {"GIT_INDEX_FILE": str(index)}
    try:
        git.run("read-tree", tree, env=env)
        git.run("update-index", "-z", "--index-info", stdin=b"".join(lines), env=env)
        return git.run("write-tree", "--missing-ok", env=env).text
    finally:
        index.unlink(missing_ok=True)
