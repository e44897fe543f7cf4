"""Overlay mounts of the kernel: folders that share what lies below them and keep apart what is changed."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from pathlib import Path

MS_NOSUID, MS_NODEV = 2, 4
DEEPEST = 64
"""So many layers may lie above each other; the names of their handles must fit into one page of options."""

# A renamed folder is remembered, not refused. What a crash of the machine loses is of no use after it: nothing waits
# for the disk.
_OPTIONS = "redirect_dir=on,metacopy=off,index=off,volatile"


def mount_overlay(place: Path, lowers: Sequence[Path], upper: Path, work: Path) -> None:
    """Mount at `place` the `lowers`, topmost first, with `upper` above them. `work` is empty, beside `upper`.

    Raises:
        OSError: the kernel, the file system or the rights of this process do not allow it.
    """
    handles: list[int] = []
    try:
        # Paths may hold commas, colons and backslashes, and be too long for the options: handles have short names.
        names = []
        for folder in (*lowers, upper, work):
            handles.append(os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
            names.append(f"/proc/self/fd/{handles[-1]}")
        below = ":".join(names[:-2])
        options = f"lowerdir={below},upperdir={names[-2]},workdir={names[-1]},{_OPTIONS}"
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"overlay", os.fsencode(place), b"overlay", MS_NOSUID | MS_NODEV, options.encode()) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(place))
    finally:
        for handle in handles:
            os.close(handle)
