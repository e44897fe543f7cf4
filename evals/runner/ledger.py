"""The verdicts of an evaluation on disk: one line for each trial, there as soon as it is known, and never two."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread

from swarm.errors import JournalError
from swarm.evals.records import RESULTS, TrialResult, read_results, standing
from swarm.whole_file import write_whole

LOCK_FILE = "eval.lock"
GO_ON = "make room for it; the same command again goes on"


class Ledger:
    """Use `open_ledger`. `trials` holds what stands of each, by instance, arm and epoch."""

    def __init__(self, path: Path, fd: int, trials: Iterable[TrialResult]) -> None:
        self.trials = {each.key: each for each in trials}
        self._path = path
        self._fd = fd
        self._writing = anyio.Lock()

    def __repr__(self) -> str:
        return f"<Ledger of {len(self.trials)} trials>"

    def lacks(self, key: tuple[str, str, int]) -> bool:
        """Whether a trial has no line."""
        return key not in self.trials

    async def add(self, trial: TrialResult) -> None:
        """Write the line of a trial that has none; when this returns it is on the disk.

        Raises:
            JournalError: it cannot be written.
        """
        assert self.lacks(trial.key), f"{trial.key} is counted once"
        line = trial.model_dump_json().encode() + b"\n"
        async with self._writing:
            await anyio.to_thread.run_sync(self._append, line)
        self.trials[trial.key] = trial

    def _append(self, line: bytes) -> None:
        try:
            left = memoryview(line)
            while left:
                left = left[os.write(self._fd, left) :]
            os.fsync(self._fd)
        except OSError as error:
            raise JournalError(f"{self._path} cannot be written: {error.strerror or error}", remedy=GO_ON) from error


@asynccontextmanager
async def open_ledger(folder: Path, again: Callable[[TrialResult], bool]) -> AsyncIterator[Ledger]:
    """The ledger in a folder that is held. Lines of trials without a verdict that are to be run `again` are taken out
    of it, and a last line that was cut off by a crash.

    Raises:
        UsageError: a line cannot be read.
        JournalError: it cannot be written.
    """
    path = folder / RESULTS
    stand = list(standing(read_results(folder)).values())
    stay = [each for each in stand if each.resolved is not None or not again(each)]
    data = b"".join(each.model_dump_json().encode() + b"\n" for each in stay)
    try:
        if not path.exists() or path.read_bytes() != data:
            await anyio.to_thread.run_sync(write_whole, path, data)
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    except OSError as error:
        raise JournalError(f"{path} cannot be written: {error.strerror or error}") from error
    try:
        yield Ledger(path, fd, stay)
    finally:
        os.close(fd)
