"""Which sub-tasks mean to write the same paths.

A scope is a path below the repository's root: a file, or a folder with all that it holds. A `*` in it stands for
anything.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence


def shared(scopes: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str, str]]:
    """Each two owners whose scopes have a path in common, with the narrower scope; in the given order."""
    claims = _Claims()
    for owner, paths in scopes.items():
        own = dict.fromkeys(paths)
        told = {owner}
        for path in own:
            for other, place in claims.meeting(path):
                if other not in told:
                    told.add(other)
                    yield other, owner, place
        for path in own:
            claims.add(path, owner)


def strays(scope: str) -> str:
    """Why a scope is none below the repository's root; empty where it is one."""
    path = scope.strip()
    if path.startswith(("/", "~")) or path[1:3] in (":/", ":\\"):
        return "is absolute: paths begin at the repository's root"
    parts = posixpath.normpath(path or ".").split("/")
    return "leaves the repository" if parts[0] == ".." else ""


class _Claims:
    """Scopes by path, so that each is held only against those that it can meet."""

    def __init__(self) -> None:
        self._owners: dict[str, list[str]] = {}
        self._inside: dict[str, list[str]] = {}  # by folder: the paths below it
        self._patterns: dict[str, list[str]] = {}

    def add(self, scope: str, owner: str) -> None:
        path = _plain(scope)
        if "*" in path:
            self._patterns.setdefault(path, []).append(owner)
            return
        if path not in self._owners:
            for folder in _above(path):
                self._inside.setdefault(folder, []).append(path)
        self._owners.setdefault(path, []).append(owner)

    def meeting(self, scope: str) -> Iterator[tuple[str, str]]:
        path = _plain(scope)
        if "*" in path:
            places = [place for place in self._owners if _falls_into(place, path)]
            patterns = [pattern for pattern in self._patterns if _alike(pattern, path)]
        else:
            places = [place for place in (path, *_above(path)) if place in self._owners]
            places += self._inside.get(path, [])
            patterns = [pattern for pattern in self._patterns if _falls_into(path, pattern)]
        for place in places:
            for other in self._owners[place]:
                yield other, max(path, place, key=len) or "all files"
        for place in patterns:
            for other in self._patterns[place]:
                yield other, max(path, place, key=len)


def _plain(path: str) -> str:
    """The path without what does not matter; "" is the root."""
    whole = posixpath.normpath(path.strip().lstrip("/") or ".")
    return "" if whole == "." else whole


def _above(path: str) -> Iterator[str]:
    while path:
        path = posixpath.dirname(path)
        yield path


def _falls_into(path: str, pattern: str) -> bool:
    """Whether a path, or something below it where it may be a folder, fits a pattern."""
    folder = "." not in posixpath.basename(path)
    return _alike(path, pattern) or (folder and _alike(f"{path}/*" if path else "*", pattern))


def _alike(one: str, other: str) -> bool:
    """Whether some text fits both patterns."""
    reached = {(0, 0)}
    todo = [(0, 0)]
    while todo:
        i, j = todo.pop()
        a, b = one[i : i + 1], other[j : j + 1]
        if not a and not b:
            return True
        steps = [(i + 1, j + 1)] if a == b else []
        if a == "*":
            steps += [(i + 1, j), *([(i, j + 1)] if b else [])]
        if b == "*":
            steps += [(i, j + 1), *([(i + 1, j)] if a else [])]
        todo += [step for step in steps if step not in reached]
        reached.update(steps)
    return False
