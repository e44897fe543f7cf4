"""The patch of a run as the official harness takes it: text, and nothing of what git ignores there."""

from __future__ import annotations

import tempfile
from pathlib import Path

from swarm.evals.swebench.base import Base
from swarm.evals.swebench.predictions import changed_path, parts_of, without
from swarm.sandboxes.git.command import own_git, quoted
from swarm.sandboxes.git.repository import ANSWER, BASE

_DIFF = ("diff-tree", "-r", "-p", "--binary", "--full-index", "--no-renames", "--no-ext-diff", "--no-textconv")


def is_text(patch: bytes) -> bool:
    """Whether a patch can be told as it is: JSON holds nothing but UTF-8."""
    try:
        patch.decode()
    except UnicodeDecodeError:
        return False
    return True


def model_patch(patch: bytes, store: Path, base: Base | None) -> str:
    """A run's patch as the text of a prediction. A file that is no UTF-8 is told as a binary one, from the run's
    `store` and the `base` that it borrows from. Blocks.

    Raises:
        MachineError: git cannot.
    """
    kept = without(patch, base.ignored) if base else patch
    return "".join(_text(part, store, base) for part in parts_of(kept))


def _text(part: bytes, store: Path, base: Base | None) -> str:
    path = changed_path(part)
    if is_text(part) or base is None or not path:
        return part.decode(errors="replace")
    git = own_git(store)
    # The repository that the run began with is gone by now.
    borrowed = {"GIT_ALTERNATE_OBJECT_DIRECTORIES": quoted(base.store / "objects")}
    with tempfile.NamedTemporaryFile() as attributes:
        attributes.write(b"* -diff\n")
        attributes.flush()
        told = git.run(
            *("-c", f"core.attributesFile={attributes.name}", "--literal-pathspecs"),
            *(*_DIFF, BASE, ANSWER, "--", path.decode(errors="surrogateescape")),
            env=borrowed,
        )
    return told.out.decode(errors="replace")
