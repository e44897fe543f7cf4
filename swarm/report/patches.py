"""The patch of a run as the page shows it, and what was left out of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from swarm.errors import MachineError
from swarm.hunks import FilePatch, parse
from swarm.legible import visible
from swarm.report.authors import MOST_LINES, Store, TooMuch
from swarm.report.blobs import Blobs
from swarm.report.fold import Fold
from swarm.report.model import Patch, PatchFile, Unmerged
from swarm.result import UNMERGED
from swarm.whole_file import open_plain

_LARGEST = 64 << 20  # bytes of a patch that is shown


def read_patch(folder: Path, fold: Fold, store: Store | None) -> tuple[list[FilePatch], str]:
    """The files of what a run changed, its lines with their authors; and what is to be said about it.

    Without `patch.diff` (the run has not ended, or it was declined) it is what was merged until the record ends.
    """
    base = fold.started.base_commit if fold.started else ""
    written, note = _written(folder)
    if not base:
        return (parse(written) if written else []), note
    if store is None:
        return (parse(written) if written else []), note or "who wrote what is not known: the run's store is gone"
    try:
        tip = (store.answer if written else "") or fold.commit
        if written is None and tip and tip != base:
            written, note = (
                store.diff(base, tip),
                "the run wrote no patch: this is what was merged when its record ends",
            )
        files = parse(written) if written else []
        if files and tip:
            store.attribute(files, base, tip, fold.author)
    except MachineError as error:
        why = "it is too much" if isinstance(error, TooMuch) else "the run's store cannot be read"
        return (parse(written) if written else []), f"who wrote what is not known: {why}"
    return files, note


def shown(files: Sequence[FilePatch], note: str, blobs: Blobs) -> Patch:
    """A patch as it goes onto the page."""
    return Patch(files=[_file(file, blobs) for file in files], note=note)


def unmerged(folder: Path, fold: Fold, blobs: Blobs, store: Store | None) -> list[Unmerged]:
    """What sub-tasks made and could not be merged, with the reason: `unmerged/SUBTASK.diff`, or their own commits."""
    reasons = dict(fold.totals.unmerged)
    kept = folder / UNMERGED
    own = kept.is_dir() and not kept.is_symlink()
    paths = {path.stem: path for path in sorted(kept.glob("*.diff"))} if own else {}
    reasons = {name: "" for name in paths if name not in reasons} | reasons
    found = []
    for name, reason in reasons.items():
        try:
            patch = _read(paths[name], folder) if name in paths else _own(store, fold.commits.get(name, ""))
            note = _too_long(patch) or ("" if patch else "its patch is not kept")
            patch = b"" if _too_long(patch) else patch
        except (MachineError, OSError):
            patch, note = b"", "its patch cannot be read"
        told = fold.eviction(name)
        found.append(
            Unmerged(
                subtask=name,
                reason=reason,
                kind=told.kind if told else "",
                against=told.against if told else [],
                tests=told.tests if told else [],
                patch=shown(parse(patch), note, blobs),
            )
        )
    return found


def _own(store: Store | None, commit: str) -> bytes:
    return store.own(commit) if store is not None and commit else b""


def _written(folder: Path) -> tuple[bytes | None, str]:
    for name, note in (("patch.diff", ""), ("artifacts/declined.diff", "the user declined this patch")):
        try:
            data = _read(folder / name, folder)
        except FileNotFoundError:
            continue
        except OSError:
            return b"", f"the patch cannot be read: see {name} in the run's folder"
        if why := _too_long(data):
            return b"", f"{why}: see {name} in the run's folder"
        return data, note
    return None, ""


def _too_long(patch: bytes) -> str:
    if len(patch) > _LARGEST:
        return f"the patch is larger than {_LARGEST >> 20} MB"
    return f"the patch has more than {MOST_LINES} lines" if patch.count(b"\n") > MOST_LINES else ""


def _read(path: Path, folder: Path) -> bytes:
    with open_plain(path, folder) as file:
        return file.read(_LARGEST + 1)


def _file(file: FilePatch, blobs: Blobs) -> PatchFile:
    authors = Counter(line.author for hunk in file.hunks for line in hunk.lines if line.kind in "+-" and line.author)
    body = [
        {"old": hunk.old, "new": hunk.new, "head": visible(hunk.heading), "lines": _lines(file, index)}
        for index, hunk in enumerate(file.hunks)
    ]
    return PatchFile(
        name=visible(file.name),
        change=file.change,
        added=file.count("+"),
        removed=file.count("-"),
        binary=file.binary,
        authors=[name for name, _ in authors.most_common()],
        lines=sum(len(hunk.lines) for hunk in file.hunks),
        body=blobs.add(body) if body else -1,
    )


def _lines(file: FilePatch, index: int) -> list[list[Any]]:
    return [[line.kind, visible(line.text), line.author] for line in file.hunks[index].lines]
