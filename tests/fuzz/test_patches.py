"""Patches, and what git prints and keeps: names of any bytes, hunks that are none, indexes that were tampered with."""

from __future__ import annotations

import contextlib
import hashlib
import re
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from swarm import hunks
from swarm.errors import MachineError
from swarm.evals.swebench.predictions import changed_path, parts_of, without
from swarm.report.blobs import Blobs
from swarm.report.patches import shown
from swarm.sandboxes.git import attributes, ignoring, index
from swarm.tools.patching import PatchProblem, parse_patch, patched
from tests.effort import examples
from tests.fuzz.hostile import DIGITS, grows_in_step, mutated

PATCHES = [
    b"diff --git a/x b/x\nindex 1..2 100644\n--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@ def f():\n a\n-b\n+c\n d\n",
    b"diff --git a/n b/n\nnew file mode 100644\n--- /dev/null\n+++ b/n\n@@ -0,0 +1 @@\n+x\n"
    b"\\ No newline at end of file\n",
    b'diff --git "a/\\303\\244 \\"q" "b/\\303\\244 \\"q"\ndeleted file mode 100644\n'
    b'--- "a/\\303\\244 \\"q"\n+++ /dev/null\n',
    b"diff --git a/o b/p\nsimilarity index 90%\nrename from o\nrename to p\nnew mode 100755\n",
    b"--- a/f\t2020-01-01\n+++ b/f\t2020-01-01\n@@ -2 +2 @@\r\n-x\r\n+y\r\n@@ @@\n a\n",
    b"diff --git a/b b/b\nGIT binary patch\nliteral 0\nHcmV?d00001\n",
]
TOKENS = (b"@@ -1 +1 @@\n", b"\\9", b'"', b"--- ", b"+++ ", b"@@", b"\\ ", b"\n\n\n", b"a/", DIGITS.encode(), b"\r")


@settings(max_examples=examples(120))
@given(mutated(PATCHES, TOKENS))
@example(b'diff --git "a/\\9" "b/\\9"\n')
@example(b'diff --git "a/\\8x" "b/\\8x"\n--- "a/\\')
@example(b"diff --git a/x b/x\n@@ -" + DIGITS.encode() + b" +1 @@\n x\n")
@example(b"diff --git a/x b/x\n@@ -1,999999999 +1,999999999 @@\n x\n")
@example(b'diff --git "a/\\\xff" "b/\\\xff"\n')
def test_a_patch_of_any_bytes_is_shown_and_taken_apart(data: bytes) -> None:
    files = hunks.parse(data)
    shown(files, "", Blobs())
    assert sum(len(hunk.lines) for file in files for hunk in file.hunks) <= data.count(b"\n") + 1
    assert b"".join(parts_of(data)) == data
    for part in parts_of(data):
        changed_path(part)
    without(data, [b"a/", b"x"])


@settings(max_examples=examples(120))
@given(mutated(PATCHES, TOKENS), st.sampled_from(["a\nb\nd\n", "", "a\r\nb\r\nd\r\n", "x"]))
@example(b"--- a/f\n+++ b/f\n@@ -" + DIGITS.encode() + b",1 +1,1 @@\n-a\n+b\n", "a\n")
@example(b'--- "a/\\400"\n+++ "b/\\400"\n@@ -1 +1 @@\n-a\n+b\n', "a\n")
@example(b'--- "a/\0"\n+++ "b/\0"\n@@ -1 +1 @@\n-a\n+b\n', "a\n")
def test_a_models_patch_is_applied_or_refused(data: bytes, text: str) -> None:
    with contextlib.suppress(PatchProblem):
        for patch in parse_patch(data.decode("utf-8", "replace")):
            patched(text, patch)


def test_work_grows_with_the_patch_and_no_faster() -> None:
    head = "--- a/f\n+++ b/f\n@@ -1 +1 @@\n"

    def blank_lines(n: int) -> Any:
        return lambda: parse_patch(head + "-a\n" + "\n" * n + "+b\n")

    def files(n: int) -> Any:
        return lambda: parse_patch((head + "-a\n+b\n") * n)

    def nearly(n: int) -> Any:
        (patch,) = parse_patch(head + "-a\n" * n + "-b\n")

        def run() -> None:
            with pytest.raises(PatchProblem):
                patched("a\n" * n, patch)

        return run

    def many_hunks(n: int) -> Any:
        return lambda: hunks.parse(PATCHES[0] + b"@@ -1 +1 @@\n-a\n+b\n" * n)

    makes = (blank_lines, files, nearly, many_hunks)
    grown = {make.__name__: grows_in_step(make, 300) for make in makes}
    assert grown == {make.__name__: True for make in makes}


def entry(path: bytes, mode: int = 0o100644, flags: int = 0) -> bytes:
    whole = struct.pack(">10L", 1, 2, 3, 4, 5, 6, mode, 7, 8, 9) + b"\1" * 20 + struct.pack(">H", flags) + path
    return whole + b"\0" * (8 - len(whole) % 8)


def written(folder: Path, body: bytes, count: int) -> Path:
    data = struct.pack(">4sLL", b"DIRC", 2, count) + body
    path = folder / "index"
    path.write_bytes(data + hashlib.sha1(data).digest())
    return path


@settings(max_examples=examples(60))
@given(mutated([entry(b"a.py") + entry(b"b/c") + entry(b"sub", 0o160000)]), st.sampled_from([0, 1, 3, 2**32 - 1]))
@example(b"", 5)
@example(entry(b"x")[:-4], 1)
def test_an_index_that_was_tampered_with_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, body: bytes, count: int
) -> None:
    folder = tmp_path_factory.getbasetemp() / "index"
    folder.mkdir(exist_ok=True)
    path = written(folder, body, count)
    with contextlib.suppress(MachineError):
        files, links = index.listed(path)
        assert len(files) + len(links) <= max(1, len(body) // 62)
    with contextlib.suppress(MachineError):
        index.restat(path, folder)


@settings(max_examples=examples(60))
@given(mutated([b"*.py text eol=lf\n[attr]m filter=x\n# c\n", b'"a b" -text\n!x binary\n\\#y ident\n']))
@example(b'"' + b"\\" * 20_000)
@example(b" \t" * 20_000 + b"x")
@example(b"[attr]filter=x\n[attr]-m text\nfilter=x text\n* filter=x")
def test_attributes_of_any_bytes_are_moved_or_left_out(data: bytes) -> None:
    macros: set[bytes] = set()
    for line in data.split(b"\n"):
        for folder in (b"", b"a/b*"):
            moved = attributes._moved(line, folder, macros)
            assert moved.count(b"\n") <= 1
            said = re.sub(rb'^(?:"(?:[^"\\]|\\.)*"|[^ ]+)', b"", moved)
            assert b"filter=" not in said.replace(b"filter=lfs", b"")
            assert not moved.startswith(b"[attr]") or re.fullmatch(rb"\[attr\][\w.][\w.-]*( .*)?\n", moved)
        ignoring._moved(b"a", line)
