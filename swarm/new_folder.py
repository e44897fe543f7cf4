"""A run's folder is made."""

from __future__ import annotations

from pathlib import Path

from swarm.errors import MachineError, UsageError
from swarm.shortage import remedy_for


def make_folder(folder: Path, *, again: bool = False) -> None:
    """Make a run's folder and that of its artifacts; `again`: they may be there.

    Raises:
        MachineError: this user may not, or there is no room for it.
        UsageError: its path is none for a folder, or it is there already.
    """
    try:
        folder.mkdir(parents=True, mode=0o700, exist_ok=again)
        (folder / "artifacts").mkdir(exist_ok=again)
    except OSError as error:
        remedy = remedy_for(error)
        kind = MachineError if remedy or isinstance(error, PermissionError) else UsageError
        raise kind(f"{folder} cannot be made: {error.strerror}", remedy=remedy or "set SWARM_HOME") from error
