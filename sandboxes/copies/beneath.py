"""What really stands at a path in a folder, and never what a link on the way leads to.

Whoever worked in the folder may have put a link in place of a folder that git knows: `d/x` is then another file, one
of this machine. It must stand still meanwhile.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path


class Beneath:
    """A look at one folder's files by their paths; what was seen of the folders in it is remembered."""

    def __init__(self, folder: Path) -> None:
        self._folder = os.fsencode(folder)
        self._real: dict[bytes, bool] = {b"": True}

    def stat(self, path: bytes) -> os.stat_result | None:
        """What stands there; None where nothing does, or a link or the kernel is in the way."""
        return self._look(path) if self._is_folder(path.rpartition(b"/")[0]) else None

    def read(self, path: bytes, most: int) -> bytes | None:
        """A file's content; None where there is no file that can be read, or it is larger."""
        found = self.stat(path)
        if found is None or not stat.S_ISREG(found.st_mode) or found.st_size > most:
            return None
        try:
            fd = os.open(b"%s/%s" % (self._folder, path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        with open(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return None
            data = file.read(most + 1)
        return data if len(data) <= most else None

    def _look(self, path: bytes) -> os.stat_result | None:
        try:
            return os.lstat(b"%s/%s" % (self._folder, path))
        except OSError:
            return None

    def _is_folder(self, path: bytes) -> bool:
        unknown: list[bytes] = []
        while path not in self._real:
            unknown.append(path)
            path = path.rpartition(b"/")[0]
        for each in reversed(unknown):
            found = self._look(each) if self._real[path] else None
            self._real[each] = found is not None and stat.S_ISDIR(found.st_mode)
            path = each
        return self._real[path]
