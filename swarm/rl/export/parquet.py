"""The log itself as Parquet, for runs that were made without pyarrow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from swarm.errors import JournalError, UsageError
from swarm.journal.parquet import write_parquet
from swarm.rl.export.outcome import Exported


def export(folders: Sequence[Path], out: Path) -> Exported:
    """See `swarm.rl.export.catalog`."""
    done = Exported()
    for folder in folders:
        target = out / folder.name if len(folders) > 1 else out
        target.mkdir(parents=True, exist_ok=True)
        try:
            write_parquet(folder, target)
        except ImportError:
            raise UsageError(
                "Parquet is written by pyarrow, which is not here", remedy="pip install 'swarm[rl]'"
            ) from None
        except ValueError as error:
            why = " ".join(str(error).split())
            raise JournalError(f"{folder.name}: {why}", remedy="check it with `swarm validate`") from None
        done.rows += 1
    return done
