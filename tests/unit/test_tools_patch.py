"""apply_patch against git and against a model's slips; pure parts by hypothesis."""

from __future__ import annotations

import difflib
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.tools.patch import apply_patch
from swarm.tools.patching import PatchProblem, parse_patch, patched
from swarm.tools.registry import Toolset
from swarm.types import ToolErrorKind, ToolResult
from tests.unit.test_tools_sandboxed import Folder, fill

pytestmark = pytest.mark.anyio


@pytest.fixture
def box(tmp_path: Path) -> Folder:
    root = tmp_path / "box"
    root.mkdir()
    return Folder(root)


async def use(box: Folder, patch: str) -> ToolResult:
    return await Toolset([apply_patch]).call("apply_patch", json.dumps({"patch": patch}), box)


LINES = st.lists(st.sampled_from(["a", "b", "", " c", "-d", "+e", "-- f", "\\ g"]), max_size=12)


@given(LINES, LINES, st.booleans(), st.booleans(), st.integers(0, 3))
def test_a_diff_gives_the_new_text(old: list[str], new: list[str], ends: bool, shifted: bool, context: int) -> None:
    before, after = ("".join(line + "\n" for line in part) for part in (old, new))
    lines = list(difflib.unified_diff(before.splitlines(True), after.splitlines(True), "a/f", "b/f", n=context))
    if lines:
        text = "".join(lines)
        (patch,) = parse_patch(text if ends else text.rstrip("\n") + "\n")
        assert patched(before, patch) == after


@given(st.text())
def test_no_text_is_too_odd(text: str) -> None:
    try:
        for patch in parse_patch(text):
            patched("a\nb\n", patch)
    except PatchProblem:
        pass


def git_diff(folder: Path) -> str:
    """What git says of the folders `old` and `new` in here."""
    command = ["git", "diff", "--no-index", "--no-prefix", "--src-prefix=a/", "--dst-prefix=b/", "old", "new"]
    diff = subprocess.run(command, cwd=folder, capture_output=True, check=False).stdout.decode()
    for side in ("old/", "new/"):
        diff = diff.replace(f"a/{side}", "a/").replace(f"b/{side}", "b/")
    return diff


async def test_it_does_what_git_does(box: Folder, require: Callable[[object, str], None], tmp_path: Path) -> None:
    require(shutil.which("git"), "git is not installed")
    old, new = tmp_path / "old", tmp_path / "new"
    fill(
        old,
        {
            "kept": "1\n2\n3\n4\n5\n6\n7\n8\n9\n",
            "gone": "x\n",
            "né me": "a\nb\n",
            "bare": "no end",
            "crlf": "a\r\nb\r\n",
        },
    )
    fill(new, {"kept": "0\n1\n2\n3\n4\n5\n6\n7\n8\n", "né me": "a\nB\n", "bare": "no end\n", "crlf": "a\r\nc\r\n"})
    fill(new, {"deep/new.sh": "#!/bin/sh\nexit", "empty": ""})
    (new / "deep/new.sh").chmod(0o755)
    shutil.copytree(old, box.root, dirs_exist_ok=True)
    result = await use(box, git_diff(tmp_path))
    assert result.error is ToolErrorKind.NONE, result.content
    found = {str(path.relative_to(box.root)): path for path in box.root.rglob("*") if path.is_file()}
    assert {name: path.read_bytes() for name, path in found.items()} == {
        str(path.relative_to(new)): path.read_bytes() for path in new.rglob("*") if path.is_file()
    }
    assert found["deep/new.sh"].stat().st_mode & 0o100


async def test_a_rename(box: Folder) -> None:
    fill(box.root, {"old.py": "a\nb\n"})
    head = "diff --git a/old.py b/new.py\nsimilarity index 50%\nrename from old.py\nrename to new.py\n"
    assert (await use(box, head)).content == "Renamed old.py to new.py: 0 hunks."
    assert {path.name: path.read_text() for path in box.root.iterdir()} == {"new.py": "a\nb\n"}


async def test_wrong_counts_and_line_numbers_do_no_harm(box: Folder) -> None:
    fill(box.root, {"f": "one\ntwo\nthree\n", "g": "x\r\ny\r\n"})
    patch = "--- a/f\n+++ b/f\n@@ -70,9 +70,1 @@ def f():\n one\n-two\n+2\n\n--- a/g\n+++ b/g\n@@ @@\n-y\n+z\n\n"
    assert (await use(box, patch)).content == "Changed f: 1 hunk.\nChanged g: 1 hunk."
    assert (box.root / "f").read_text() == "one\n2\nthree\n"
    assert (box.root / "g").read_bytes() == b"x\r\nz\r\n"


@pytest.mark.parametrize(
    ("patch", "kind", "words"),
    [
        ("*** Begin Patch", "bad_arguments", "no unified diff"),
        (
            "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-one\n+1\n@@ -3 +3 @@\n-two\n-tree\n",
            "no_match",
            "f, hunk 2 (@@ -3): its lines",
        ),
        ("--- a/f\n+++ b/f\n@@ -3 +3 @@\n-two\n-tree\n", "no_match", "then line 3 is 'three', not 'tree'"),
        ("--- a/d\n+++ b/d\n@@ @@\n-x\n+y\n", "no_match", "several places, on lines 1, 3"),
        ("--- a/zz\n+++ b/zz\n@@ @@\n-x\n+y\n", "not_found", "zz does not exist"),
        ("--- /dev/null\n+++ b/f\n@@ -0,0 +1 @@\n+y\n", "no_match", "f exists already"),
        ("--- a/f\n+++ /dev/null\n@@ -1 +0,0 @@\n-one\n", "no_match", "leaves 2 lines"),
        (
            "diff --git a/l b/l\nnew file mode 120000\n--- /dev/null\n+++ b/l\n@@ -0,0 +1 @@\n+f\n",
            "bad_arguments",
            "a link",
        ),
        ("diff --git a/b b/b\nGIT binary patch\n", "bad_arguments", "binary"),
    ],
)
async def test_all_or_nothing(box: Folder, patch: str, kind: str, words: str) -> None:
    files: dict[str, str | bytes] = {"f": "one\ntwo\nthree\n", "d": "x\ny\nx\n", "first": "1\n"}
    fill(box.root, files)
    good = "--- a/first\n+++ b/first\n@@ -1 +1 @@\n-1\n+2\n"
    result = await use(box, good + patch if kind != "bad_arguments" or "Begin" not in patch else patch)
    assert result.error == kind, result.content
    assert words in result.content
    assert {path.name: path.read_text() for path in box.root.iterdir()} == files


async def test_what_was_written_before_a_failure_is_put_back(box: Folder) -> None:
    class Full(Folder):
        async def write_file(self, path: str, data: bytes) -> None:
            if path == "b":
                raise OSError(28, "No space left on device")
            await super().write_file(path, data)

    fill(box.root, {"a": "1\n", "b": "1\n"})
    patch = "".join(f"--- a/{name}\n+++ b/{name}\n@@ -1 +1 @@\n-1\n+2\n" for name in "ab")
    result = await use(Full(box.root), patch)
    assert "nothing was changed: 'b': No space left on device" in result.content
    assert (box.root / "a").read_text() == "1\n"
