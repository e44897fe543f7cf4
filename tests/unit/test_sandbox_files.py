"""Files that are written into a sandbox from outside, and who reads them inside."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import anyio
import pytest

from swarm.sandboxes.files import WorkspaceFiles
from swarm.types import ExecResult


async def _nothing(command: str, *, timeout: float = 0.0, stdin: bytes = b"", max_output: int = 0) -> ExecResult:
    raise AssertionError(command)


@pytest.mark.anyio
async def test_python_sees_a_module_that_was_written_again_at_once(tmp_path: Path) -> None:
    """Its bytecode is taken for that of the source where size and whole second of change are the same."""
    files = WorkspaceFiles(tmp_path, "/workspace", _nothing)
    command = [sys.executable, "-c", "import told; print(told.NUMBER)"]
    for number in ("1", "2", "33", "4"):
        await files.write("told.py", f"NUMBER = {number}\n".encode())
        if len(number) == 1:  # the long one is never compiled
            found = await anyio.run_process(command, cwd=tmp_path, env={"PYTHONDONTWRITEBYTECODE": ""})
            assert found.stdout.decode() == f"{number}\n"


@pytest.mark.anyio
async def test_only_the_bytecode_of_that_module_is_removed(tmp_path: Path) -> None:
    files = WorkspaceFiles(tmp_path, "/workspace", _nothing)
    cache, away = tmp_path / "a/__pycache__", tmp_path / "away"
    cache.mkdir(parents=True)
    away.mkdir()
    second = int(time.time()) + 60
    head = b"\xa7\r\r\n" + bytes(4) + second.to_bytes(4, "little") + bytes(4)
    for folder in (cache, away):
        for name in ("told.cpython-311.pyc", "told.cpython-311.opt-1.pyc", "told_too.cpython-311.pyc", "told.txt"):
            (folder / name).write_bytes(head)
        other = head[:8] + bytes(8)  # of another time, such as one that is tracked
        (folder / "told.cpython-39.pyc").write_bytes(other)
    await files.write("a/told.py", b"1")
    os.utime(tmp_path / "a/told.py", (second, second))
    assert len(list(cache.iterdir())) == 5, "it was not there before: what is compiled is another's"
    await files.write("a/told.py", b"2")
    assert sorted(path.name for path in cache.iterdir()) == [
        "told.cpython-39.pyc",
        "told.txt",
        "told_too.cpython-311.pyc",
    ]
    (tmp_path / "__pycache__").symlink_to(away)
    await files.write("told.py", b"1")
    os.utime(tmp_path / "told.py", (second, second))
    await files.write("told.py", b"2")
    assert len(list(away.iterdir())) == 5, "no link is followed"
