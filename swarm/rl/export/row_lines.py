"""Training rows as lines of a file, for the trainers that read these; what may train nobody is left out and counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from swarm.rl.export.outcome import Exported, line
from swarm.rl.reading import RunLog, Trajectory
from swarm.rl.rollouts import is_usable, rows
from swarm.rl.rows import Row
from swarm.whole_file import whole_file

Made = Callable[[RunLog, Trajectory, Row], Mapping[str, object]]
"""What a row's line holds."""


def write_rows(folders: Sequence[Path], out: Path, made: Made) -> Exported:
    """Write the rows of runs, one run after the other; those of frozen sub-agents, and what the machine ended, are not
    in it."""
    done = Exported()
    with whole_file(out) as file:
        for folder in folders:
            log = RunLog(folder)
            found = False
            for trajectory, row in rows(log):
                found = True
                if not is_usable(log, trajectory):
                    done.left_out["rows that the machine ended"] += 1
                    continue
                file.write(line(made(log, trajectory, row)))
                done.rows += 1
            done.left_out["runs without anything to train on"] += not found
    return done
