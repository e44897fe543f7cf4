"""Where the package to damage comes from: a pinned one of the registry, or a folder of the user's."""

from __future__ import annotations

import functools
import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread

from swarm.errors import MachineError, UsageError
from swarm.evals.packages import BOLTONS, SQLPARSE, TOOLZ, Package, fetch, unpack

PACKAGES = {package.name: package for package in (BOLTONS, SQLPARSE, TOOLZ)}
"""Those of the registry, by name."""

_LEFT_OUT = (".git", "__pycache__", ".venv", "venv", ".tox", ".nox", "*.egg-info", ".mypy_cache", ".pytest_cache")


@dataclass(frozen=True, slots=True)
class Origin:
    """A package with the tests that it brings. `sources` is the folder of its code, `test` the command; `pinned` is
    what is fetched, or else `path` the folder that is copied. `digest` is of the archive or of all files."""

    name: str
    version: str
    sources: str
    test: str
    digest: str
    pinned: Package | None = None
    path: Path | None = None

    async def lay_out(self, cache: Path, folder: Path) -> None:
        """Write its files into a new folder; archives are kept in `cache`.

        Raises:
            MachineError: it cannot be fetched or copied.
        """
        if self.pinned is not None:
            unpack(await anyio.to_thread.run_sync(fetch, self.pinned, cache), folder)
        elif self.path is not None:
            copy = functools.partial(shutil.copytree, symlinks=True, ignore=shutil.ignore_patterns(*_LEFT_OUT))
            try:
                await anyio.to_thread.run_sync(copy, self.path, folder)
            except (OSError, shutil.Error) as error:
                raise MachineError(f"{self.path} cannot be copied: {error}") from None


def pinned(name: str) -> Origin:
    """A package of the registry. Raises: UsageError: it is none of those that are pinned."""
    package = PACKAGES.get(name)
    if package is None:
        raise UsageError(
            f"{name} is not among the pinned packages", remedy=f"take {', '.join(PACKAGES)}, or --package PATH"
        )
    return Origin(name, package.version, package.sources, package.test, package.sha256, pinned=package)


def local(path: Path, sources: str | None = None, test: str | None = None) -> Origin:
    """A package in a folder of the user's, which is copied and never changed. Its code is found where it has one
    folder of it, at the top or below `src`.

    Raises:
        UsageError: there is no such folder, or its code is not where it is looked for.
    """
    path = path.resolve()
    if not path.is_dir():
        raise UsageError(f"{path}: no such folder", remedy="--package names the folder of a package with its tests")
    if sources is None:
        found = [init.parent for base in (path, path / "src") for init in sorted(base.glob("*/__init__.py"))]
        found = [folder for folder in found if folder.name not in ("tests", "test", "docs", "examples")]
        if len(found) != 1:
            raise UsageError(
                f"{path} has {len(found)} folders of sources, not one", remedy="name it with --sources DIR"
            )
        sources = found[0].relative_to(path).as_posix()
    elif not (path / sources).is_dir():
        raise UsageError(f"{path / sources}: no such folder", remedy="--sources is relative to --package")
    return Origin(path.name, "local", sources, test or BOLTONS.test, _digest(path), path=path)


def _digest(path: Path) -> str:
    """Of all files that would be copied, with their names."""
    told = hashlib.sha256()
    skip = shutil.ignore_patterns(*_LEFT_OUT)
    folders = [path]
    while folders:
        folder = folders.pop()
        names = sorted(each.name for each in folder.iterdir())
        ignored = skip(str(folder), names)
        for each in (folder / name for name in names if name not in ignored):
            if each.is_dir() and not each.is_symlink():
                folders.append(each)
                continue
            content = str(each.readlink()).encode() if each.is_symlink() else each.read_bytes()
            told.update(f"{each.relative_to(path)}\0{len(content)}\0".encode("utf-8", "surrogateescape") + content)
    return told.hexdigest()
