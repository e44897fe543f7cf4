"""The near end of `fault_probe.py`: a warm interpreter with pytest in it, asked for one run of some tests at a time."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from subprocess import PIPE
from typing import Any

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from swarm.errors import MachineError
from swarm.sandboxes.folders import private_folder


class Prober:
    """A warm interpreter that runs tests in forked children (see `fault_probe.py`)."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._stdin = process.stdin
        self._lines = BufferedByteReceiveStream(process.stdout)

    async def ask(
        self,
        *,
        tests: tuple[str, ...] = (),
        timeout: float,
        fault: tuple[Path, str] | None = None,
        package: str = "",
        part: tuple[int, int] = (0, 1),
    ) -> dict[str, Any]:
        """Run tests (none named: all). `fault` is a file and what it is to hold in place of its text.

        With `package`, a folder, the lines of it that each test runs are told; `part` (i, n) takes every n-th test
        file from the i-th on.

        Raises:
            MachineError: the interpreter cannot run pytest here.
        """
        path, source = (str(fault[0]), fault[1]) if fault else (None, "")
        request: dict[str, Any] = {"path": path, "source": source, "tests": tests, "timeout": timeout}
        request |= {"package": package or None, "part": part}
        try:
            await self._stdin.send(json.dumps(request).encode() + b"\n")
            reply: dict[str, Any] = json.loads(await self._lines.receive_until(b"\n", 1 << 28))
        except (anyio.IncompleteRead, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise MachineError(
                "the test interpreter ended early", remedy="check that `python -m pytest` works there"
            ) from error
        return reply


@asynccontextmanager
async def prober(root: Path, python: str) -> AsyncIterator[Prober]:
    """Start a prober for the tree at `root`; it, its children and their temporary files end with the block."""
    # Nothing is inherited: foreign tests need no keys. -P keeps this folder from being importable as top level.
    env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(root.parent), "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"}
    env["PYTEST_ADDOPTS"] = "-p no:langsmith_plugin"  # comes with langgraph, and takes a second to import
    command = [python, "-P", str(Path(__file__).resolve().with_name("fault_probe.py")), str(root)]
    async with AsyncExitStack() as stack:
        # A pytest that cleans up in the machine's own folder can stumble over what others left there.
        env["TMPDIR"] = str(await stack.enter_async_context(private_folder(root.parent, "probe")))
        opened = await anyio.open_process(command, stdin=PIPE, stdout=PIPE, stderr=None, env=env, cwd=root)
        process = await stack.enter_async_context(opened)
        try:
            yield Prober(process)
        finally:
            if process.returncode is None:
                process.terminate()
            with anyio.move_on_after(5, shield=True):
                await process.wait()
