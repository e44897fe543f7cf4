"""Copying a folder that others may write in meanwhile: nothing outside it is ever read or written.

Every folder is entered by its handle, without following links; what vanishes on the way is left out. Content is shared
with the source only where the file system copies on write (FICLONE), never by a hard link to it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

FICLONE = 0x40049409
_CHUNK = 8 << 20
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDER = _READ | os.O_DIRECTORY
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_GONE = (errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENXIO)
"""What opening says of a file that is no longer there, or has become something else."""

_OWN_XATTRS = ("user.", "trusted.overlay.opaque", "trusted.overlay.redirect", "security.capability", "system.posix_acl")
"""Attributes that belong to the content; others of an overlay name inodes, which a copy does not have."""

Alive = Callable[[], None]
"""Called now and then; raises where the copy is no longer wanted."""


def copy_tree(source: Path, target: Path, alive: Alive, *, reflink: bool) -> None:
    """Copy a folder to `target`, which must not exist: owners, modes, times, links, and what overlays keep in it.

    `target` must be out of everybody's reach until this is done.

    Raises:
        OSError: something cannot be read or written; what was made stays.
    """
    at = os.open(source, _FOLDER)
    try:
        _Copy(at, target, alive, reflink).run()
    finally:
        os.close(at)


def clone(source: Path, target: Path) -> None:
    """Make `target` share the content of `source`, copied on write.

    Raises:
        OSError: the file system cannot.
    """
    with source.open("rb") as read, target.open("xb") as write:
        fcntl.ioctl(write, FICLONE, read.fileno())


class _Copy:
    """One copy. Of the source few handles are open at a time, however deep it is."""

    def __init__(self, source: int, target: Path, alive: Alive, reflink: bool) -> None:
        self._source = source
        self._target = os.fspath(target)
        self._alive = alive
        self._reflink = reflink
        self._named: dict[tuple[int, int], str] = {}
        """Files that have several names, and the first that they were given in the copy."""

    def run(self) -> None:
        waiting: list[tuple[str, ...]] = [()]
        done: list[tuple[str, _Attributes]] = []
        while waiting:
            parts = waiting.pop()
            with self._folder(parts) as at:
                if at is None:
                    continue
                to = "/".join((self._target, *parts))
                Path(to).mkdir(0o700)
                done.append((to, _Attributes.of(at)))
                waiting += [(*parts, name) for name in self._content_of(at, to)]
        for to, attributes in reversed(done):  # inner ones first: what is made in a folder changes its time
            made = os.open(to, _FOLDER)
            try:
                attributes.give(made)
            finally:
                os.close(made)

    @contextmanager
    def _folder(self, parts: tuple[str, ...]) -> Iterator[int | None]:
        """A folder of the source, reached step by step; None where it is gone."""
        at = os.dup(self._source)
        try:
            for name in parts:
                below = _open(name, _FOLDER, at)
                if below is None:
                    break
                os.close(at)
                at = below
            else:
                yield at
                return
        finally:
            os.close(at)
        yield None

    def _content_of(self, at: int, to: str) -> list[str]:
        """Copy what is in a folder but for the folders; gives their names."""
        folders: list[str] = []
        for name in sorted(os.listdir(at)):
            self._alive()
            try:
                found = os.stat(name, dir_fd=at, follow_symlinks=False)
            except FileNotFoundError:
                continue
            if stat.S_ISDIR(found.st_mode):
                folders.append(name)
            elif stat.S_ISREG(found.st_mode):
                self._file(name, at, f"{to}/{name}")
            else:
                _special(name, found, at, f"{to}/{name}")
        return folders

    def _file(self, name: str, at: int, to: str) -> None:
        read = _open(name, _READ, at)
        if read is None:
            return
        try:
            found = os.fstat(read)
            if not stat.S_ISREG(found.st_mode):
                return
            first = self._named.setdefault((found.st_dev, found.st_ino), to) if found.st_nlink > 1 else to
            if first != to:
                os.link(first, to, follow_symlinks=False)
                return
            write = os.open(to, _NEW, 0o600)
            try:
                self._content(read, write, found.st_size)
                _Attributes.of(read).give(write)
            finally:
                os.close(write)
        finally:
            os.close(read)

    def _content(self, read: int, write: int, size: int) -> None:
        if self._reflink:
            try:
                fcntl.ioctl(write, FICLONE, read)
                return
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY):
                    raise
        start, end = 0, size
        holes = os.fstat(read).st_blocks * 512 < size
        if holes:
            os.ftruncate(write, size)
        while start < size:
            if holes:
                try:
                    start = os.lseek(read, start, os.SEEK_DATA)
                    end = min(os.lseek(read, start, os.SEEK_HOLE), size)
                except OSError as error:
                    if error.errno == errno.ENXIO:
                        return
                    raise
            while start < end:
                self._alive()
                copied = _range(read, write, start, min(end - start, _CHUNK))
                if copied == 0:  # it was cut short meanwhile
                    return
                start += copied


@dataclass(frozen=True, slots=True)
class _Attributes:
    """Whose a file or folder is, who may what with it, and when it was changed."""

    found: os.stat_result
    extended: tuple[tuple[str, bytes], ...]

    @classmethod
    def of(cls, fd: int) -> _Attributes:
        extended: list[tuple[str, bytes]] = []
        for name in os.listxattr(fd):
            if name.startswith(_OWN_XATTRS):
                with suppress(OSError):  # taken away meanwhile
                    extended.append((name, os.getxattr(fd, name)))
        return cls(os.fstat(fd), tuple(extended))

    def give(self, fd: int) -> None:
        if os.geteuid() == 0:
            os.fchown(fd, self.found.st_uid, self.found.st_gid)
        os.fchmod(fd, stat.S_IMODE(self.found.st_mode))
        for name, value in self.extended:
            os.setxattr(fd, name, value)
        os.utime(fd, ns=(self.found.st_atime_ns, self.found.st_mtime_ns))


def _special(name: str, found: os.stat_result, at: int, to: str) -> None:
    """A symbolic link, a FIFO, or the mark of an overlay that something was deleted; nothing else is copied."""
    if stat.S_ISLNK(found.st_mode):
        try:
            Path(to).symlink_to(os.readlink(name, dir_fd=at))
        except OSError as error:
            if error.errno in (*_GONE, errno.EINVAL):
                return
            raise
    elif stat.S_ISFIFO(found.st_mode):
        os.mkfifo(to, stat.S_IMODE(found.st_mode))
    elif stat.S_ISCHR(found.st_mode) and found.st_rdev == 0:
        os.mknod(to, stat.S_IFCHR, 0)
    else:
        return
    if os.geteuid() == 0:
        os.chown(to, found.st_uid, found.st_gid, follow_symlinks=False)
    os.utime(to, ns=(found.st_atime_ns, found.st_mtime_ns), follow_symlinks=False)


def _range(read: int, write: int, start: int, length: int) -> int:
    try:
        return os.copy_file_range(read, write, length, start, start)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
    return os.pwrite(write, os.pread(read, length, start), start)


def _open(name: str, flags: int, at: int) -> int | None:
    """A file by its handle; None where it is gone or has become something else."""
    try:
        return os.open(name, flags, dir_fd=at)
    except OSError as error:
        if error.errno not in _GONE:
            raise
        return None
