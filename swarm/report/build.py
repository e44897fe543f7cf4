"""From the folders of runs to the page: each journal is read once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from swarm.errors import UsageError
from swarm.hunks import FilePatch
from swarm.journal.reader import read_events
from swarm.report.authors import open_store
from swarm.report.blobs import Blobs
from swarm.report.compare import differences
from swarm.report.fold import Fold
from swarm.report.model import Page, RunPage
from swarm.report.patches import read_patch, shown, unmerged
from swarm.report.render import render
from swarm.report.talk import Systems


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run to report on: its folder, how it stands (`completed`, `crashed`, ...), and whether it is at work."""

    path: Path
    status: str
    live: bool = False


def report(folders: Sequence[RunFolder]) -> str:
    """The page on one run, or on two side by side. Blocks.

    Raises:
        UsageError: nothing is recorded of a run.
        JournalError: a journal cannot be read, or a whole line of it is no event.
    """
    blobs, systems = Blobs(), Systems()
    runs: list[RunPage] = []
    patches: list[list[FilePatch]] = []
    for folder in folders:
        run, files = _run(folder, blobs, systems)
        runs.append(run)
        patches.append(files)
    title = " and ".join(run.id for run in runs)
    page = Page(title=f"swarm: {title}", runs=runs, systems=systems.texts)
    if len(patches) == 2:
        page.differences = differences(patches[0], patches[1], blobs)
    return render(page, blobs)


def _run(folder: RunFolder, blobs: Blobs, systems: Systems) -> tuple[RunPage, list[FilePatch]]:
    fold = Fold(blobs, systems)
    for event in read_events(folder.path / "events.jsonl"):
        fold.observe(event)
    if fold.started is None:
        raise UsageError(f"{folder.path.name} has no beginning in its record", remedy="see `swarm runs`")
    page = fold.page(folder.status, folder.live)
    with open_store(folder.path / "repo.git") as store:
        files, note = read_patch(folder.path, fold, store)
        page.patch = shown(files, note, blobs)
        page.unmerged = unmerged(folder.path, fold, blobs, store)
    if folder.live:
        fold.note("The run is at work: this is how it stood when the page was made.")
    elif fold.ended is None:
        fold.note("Its process ended before the run did: this is what its record holds.")
    return page, files
