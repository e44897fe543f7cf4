"""Removing what was made, whatever happened to it meanwhile."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def remove_tree(folder: Path) -> None:
    """Remove a folder, also where what ran in it took away its own permissions or still writes. Never raises: what
    cannot be removed stays."""
    for _ in range(3):
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            return
        except PermissionError:
            for parent, _, _ in os.walk(folder):
                _open_up(Path(parent))
        except OSError:
            continue  # something was made in it meanwhile
        else:
            return
    shutil.rmtree(folder, ignore_errors=True)


def _open_up(folder: Path) -> None:
    folder.chmod(0o700)
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o700)
