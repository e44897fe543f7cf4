"""From the name of a form to what writes it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol

from swarm.errors import JournalError, UsageError
from swarm.rl.export.outcome import Exported

FORMATS = {
    "atif": "the Agent Trajectory Interchange Format (Harbor), v1.8",
    "verifiers": "traces of verifiers and prime-rl, an episode a line",
    "verl": "verl's agent loop output, a row a line",
    "trl": "token rows for TRL, a row a line",
    "slime": "slime's debug rollout data (needs torch)",
    "sft": "messages and tools in the form of the OpenAI API, a conversation a line",
    "parquet": "the log itself as Parquet (needs pyarrow), beside it or in the folder that is named",
}


class Writer(Protocol):
    """A module of this package."""

    def export(self, folders: Sequence[Path], out: Path) -> Exported:
        """Write what the runs in `folders` hold to `out`."""
        ...


def export(name: str, folders: Sequence[Path], out: Path) -> Exported:
    """Write runs in a form.

    Raises:
        UsageError: the form is not known, or `out` cannot be written.
        JournalError: a log cannot be read.
    """
    if name not in FORMATS:
        raise UsageError(f"there is no form {name!r}", remedy=f"use {', '.join(FORMATS)}")
    writer: Writer = import_module(f"swarm.rl.export.{name}")
    try:
        return writer.export(folders, out)
    except JournalError:
        raise
    except OSError as error:
        raise UsageError(f"{error.filename or out} cannot be written: {error.strerror or error}") from None
