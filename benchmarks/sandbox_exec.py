"""What one command in a running sandbox costs, in one run: our backends, raw ways into a container, a bare shell.

    python benchmarks/sandbox_exec.py [--rounds 60] [--pause 0.02]

Each round runs `true` once by every way, with a pause before each so that what was started ahead is ready, as it is
between the tool calls of an agent. `back to back` is the same without pauses. Medians in ms, and how many times faster
than the Docker command line. Without an engine (DOCKER_HOST) the rows of Docker are left out.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import anyio

from swarm.errors import SandboxError
from swarm.sandboxes.catalog import open_backend
from swarm.types import SandboxRequest

Way = Callable[[], Awaitable[object]]
_BATCH = 20


async def main(rounds: int, pause: float) -> None:
    async with AsyncExitStack() as stack:
        ways = await _ways(stack)
        for _ in range(3):
            for way in ways.values():
                await way()
        paced = await _measure(ways, rounds, pause)
        packed = await _measure(ways, max(3, rounds // _BATCH), 0.0, batch=_BATCH)
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, {rounds} rounds")
    print(f"{'way':32} {'median':>8} {'min':>8} {'p90':>8} {'back to back':>13} {'ratio':>7}")
    slowest = statistics.median(paced["docker exec (CLI)"]) if "docker exec (CLI)" in paced else None
    for name, times in paced.items():
        middle = statistics.median(times)
        ratio = f"{slowest / middle:.1f}x" if slowest else ""
        p90 = statistics.quantiles(times, n=10)[-1]
        row = f"{name:32} {middle:8.2f} {min(times):8.2f} {p90:8.2f}"
        print(f"{row} {statistics.median(packed[name]):13.2f} {ratio:>7}")


async def _measure(ways: dict[str, Way], rounds: int, pause: float, *, batch: int = 1) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            await anyio.sleep(pause)
            for _ in range(batch):
                started = time.perf_counter()
                await way()
                found[name].append((time.perf_counter() - started) * 1000)
    return found


async def _ways(stack: AsyncExitStack) -> dict[str, Way]:
    ways: dict[str, Way] = {}
    for name in ("process", "bubblewrap", "docker"):
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        try:
            backend = await stack.enter_async_context(open_backend(name, folder))
        except SandboxError as error:
            print(f"left out: {name}: {error.message}")
            continue
        workspace = folder / "workspace"
        workspace.mkdir()
        request = SandboxRequest("benchmark", "benchmark", folder, workspace, "/workspace")
        sandbox = await stack.enter_async_context(backend.open(request))
        ways[f"swarm {name}"] = partial(sandbox.exec, "true")
        if name == "docker":
            ways |= _raw_docker(stack, sandbox.id)
    ways["subprocess: sh -c"] = partial(anyio.run_process, ["sh", "-c", "true"])
    shell = await anyio.open_process(["sh"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    stack.push_async_callback(shell.aclose)
    ways["bare persistent sh over pipes"] = partial(_told, shell)
    ways["same, a fresh sh each"] = partial(_told, shell, "sh -c true")
    if shutil.which("bash"):
        ways["same, a fresh bash each"] = partial(_told, shell, "bash -c true")
    return ways


async def _told(shell: anyio.abc.Process, command: str = "true") -> None:
    """The least that a persistent shell can do: no streams apart, no time limit, no protection of the next command."""
    assert shell.stdin is not None and shell.stdout is not None
    await shell.stdin.send(f"{command}; echo $?\n".encode())
    await shell.stdout.receive()


def _raw_docker(stack: AsyncExitStack, container: str) -> dict[str, Way]:
    import docker

    client = docker.from_env()
    stack.callback(client.close)
    running = client.containers.get(container)
    ways: dict[str, Way] = {
        "docker-py exec_run": lambda: anyio.to_thread.run_sync(running.exec_run, ["sh", "-c", "true"])
    }
    if shutil.which("docker"):
        ways["docker exec (CLI)"] = partial(anyio.run_process, ["docker", "exec", container, "sh", "-c", "true"])
    return ways


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=60, help="how often each way is taken")
    parser.add_argument("--pause", type=float, default=0.02, help="seconds before each command")
    options = parser.parse_args()
    anyio.run(main, options.rounds, options.pause)
