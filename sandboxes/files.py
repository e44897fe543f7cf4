"""Reading and writing a sandbox's files from the host's side, never led out of the workspace by a link.

Every folder on the way is opened without following links. Where the path leaves the workspace, meets a link, or lies
under something mounted over the workspace, the sandbox itself does the work: there a link means what it means inside.
"""

from __future__ import annotations

import errno
import os
import posixpath
import shlex
import stat
import time
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Protocol

import anyio.to_thread

from swarm.errors import SandboxError
from swarm.sandboxes.shell import absolute
from swarm.types import ExecResult

_LARGEST = 1 << 28
"""Bytes that are read at most where nothing else is said."""

_IS_MISSING, _IS_FOLDER, _IS_DENIED, _IS_NO_FOLDER = 43, 44, 45, 46
_READ = (
    f'if [ ! -e "$f" ]; then exit {_IS_MISSING}; elif [ -d "$f" ]; then exit {_IS_FOLDER}; '
    f'elif [ ! -f "$f" ] || [ ! -r "$f" ]; then exit {_IS_DENIED}; fi; exec head -c "$n" <"$f"'
)
_LIST = (
    f'if [ ! -e "$f" ]; then exit {_IS_MISSING}; elif [ ! -d "$f" ]; then exit {_IS_NO_FOLDER}; fi; '
    f'cd -- "$f" 2>/dev/null && [ -r . ] || exit {_IS_DENIED}; '
    'for n in .* *; do case $n in .|..) continue;; esac; [ -e "$n" ] || [ -L "$n" ] || continue; '
    'if [ -d "$n" ] && [ ! -L "$n" ]; then n=$n/; fi; printf \'%s\\0\' "$n"; done'
)
_WRITE = (
    f'if [ -d "$f" ]; then exit {_IS_FOLDER}; elif [ -e "$f" ] && [ ! -f "$f" ]; then exit {_IS_DENIED}; fi; '
    f'mkdir -p -- "${{f%/*}}/" 2>/dev/null && cat > "$f" || exit {_IS_DENIED}'
)


class Exec(Protocol):
    """`Sandbox.exec`."""

    def __call__(
        self, command: str, *, timeout: float = ..., stdin: bytes = ..., max_output: int = ...
    ) -> Awaitable[ExecResult]: ...


class _Indirect(Exception):
    """The path cannot be walked from the host's side."""


class WorkspaceFiles:
    """The files of one sandbox. `root` is the workspace on the host, `workdir` the same folder inside.

    `mounts` are paths inside that hide what the workspace has there; `owner` the user and group that new files
    belong to (None: this process's own).
    """

    def __init__(
        self,
        root: Path,
        workdir: str,
        exec: Exec,
        *,
        mounts: tuple[Path, ...] = (),
        owner: tuple[int, int] | None = None,
    ) -> None:
        self._root = root
        self._workdir = PurePosixPath(workdir)
        self._exec = exec
        self._mounts = mounts
        self._owner = owner if os.geteuid() == 0 else None

    async def read(self, path: str, *, most: int | None = None) -> bytes:
        """Read a whole file of at most `most` bytes (None: 256 MiB).

        Raises: FileNotFoundError, IsADirectoryError, PermissionError, OSError (EFBIG: it is larger), SandboxError.
        """
        most = _LARGEST if most is None else most
        parts = self._inside(path)
        if parts is not None:
            try:
                return await anyio.to_thread.run_sync(self._read, parts, most)
            except _Indirect:
                pass
        result = await self._run(f"n={most + 1}; {_READ}", path, b"", most + 1)
        if len(result.stdout) > most:
            raise _too_large(path, most)
        return result.stdout

    async def list(self, path: str = ".") -> list[str]:
        """Names in a folder, sorted, those of folders with a slash at the end; looked at from inside.

        Raises: FileNotFoundError, NotADirectoryError, PermissionError, SandboxError.
        """
        if not path or "\0" in path:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        names = (await self._run(_LIST, path, b"")).stdout.split(b"\0")
        return sorted(os.fsdecode(name) for name in names if name)

    async def write(self, path: str, data: bytes) -> None:
        """Raises: IsADirectoryError, PermissionError, SandboxError."""
        parts = self._inside(path)
        if parts is not None:
            try:
                await anyio.to_thread.run_sync(self._write, parts, data)
                return
            except _Indirect:
                pass
        await self._run(_WRITE, path, data)

    def _inside(self, path: str) -> tuple[str, ...] | None:
        """The way from the workspace to the file, or None where it must be looked for from inside."""
        if not path or "\0" in path:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        whole = PurePosixPath(absolute(path, str(self._workdir)))
        if ".." in whole.parts or not whole.is_relative_to(self._workdir):
            return None
        if any(whole.is_relative_to(mount) for mount in self._mounts):
            return None
        if whole == self._workdir:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        return whole.relative_to(self._workdir).parts

    def _read(self, parts: tuple[str, ...], most: int) -> bytes:
        with self._folder(parts, make=False) as folder:
            fd = _open(parts, os.O_RDONLY, folder)
        with open(fd, "rb") as file:
            # Its size is looked at first: one that is all hole costs its maker nothing. It may grow meanwhile.
            if os.fstat(fd).st_size > most or len(data := file.read(most + 1)) > most:
                raise _too_large("/".join(parts), most)
            return data

    def _write(self, parts: tuple[str, ...], data: bytes) -> None:
        before = None
        with self._folder(parts, make=True) as folder:
            try:
                fd = os.open(parts[-1], _SAFE | os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=folder)
                self._give(fd)
            except FileExistsError:
                fd = _open(parts, os.O_WRONLY, folder)
                before = os.fstat(fd)
                os.ftruncate(fd, 0)
            with open(fd, "wb") as file:
                file.write(data)
            if before is not None and parts[-1].endswith(".py") and int(before.st_mtime) >= int(time.time()) - 1:
                _forget_compiled(parts[-1], int(before.st_mtime), folder)

    @contextmanager
    def _folder(self, parts: tuple[str, ...], *, make: bool) -> Iterator[int]:
        """The folder of the last part, reached step by step without following links."""
        at = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name in parts[:-1]:
                below = self._step(name, at, parts, make)
                os.close(at)
                at = below
            yield at
        finally:
            os.close(at)

    def _step(self, name: str, at: int, parts: tuple[str, ...], make: bool) -> int:
        flags = _SAFE | os.O_RDONLY | os.O_DIRECTORY
        try:
            return os.open(name, flags, dir_fd=at)
        except FileNotFoundError:
            if not make:
                raise
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                raise
            if stat.S_ISLNK(os.stat(name, dir_fd=at, follow_symlinks=False).st_mode):
                raise _Indirect from None
            kind = PermissionError if make else FileNotFoundError
            raise kind(errno.ENOTDIR, f"{name} is a file, not a folder", "/".join(parts)) from None
        os.mkdir(name, 0o755, dir_fd=at)
        below = os.open(name, flags, dir_fd=at)
        self._give(below)
        return below

    def _give(self, fd: int) -> None:
        if self._owner is not None:
            os.fchown(fd, *self._owner)

    async def _run(self, body: str, path: str, stdin: bytes, most: int = _LARGEST) -> ExecResult:
        whole = absolute(path, str(self._workdir))
        result = await self._exec(f"f={shlex.quote(whole)}; {body}", stdin=stdin, max_output=most)
        known = {
            _IS_MISSING: FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path),
            _IS_FOLDER: IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path),
            _IS_DENIED: PermissionError(errno.EACCES, os.strerror(errno.EACCES), path),
            _IS_NO_FOLDER: NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path),
        }
        if result.exit_code in known:
            raise known[result.exit_code]
        if result.exit_code != 0:
            reason = result.stderr.decode(errors="replace").strip() or f"exit code {result.exit_code}"
            raise SandboxError(f"{posixpath.basename(path)} cannot be reached in the sandbox: {reason}")
        return result


def _too_large(path: str, most: int) -> OSError:
    return OSError(errno.EFBIG, f"larger than {most} bytes", path)


def _forget_compiled(module: str, second: int, folder: int) -> None:
    """Python takes a module of the size and the whole second of the one that it has compiled for that one."""
    with suppress(OSError):  # there is none, or it is somebody else's
        cache = os.open("__pycache__", _SAFE | os.O_RDONLY | os.O_DIRECTORY, dir_fd=folder)
        try:
            for name in os.listdir(cache):  # noqa: PTH208  a descriptor has no path
                if name.startswith(module.removesuffix("py")) and name.endswith(".pyc"):
                    with suppress(OSError):
                        _forget(name, second, cache)
        finally:
            os.close(cache)


def _forget(name: str, second: int, cache: int) -> None:
    """Remove bytecode of a source of that second: four bytes each of magic, flags (0: it goes by time and size), time
    and size (PEP 552)."""
    with open(os.open(name, _SAFE | os.O_RDONLY, dir_fd=cache), "rb") as file:
        head = file.read(16)
    if head[4:12] == bytes(4) + (second & 0xFFFFFFFF).to_bytes(4, "little"):
        os.unlink(name, dir_fd=cache)


_SAFE = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
"""No link is followed, and no FIFO makes us wait."""


def _open(parts: tuple[str, ...], flags: int, folder: int) -> int:
    """Open an existing regular file."""
    path = "/".join(parts)
    try:
        found = os.stat(parts[-1], dir_fd=folder, follow_symlinks=False)
        if stat.S_ISLNK(found.st_mode):
            raise _Indirect
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        fd = os.open(parts[-1], _SAFE | flags, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _Indirect from None
        if error.errno == errno.ENXIO:
            raise PermissionError(errno.EACCES, "not a regular file", path) from None
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise PermissionError(errno.EACCES, "not a regular file", path)
    return fd
