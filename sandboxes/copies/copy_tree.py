"""Copying a folder that others may write in meanwhile: nothing outside it is ever read or written.

Every folder is entered by its handle, however deep, without following links; what vanishes on the way is left out, and
what its owner may not read himself is opened up to him meanwhile. Content is shared with the source only where the file
system copies on write (FICLONE), never by a hard link to it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from swarm.sandboxes.descent import GONE, Descent, Parts
from swarm.values import value

FICLONE = 0x40049409
_CHUNK = 8 << 20
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
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
    target.mkdir(mode=0o700)
    with Descent(source, open_up=True) as read, Descent(target) as write:
        _Copy(read, write, alive, reflink).run()


def clone(source: Path, target: Path) -> None:
    """Make `target` share the content of `source`, copied on write.

    Raises:
        OSError: the file system cannot.
    """
    with source.open("rb") as read, target.open("xb") as write:
        fcntl.ioctl(write, FICLONE, read.fileno())


class _Copy:
    """One copy, from a tree that others may change into one that nobody else reaches."""

    def __init__(self, source: Descent, target: Descent, alive: Alive, reflink: bool) -> None:
        self._source = source
        self._target = target
        self._alive = alive
        self._reflink = reflink
        self._named: dict[tuple[int, int], tuple[Parts, str]] = {}
        """Files that have several names, and the first that they were given in the copy."""

    def run(self) -> None:
        waiting: list[Parts] = [()]
        done: list[tuple[Parts, _Attributes]] = []
        while waiting:
            parts = waiting.pop()
            at = self._source.enter(parts)
            if at is None:
                continue
            try:
                done.append((parts, _Attributes.of(at, self._source.mode(parts, os.fstat(at)))))
                if parts:
                    with self._made(parts[:-1]) as above:
                        os.mkdir(parts[-1], 0o700, dir_fd=above)
                with self._made(parts) as to:
                    waiting += [(*parts, name) for name in self._content_of(at, parts, to)]
            finally:
                os.close(at)
        for parts, attributes in reversed(done):  # inner ones first: what is made in a folder changes its time
            with self._made(parts) as to:
                attributes.give(to)

    @contextmanager
    def _made(self, parts: Parts) -> Iterator[int]:
        """A folder of the copy."""
        at = self._target.enter(parts)
        if at is None:
            raise FileNotFoundError(errno.ENOENT, "a part of the copy is gone", "/".join(parts[-2:]))
        try:
            yield at
        finally:
            os.close(at)

    def _content_of(self, at: int, parts: Parts, to: int) -> list[str]:
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
                self._file(name, at, parts, to)
            else:
                _special(name, found, at, to)
        return folders

    def _file(self, name: str, at: int, parts: Parts, to: int) -> None:
        opened = self._source.file(name, at)
        if opened is None:
            return
        read, mode = opened
        try:
            found = os.fstat(read)
            if not stat.S_ISREG(found.st_mode):
                return
            here = parts, name
            first = self._named.setdefault((found.st_dev, found.st_ino), here) if found.st_nlink > 1 else here
            if first != here:
                with self._made(first[0]) as folder:
                    os.link(first[1], name, src_dir_fd=folder, dst_dir_fd=to, follow_symlinks=False)
                return
            write = os.open(name, _NEW, 0o600, dir_fd=to)
            try:
                self._content(read, write, found.st_size)
                _Attributes.of(read, mode).give(write)
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


@value(frozen=True, slots=True)
class _Attributes:
    """Whose a file or folder is, who may what with it, and when it was changed."""

    found: os.stat_result
    mode: int
    extended: tuple[tuple[str, bytes], ...]

    @classmethod
    def of(cls, fd: int, mode: int) -> _Attributes:
        extended: list[tuple[str, bytes]] = []
        for name in os.listxattr(fd):
            if name.startswith(_OWN_XATTRS):
                with suppress(OSError):  # taken away meanwhile
                    extended.append((name, os.getxattr(fd, name)))
        return cls(os.fstat(fd), mode, tuple(extended))

    def give(self, fd: int) -> None:
        if os.geteuid() == 0:
            os.fchown(fd, self.found.st_uid, self.found.st_gid)
        for name, content in self.extended:  # while it may still be written
            os.setxattr(fd, name, content)
        os.fchmod(fd, self.mode)
        os.utime(fd, ns=(self.found.st_atime_ns, self.found.st_mtime_ns))


def _special(name: str, found: os.stat_result, at: int, to: int) -> None:
    """A symbolic link, a FIFO, or the mark of an overlay that something was deleted; nothing else is copied."""
    if stat.S_ISLNK(found.st_mode):
        try:
            os.symlink(os.readlink(name, dir_fd=at), name, dir_fd=to)
        except OSError as error:
            if error.errno in (*GONE, errno.EINVAL):
                return
            raise
    elif stat.S_ISFIFO(found.st_mode):
        os.mkfifo(name, stat.S_IMODE(found.st_mode), dir_fd=to)
    elif stat.S_ISCHR(found.st_mode) and found.st_rdev == 0:
        os.mknod(name, stat.S_IFCHR, 0, dir_fd=to)
    else:
        return
    if os.geteuid() == 0:
        os.chown(name, found.st_uid, found.st_gid, dir_fd=to, follow_symlinks=False)
    os.utime(name, ns=(found.st_atime_ns, found.st_mtime_ns), dir_fd=to, follow_symlinks=False)


def _range(read: int, write: int, start: int, length: int) -> int:
    try:
        return os.copy_file_range(read, write, length, start, start)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
    return os.pwrite(write, os.pread(read, length, start), start)
