"""The files of the workspace, to be put back as they were after tests that wrote or deleted some.

Runs inside the sandbox (Python 3.8 or newer, standard library only).
"""

from __future__ import annotations

import os
from pathlib import Path

SKIPPED = (".git", "node_modules", ".venv", "venv", ".tox")
_KEEP_BYTES = 1 << 20


def walk(root: Path) -> list[Path]:
    """All ordinary files, without those of version control and environments."""
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [f for f in folders if f not in SKIPPED]
        found += [Path(folder, n) for n in names]
    return [p for p in found if p.is_file() and not p.is_symlink()]


class Snapshot:
    """Contents of files up to 1 MiB, and the names of all."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = {path: (_seen(path), _content(path)) for path in walk(root)}

    def restore(self) -> None:
        now = set(walk(self.root))
        for path in now - set(self.files):
            path.unlink()
        for path, (seen, data) in self.files.items():
            if data is not None and (path not in now or _seen(path) != seen):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)


def _seen(path: Path) -> tuple[int, int]:
    st = path.stat()
    return st.st_size, st.st_mtime_ns


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.stat().st_size <= _KEEP_BYTES else None
