"""Starting many sandboxes at once, and what one costs in memory while it waits, in one run.

    swarm image build            # once: an image for ours and for the raw containers
    python -m benchmarks.studies.sandbox_start [--count 50] [--flight 8] [--rounds 3] [--image NAME] [--json FILE]

Each round starts COUNT sandboxes of each backend, cold, FLIGHT at a time, until each has proved from inside that it is
closed; then removes them. `pool`: the time in which as many takers get sandboxes that a pool has kept ready (a run's
keeps 16 at most and fills up meanwhile; here all are there). Beside them, as floors: containers by the engine's bare
API (created and started, nothing looked at), and `bwrap true`. Medians over the rounds in seconds; ms a sandbox.
Memory, in MB for one idle sandbox: PSS of its processes (for docker those of the container), what runs beside them on
the host (the container's shim, bubblewrap's outer half), and what its cgroup counts, page cache included.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.to_thread

from benchmarks.peers.raw_docker import RawEngine, newest_image
from benchmarks.studies.measure import machine, save
from swarm.errors import SandboxError
from swarm.places.pool import Pool
from swarm.places.shown import Showing, Shown
from swarm.places.workshop import Workshop
from swarm.protocols import SandboxBackend
from swarm.sandboxes.catalog import open_backend
from swarm.sandboxes.docker.backend import HOST_IMAGE
from swarm.types import SandboxRequest
from swarm.wiring import working_copies

One = Callable[[int], AbstractAsyncContextManager[None]]


@dataclass
class Row:
    """What was measured of one way. `memory`: MB of one sandbox inside, beside it, and by its cgroup."""

    ready_s: list[float] = field(default_factory=list)
    gone_s: list[float] = field(default_factory=list)
    memory: list[tuple[float, float, float]] = field(default_factory=list)


Round = Callable[[Row], Awaitable[None]]


async def main(options: argparse.Namespace) -> None:
    rows: dict[str, Row] = {}
    async with AsyncExitStack() as stack:
        rounds: dict[str, Round] = {}
        image = options.image or await anyio.to_thread.run_sync(newest_image)
        for name in ("docker", "bubblewrap", "process"):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            folder.chmod(0o711)
            try:
                wanted = image or HOST_IMAGE if name == "docker" else HOST_IMAGE
                backend = await stack.enter_async_context(open_backend(name, folder, image=wanted))
            except SandboxError as error:
                print(f"left out: {name}: {error.message}")
                continue
            rounds[f"swarm {name}, cold"] = _ours(backend, folder, options)
            rounds[f"swarm {name}, pool"] = _pooled(backend, folder, options)
            if name == "docker" and image:
                rounds["engine API, containers"] = _containers(stack, image, options)
        if shutil.which("bwrap"):
            rounds["bwrap true"] = _bwrap(options)
        for _ in range(options.rounds):
            for name, once in rounds.items():
                await once(rows.setdefault(name, Row()))
    _print(rows, options)
    save(options.json, count=options.count, flight=options.flight, rows={name: vars(row) for name, row in rows.items()})


def _ours(backend: SandboxBackend, folder: Path, options: argparse.Namespace) -> Round:
    async def once(row: Row) -> None:
        opened: list[str] = []
        async with _many(options, lambda number: _sandbox(backend, folder, number, opened), row):
            row.memory.append(await anyio.to_thread.run_sync(_memory, backend.name, opened, folder))

    return once


def _pooled(backend: SandboxBackend, folder: Path, options: argparse.Namespace) -> Round:
    async def once(row: Row) -> None:
        copies = await working_copies(backend, folder, None)
        workshop = Workshop("benchmark", folder, backend, copies, None, "/workspace", Showing.of(Shown()))
        pool = Pool(workshop, options.count)
        async with anyio.create_task_group() as places:
            pool.open_in(places)
            pool.expect(options.count, None)
            await pool.filled()
            async with _many(options, lambda number: _taken(pool, number), row):
                pass
            places.cancel_scope.cancel()

    return once


@asynccontextmanager
async def _taken(pool: Pool, number: int) -> AsyncIterator[None]:
    async with pool.take(str(number), None):
        yield


@asynccontextmanager
async def _sandbox(backend: SandboxBackend, folder: Path, number: int, opened: list[str]) -> AsyncIterator[None]:
    workspace = folder / f"workspace-{number}"
    workspace.mkdir(exist_ok=True)
    request = SandboxRequest("benchmark", str(number), folder, workspace, "/workspace")
    async with backend.open(request) as sandbox:
        opened.append(sandbox.id)
        yield


def _containers(stack: AsyncExitStack, image: str, options: argparse.Namespace) -> Round:
    idle: list[RawEngine] = [RawEngine() for _ in range(options.flight)]
    for engine in idle:
        stack.callback(engine.close)

    @asynccontextmanager
    async def container(number: int) -> AsyncIterator[None]:
        name = await _with(idle, lambda engine: engine.start(image, ["sleep", "3600"]))
        try:
            yield
        finally:
            with anyio.CancelScope(shield=True):
                await _with(idle, lambda engine: engine.remove(name))

    async def once(row: Row) -> None:
        async with _many(options, container, row):
            pass

    return once


async def _with(idle: list[RawEngine], work: Callable[[RawEngine], str | None]) -> str:
    engine = idle.pop()
    try:
        return await anyio.to_thread.run_sync(work, engine) or ""
    finally:
        idle.append(engine)


def _bwrap(options: argparse.Namespace) -> Round:
    command = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "true"]

    @asynccontextmanager
    async def one(number: int) -> AsyncIterator[None]:
        await anyio.run_process(command)
        yield

    async def once(row: Row) -> None:
        async with _many(options, one, row):
            pass

    return once


@asynccontextmanager
async def _many(options: argparse.Namespace, one: One, row: Row) -> AsyncIterator[None]:
    """COUNT at once for the length of the block, started and removed FLIGHT at a time."""
    flight = anyio.CapacityLimiter(options.flight)
    ready, leave = anyio.Event(), anyio.Event()
    waiting = options.count

    async def hold(number: int) -> None:
        nonlocal waiting
        async with AsyncExitStack() as stack:
            async with flight:
                await stack.enter_async_context(one(number))
            waiting -= 1
            if waiting == 0:
                ready.set()
            await leave.wait()
            async with flight:
                await stack.aclose()

    started = time.perf_counter()
    async with anyio.create_task_group() as group:
        for number in range(options.count):
            group.start_soon(hold, number)
        await ready.wait()
        row.ready_s.append(time.perf_counter() - started)
        yield
        leave.set()
        started = time.perf_counter()
    row.gone_s.append(time.perf_counter() - started)


def _memory(kind: str, names: list[str], folder: Path) -> tuple[float, float, float]:
    """MB of one sandbox: inside, beside it, and by its cgroup."""
    parents = {pid: _parent(pid) for pid in _pids()}
    children: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        children.setdefault(parent, []).append(pid)
    inside = beside = counted = 0.0
    if kind == "docker":
        engine = RawEngine()
        for name in names:
            first = engine.first_process(name)
            inside += sum(map(_pss, _tree(first, children)))
            beside += _pss(parents.get(first, 0))
            counted += _cgroup(first)
        engine.close()
    else:
        for top in children.get(os.getpid(), []):
            tree = list(_tree(top, children))
            outer = [pid for pid in tree if _name(pid) == "bwrap"]
            beside += sum(map(_pss, outer))
            inside += sum(_pss(pid) for pid in tree if pid not in outer)
    count = max(1, len(names)) * 1e6
    return inside / count, beside / count, counted / count


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _tree(top: int, children: dict[int, list[int]]) -> Iterator[int]:
    yield top
    for child in children.get(top, []):
        yield from _tree(child, children)


def _read(pid: int, file: str) -> str:
    try:
        return Path(f"/proc/{pid}/{file}").read_text(errors="replace")
    except OSError:  # it has ended
        return ""


def _parent(pid: int) -> int:
    rest = _read(pid, "stat").rpartition(")")[2].split()
    return int(rest[1]) if rest else 0


def _name(pid: int) -> str:
    return _read(pid, "comm").strip()


def _pss(pid: int) -> float:
    lines = _read(pid, "smaps_rollup").splitlines()
    return next((float(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0.0)


def _cgroup(pid: int) -> float:
    """Bytes that the memory controller counts, in either version."""
    for line in _read(pid, "cgroup").splitlines():
        _, controllers, place = line.split(":", 2)
        old = Path(f"/sys/fs/cgroup/memory{place}/memory.usage_in_bytes")
        new = Path(f"/sys/fs/cgroup{place}/memory.current")
        file = old if "memory" in controllers.split(",") else new if not controllers else None
        if file is not None and file.exists():
            return float(file.read_text())
    return 0.0


def _print(rows: dict[str, Row], options: argparse.Namespace) -> None:
    print(f"{machine()}, {options.count} sandboxes, {options.flight} in flight, {options.rounds} rounds")
    print(f"{'way':28} {'ready s':>8} {'ms each':>8} {'gone s':>7} {'inside':>7} {'beside':>7} {'cgroup':>7}  MB")
    for name, row in rows.items():
        ready, gone = statistics.median(row.ready_s), statistics.median(row.gone_s)
        text = f"{name:28} {ready:8.3f} {ready * 1000 / options.count:8.2f} {gone:7.2f}"
        for values in zip(*row.memory, strict=True):
            text += f" {statistics.median(values):7.2f}"
        print(text)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=50, help="sandboxes at once")
    parser.add_argument("--flight", type=int, default=8, help="starts at once")
    parser.add_argument("--rounds", type=int, default=3, help="how often each way is taken")
    parser.add_argument("--image", help="image of the containers (default: the newest of `swarm image list`)")
    parser.add_argument("--json", metavar="FILE", help="write the raw figures")
    anyio.run(main, parser.parse_args())
