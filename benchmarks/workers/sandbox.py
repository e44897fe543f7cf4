"""Ours: starting a sandbox, and a command in one that runs.

python -m benchmarks.workers.sandbox start|exec|pool docker|bubblewrap|process COUNT
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio

from benchmarks.workers.timing import PAUSE_S, WARM, summed
from swarm.places.pool import Pool
from swarm.places.shown import Showing, Shown
from swarm.places.workshop import Workshop
from swarm.protocols import SandboxBackend
from swarm.sandboxes.catalog import open_backend
from swarm.sandboxes.docker.backend import HOST_IMAGE
from swarm.types import SandboxRequest
from swarm.wiring import working_copies

Work = Callable[[SandboxBackend, Path, int], Awaitable[dict[str, float]]]


def _request(folder: Path, name: str) -> SandboxRequest:
    workspace = folder / name
    workspace.mkdir()
    return SandboxRequest("benchmark", name, folder, workspace, "/workspace")


async def start(backend: SandboxBackend, folder: Path, count: int) -> dict[str, float]:
    """One after the other: until its first command has answered, and until it is gone. The first is not counted."""
    ready: list[float] = []
    gone: list[float] = []
    for number in range(count + 1):
        began = time.perf_counter()
        async with backend.open(_request(folder, f"w{number}")) as sandbox:
            await sandbox.exec("true")
            ready.append(time.perf_counter() - began)
            began = time.perf_counter()
        gone.append(time.perf_counter() - began)
    return {"ready_ms": 1000 * statistics.median(ready[1:]), "gone_ms": 1000 * statistics.median(gone[1:])}


async def pool(backend: SandboxBackend, folder: Path, count: int) -> dict[str, float]:
    """The same where a pool has them ready, as it has in a run while agents wait for models."""
    copies = await working_copies(backend, folder, None)
    workshop = Workshop("benchmark", folder, backend, copies, None, "/workspace", Showing.of(Shown()))
    kept = Pool(workshop, count)
    ready: list[float] = []
    async with anyio.create_task_group() as places:
        kept.open_in(places)
        kept.expect(count, None)
        await kept.filled()
        for number in range(count):
            began = time.perf_counter()
            async with kept.take(str(number), None) as place:
                await place.sandbox.exec("true")
                ready.append(time.perf_counter() - began)
        places.cancel_scope.cancel()
    return {"ready_ms": 1000 * statistics.median(ready)}  # it is removed meanwhile


async def run_commands(backend: SandboxBackend, folder: Path, count: int) -> dict[str, float]:
    """`true` in a sandbox that runs, with a pause between, as between the tool calls of an agent."""
    times: list[float] = []
    async with backend.open(_request(folder, "workspace")) as sandbox:
        for _ in range(WARM + count):
            await anyio.sleep(PAUSE_S)
            began = time.perf_counter()
            await sandbox.exec("true")
            times.append(time.perf_counter() - began)
    return summed(times)


async def main(what: str, kind: str, count: int) -> None:
    work: dict[str, Work] = {"start": start, "pool": pool, "exec": run_commands}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        folder.chmod(0o711)
        async with open_backend(kind, folder, image=HOST_IMAGE) as backend:
            found = await work[what](backend, folder, count)
    print(json.dumps(found))


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]))
