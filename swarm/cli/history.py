"""The runs on this machine, read from their folders without trusting them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swarm.errors import JournalError, UsageError
from swarm.journal.reader import is_at_work
from swarm.whole_file import open_plain

RUNNING = "running"
CRASHED = "crashed"
UNREADABLE = "unreadable"
_AT_ONCE_S = 1.0
_LONGEST = 64 << 20  # bytes of a result, or of a record that is read to list a run
LATEST = 1e11  # Unix seconds; what claims to be later is no time


@dataclass(frozen=True, slots=True)
class Record:
    """One run. `status` is that of its result, or `running`, `crashed`, `unreadable`; `started` Unix seconds."""

    run_id: str
    folder: Path
    status: str
    started: float = 0.0
    task: str = ""
    mode: str = ""
    models: dict[str, str] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The envelope where there is one, and what the run was about."""
        return self.result | {
            "run_id": self.run_id,
            "status": self.status,
            "started": self.started,
            "task": self.task,
            "mode": self.mode,
            "models": self.models,
            "run_dir": str(self.folder),
        }


def records(folder: Path) -> Iterator[Record]:
    """All runs in `folder`, newest first."""
    try:
        found = [read_record(path) for path in folder.iterdir() if path.is_dir()]
    except FileNotFoundError:
        return
    except OSError as error:
        raise JournalError(f"{folder}: {error.strerror or error}", remedy="see SWARM_HOME") from None
    yield from sorted(found, key=lambda record: (record.started, record.run_id), reverse=True)


def read_record(folder: Path) -> Record:
    """What a run's folder says of it."""
    first = _first_event(folder / "events.jsonl")
    result = _json_object(folder / "result.json")
    status = str(result["status"]) if "status" in result else ""
    if not status:
        result = _ending(folder / "events.jsonl")
        status = str(result.get("status") or _unfinished(folder, bool(first)))
    models = first.get("models")
    return Record(
        run_id=folder.name,
        folder=folder,
        status=status,
        started=_started(folder, first),
        task=str(first.get("task", "")),
        mode=str(first.get("mode", "")),
        models={str(k): str(v) for k, v in models.items()} if isinstance(models, dict) else {},
        result=result,
    )


def find_run(folder: Path, given: str) -> Path:
    """The folder of a run, named by its id, a unique start of it, a path, or `last`.

    Raises:
        UsageError: there is none, or more than one.
    """
    listing = "see `swarm runs`"
    if not given:
        raise UsageError("no run is named", remedy=listing)
    path = Path(given)
    if os.sep in given and (path / "events.jsonl").is_file():
        return path.resolve()
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []
    if given == "last":
        if not names:
            raise UsageError(f"no runs in {folder}", remedy="start one with `swarm run`")
        return _newest([folder / name for name in names])
    matches = [given] if given in names else [name for name in names if name.startswith(given)]
    if not matches:
        raise UsageError(f"no run {given}", remedy=listing)
    if len(matches) > 1:
        raise UsageError(f"{given} may be {', '.join(matches[:5])}", remedy="give more of the id")
    return folder / matches[0]


def _newest(folders: list[Path]) -> Path:
    """Of runs that began within a second, one that lives; else the one that was written to last."""
    starts = {path: _start_of(path) for path in folders}
    latest = max(starts.values())
    near = [path for path in folders if starts[path] > latest - _AT_ONCE_S]
    if len(near) == 1:
        return near[0]

    def order(path: Path) -> tuple[bool, float, float, str]:
        record = path / "events.jsonl"
        written = record.stat().st_mtime if record.exists() else 0.0
        return is_at_work(record), written, starts[path], path.name

    return max(near, key=order)


def _unfinished(folder: Path, readable: bool) -> str:
    if is_at_work(folder / "events.jsonl"):
        return RUNNING
    return CRASHED if readable else UNREADABLE


def _ending(path: Path) -> dict[str, Any]:
    """The result in a journal's last record, for a run that died between the two."""
    last = b""
    try:
        with open_plain(path) as lines:
            while line := lines.readline(_LONGEST):
                last = line
    except OSError:
        return {}
    event = _object(last)
    result = event.get("result")
    return result if event.get("type") == "run_end" and isinstance(result, dict) else {}


def _started(folder: Path, first: dict[str, Any]) -> float:
    started = first.get("t")
    if isinstance(started, int | float) and 0 <= started < LATEST:
        return float(started)
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0


def _start_of(folder: Path) -> float:
    return _started(folder, _first_event(folder / "events.jsonl"))


def _first_event(path: Path) -> dict[str, Any]:
    try:
        with open_plain(path) as lines:
            first = _object(lines.readline(_LONGEST))
    except OSError:
        return {}
    return first if first.get("type") == "run_start" else {}


def _json_object(path: Path) -> dict[str, Any]:
    try:
        with open_plain(path) as file:
            return _object(file.read(_LONGEST))
    except OSError:
        return {}


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
