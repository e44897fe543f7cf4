"""Files that are written into a sandbox from outside, and who reads them inside."""

from __future__ import annotations

import sys
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
    for number in (1, 2, 3):
        await files.write("told.py", f"NUMBER = {number}\n".encode())
        if number != 2:  # the second is never compiled
            found = await anyio.run_process(command, cwd=tmp_path, env={"PYTHONDONTWRITEBYTECODE": ""})
            assert found.stdout.decode() == f"{number}\n"
    seconds = int((tmp_path / "told.py").stat().st_mtime)
    await files.write("told.py", b"NUMBER = 4\n")
    assert int((tmp_path / "told.py").stat().st_mtime) > seconds
