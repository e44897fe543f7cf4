"""What became of a fault is told by the trees, the tests and the journal, not by what an agent says."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from swarm.evals.fates import Fate, fates, line_now, merged_patches
from swarm.evals.faults import Fault
from swarm.evals.packages import make_repository
from swarm.events import AgentEnded, AgentStarted, Event, PatchMerged
from swarm.types import Outcome, SubTask

SOUND = "def f(a):\n    return a + 1\n\ndef g(a):\n    return a * 2\n"
FAULTY = SOUND.replace("a + 1", "a - 1").replace("a * 2", "a / 2")
FAULTS = (
    Fault("m.py", 2, "f", "wrong operator", "    return a + 1", "    return a - 1", ("t.py::f",)),
    Fault("m.py", 5, "g", "wrong operator", "    return a * 2", "    return a / 2", ("t.py::g",)),
)


def tree(folder: Path, text: str) -> Path:
    folder.mkdir()
    (folder / "m.py").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("now", "failing", "expected"),
    [
        (SOUND, frozenset(), [Fate.RESTORED, Fate.RESTORED]),
        (FAULTY, frozenset({"t.py::f", "t.py::g"}), [Fate.LEFT, Fate.LEFT]),
        ("import os\n\n" + SOUND, frozenset(), [Fate.RESTORED, Fate.RESTORED]),
        (FAULTY.replace("a - 1", "1 + a"), frozenset({"t.py::g"}), [Fate.REWRITTEN, Fate.LEFT]),
        (SOUND, frozenset({"t.py::g"}), [Fate.RESTORED, Fate.LEFT]),
        (FAULTY, frozenset({"t.py::f"}), [Fate.LEFT, Fate.ELSEWHERE]),
        (SOUND, None, [Fate.LEFT, Fate.LEFT]),
    ],
    ids=["restored", "left", "shifted", "rewritten", "still-red", "elsewhere", "no-end"],
)
def test_the_tree_and_the_tests_decide(
    tmp_path: Path, now: str, failing: frozenset[str] | None, expected: list[Fate]
) -> None:
    faulty, final = tree(tmp_path / "faulty", FAULTY), tree(tmp_path / "final", now)
    assert [end.fate for end in fates(FAULTS, faulty, final, failing, {})] == expected


def test_a_line_is_followed_through_changes_around_it() -> None:
    before = ["a", "b", "c"]
    assert line_now(before, ["x", "a", "b", "c"], 2) == "b"
    assert line_now(before, ["a", "B", "c"], 2) == "B"
    assert line_now(before, ["a", "c"], 2) == ""
    assert line_now(before, ["a", "B", "BB", "c"], 2) == "B\nBB"


def test_the_hand_is_the_subtask_whose_merged_patch_changed_the_line(
    tmp_path: Path, require: Callable[[object, str], None]
) -> None:
    require(shutil.which("git"), "git is not installed")
    repo = tree(tmp_path / "faulty", FAULTY)
    make_repository(repo, "faulty")
    git = ["git", "-C", str(repo), "-c", "user.name=x", "-c", "user.email=x@localhost"]
    commits = []
    for text in (FAULTY.replace("a - 1", "a + 1"), SOUND):
        (repo / "m.py").write_text(text, encoding="utf-8")
        subprocess.run([*git, "commit", "-qam", "repair"], check=True)
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, check=True, text=True)
        commits.append(head.stdout.strip())
    events: list[Event] = []
    for name, commit in zip(("first", "second"), commits, strict=True):
        subtask = SubTask(id=name, title=name, instructions=name)
        events += [
            AgentStarted(trajectory_id=f"t-{name}", role="subagent", name=name, trainable=False, subtask=subtask),
            AgentEnded(
                trajectory_id=f"t-{name}",
                outcome=Outcome.COMPLETED,
                stop="submitted",
                terminated=True,
                truncated=False,
                commit=commit,
            ),
            PatchMerged(stage=1, subtask_id=name, merged=True, commit=commit),
        ]
    shutil.copytree(repo, tmp_path / "final")
    subprocess.run([*git, "checkout", "-q", "HEAD~2"], check=True)

    ends = fates(FAULTS, repo, tmp_path / "final", frozenset(), merged_patches(events, repo / ".git"))

    assert [(end.fate, end.by) for end in ends] == [(Fate.RESTORED, ("first",)), (Fate.RESTORED, ("second",))]
