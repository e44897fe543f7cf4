"""What later previews need of past runs: a row each, in the run's own folder, gone with it."""

from __future__ import annotations

import os
from functools import lru_cache
from heapq import nlargest
from pathlib import Path

from pydantic import ValidationError

from swarm.forecast.rows import Row
from swarm.whole_file import write_whole

FILE = "measured.json"
MOST_RUNS = 200
_LOOKED_AT = 1000
"""Folders at most: there may be a hundred thousand, most of them of rollouts, which keep no row."""

_REMEMBERED = MOST_RUNS + 50
"""Rows, with those that are made meanwhile: else each new one would put out the next to be asked for."""


def past_rows(runs: Path) -> tuple[Row, ...]:
    """The rows of the newest runs in a folder, whose names sort in time, oldest first; one that cannot be understood is
    left out. Blocks.

    Raises:
        OSError: the folder cannot be read.
    """
    try:
        names = os.listdir(runs)  # noqa: PTH208  only few of them become paths
    except FileNotFoundError:
        return ()
    rows: list[Row] = []
    for name in nlargest(_LOOKED_AT, names):
        path = f"{runs}/{name}/{FILE}"
        try:
            written = os.stat(path)  # noqa: PTH116  as above
            row = _row(path, written.st_mtime_ns, written.st_size)
        except OSError:  # it has none, or was removed meanwhile
            continue
        if row is not None:
            rows.append(row)
            if len(rows) == MOST_RUNS:
                break
    return tuple(sorted(rows, key=lambda row: (row.started, row.run)))


@lru_cache(maxsize=_REMEMBERED)
def _row(path: str, _when: int, _size: int) -> Row | None:
    """Read once by a process that makes many runs. Raises: OSError."""
    try:
        return Row.model_validate_json(Path(path).read_bytes())
    except ValidationError:  # of another version; what cannot be read now may be read the next time
        return None


def keep_row(folder: Path, row: Row) -> None:
    """Keep a run's row in its folder. Blocks.

    Raises:
        OSError: it cannot be written.
    """
    write_whole(folder / FILE, row.model_dump_json().encode())
