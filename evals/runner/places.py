"""Where things of an evaluation are, in its folder.

eval.json  results.jsonl  report.json          of all (predictions beside the report)
arms/ARM/                                      report and predictions of each arm, where there are several
instances/ID/ARM/EPOCH/                        a trial: what its grader left
instances/ID/ARM/EPOCH/RUN/                    its run
instances/ID/                                  what the grader left, for the first trial where there is one arm
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

from swarm.evals.runner.arms import Way
from swarm.evals.suite import Instance

_LONGEST = 120


@dataclass(frozen=True, slots=True)
class Trial:
    """One instance in one arm, time number `epoch` (from 1). Its `seed` is None where none was given."""

    instance: Instance
    way: Way
    epoch: int
    seed: int | None = None

    @property
    def key(self) -> tuple[str, str, int]:
        return self.instance.id, self.way.name, self.epoch


@dataclass(frozen=True, slots=True)
class Places:
    """The places in an evaluation's folder. `alone`: it has one arm."""

    root: Path
    alone: bool

    def arm(self, name: str) -> Path:
        """Where the report of an arm is."""
        return self.root if self.alone else self.root / "arms" / folder_name(name)

    def trial(self, instance_id: str, arm: str, epoch: int) -> Path:
        """A trial's folder, which its runs are in."""
        return self.root / "instances" / folder_name(instance_id) / folder_name(arm) / str(epoch)

    def graded(self, instance_id: str, arm: str, epoch: int) -> Path:
        """Where the grader of a trial leaves what it wants to."""
        if self.alone and epoch == 1:
            return self.root / "instances" / folder_name(instance_id)
        return self.trial(instance_id, arm, epoch)

    def runs(self, key: tuple[str, str, int]) -> list[Path]:
        """The runs of a trial that have a record, oldest first."""
        return [entry for entry in self._folders(key) if _recorded(entry)]

    def unrecorded(self, key: tuple[str, str, int]) -> list[Path]:
        """What else there is of a trial that was cut short."""
        return [entry for entry in self._folders(key) if not _recorded(entry)]

    def _folders(self, key: tuple[str, str, int]) -> list[Path]:
        folder = self.trial(*key)
        return sorted(entry for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []


def _recorded(run: Path) -> bool:
    record = run / "events.jsonl"
    return record.is_file() and record.stat().st_size > 0


def folder_name(name: str) -> str:
    """A name as that of a folder: others give others, also where it is long or has a slash in it."""
    safe = quote(name, safe="@+=, ")
    if safe.startswith("."):
        safe = f"%2E{safe[1:]}"
    return safe if len(safe) <= _LONGEST else f"{safe[:_LONGEST]}-{sha256(name.encode()).hexdigest()[:12]}"
