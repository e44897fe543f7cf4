"""What later previews need of past runs: a row each, in the run's own folder, gone with it."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from swarm.forecast.rows import Row
from swarm.whole_file import write_whole

FILE = "measured.json"
MOST_RUNS = 200


def past_rows(runs: Path) -> tuple[Row, ...]:
    """The rows of the newest runs in a folder, oldest first; one that cannot be understood is left out. Blocks.

    Raises:
        OSError: the folder cannot be read.
    """
    written: list[tuple[float, Path]] = []
    for folder in runs.iterdir() if runs.exists() else ():
        path = folder / FILE
        if path.is_file():
            written.append((path.stat().st_mtime, path))
    rows: list[Row] = []
    for _, path in sorted(written)[-MOST_RUNS:]:
        try:
            rows.append(Row.model_validate_json(path.read_bytes()))
        except (OSError, ValidationError):  # removed meanwhile, or of another version
            continue
    return tuple(sorted(rows, key=lambda row: (row.started, row.run)))


def keep_row(folder: Path, row: Row) -> None:
    """Keep a run's row in its folder. Blocks.

    Raises:
        OSError: it cannot be written.
    """
    write_whole(folder / FILE, row.model_dump_json().encode())
