"""What a run leaves in its folder of the changes that were made: the patch, and beside it what could not be merged."""

from __future__ import annotations

import errno
import shlex
from collections.abc import Mapping
from pathlib import Path

import anyio.to_thread

from swarm.errors import MachineError
from swarm.protocols import Repository
from swarm.result import UNMERGED
from swarm.whole_file import write_whole

_FULL = (errno.ENOSPC, errno.EDQUOT)


async def write_patch(repository: Repository, commit: str, path: Path) -> Path:
    """Write the difference from the base to a commit to a file, wholly or not at all.

    Raises:
        MachineError: it cannot be written; the remedy says where it is all the same.
    """
    data = await repository.diff(repository.base, commit)
    try:
        await anyio.to_thread.run_sync(_write, path, data)
    except OSError as error:
        raise _refused(path, error, path.parent, "base answer") from error
    return path


async def write_unmerged(
    folder: Path, repository: Repository, left: Mapping[str, str], reasons: Mapping[str, str]
) -> None:
    """Write what was not merged into a run's folder: of each sub-task in `reasons` the patch of its commit in `left`,
    as it was made, below the reason. What an earlier process of the run wrote is replaced: it goes when all is there.

    Raises:
        MachineError: it cannot be written, or what is to go not removed.
    """
    place = folder / UNMERGED
    written: set[Path] = set()
    for subtask_id, reason in sorted(reasons.items()):
        if commit := left.get(subtask_id, ""):
            patch = await repository.diff(f"{commit}^", commit)
            about = f"Sub-task {subtask_id} is not in the answer: {' '.join(reason.split())}\n\n"
            path = place / f"{subtask_id}.diff"
            try:
                await anyio.Path(place).mkdir(exist_ok=True)
                await anyio.to_thread.run_sync(_write, path, about.encode(errors="replace") + patch)
            except OSError as error:
                raise _refused(path, error, folder, f"{commit}^ {commit}") from error
            written.add(path)
    try:
        await anyio.to_thread.run_sync(_keep_only, place, written)
    except OSError as error:
        raise MachineError(
            f"{error.filename or place} cannot be removed: {error.strerror}", remedy="remove it: it is of an older end"
        ) from error


def _write(path: Path, data: bytes) -> None:
    """The run's folder is not made for it: one that was moved away would be there twice."""
    write_whole(path, data)


def _keep_only(place: Path, written: set[Path]) -> None:
    for old in place.glob("*.diff"):
        if old not in written:
            old.unlink()


def _refused(path: Path, error: OSError, folder: Path, commits: str) -> MachineError:
    """Says where the patch is all the same: in the run's store."""
    way = f"git --git-dir={shlex.quote(str(folder / 'repo.git'))} diff --binary {commits}"
    first = "make room and " if error.errno in _FULL else ""
    return MachineError(f"{path} cannot be written: {error.strerror}", remedy=f"{first}run {way}")
