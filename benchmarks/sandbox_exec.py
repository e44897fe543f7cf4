"""What one command in a running sandbox costs, in one run: our backends, raw ways into a container, bare shells, peers.

    swarm image build            # once: an image that we, the raw ways and the peers all run in
    python benchmarks/sandbox_exec.py [--rounds 60] [--pause 0.02] [--image NAME] [--peers] [--json FILE]

Each round runs `true` once by every way, with a pause before each so that what was started ahead is ready, as it is
between the tool calls of an agent. `back to back` is the same without pauses. Medians in ms, and how many times slower
than ours in the same place. Without an engine (DOCKER_HOST) the rows of Docker are left out; without `--peers`, which
installs mini-swe-agent and SWE-ReX into a cache folder, those that are not there. The raw ways, and the bare shells
`in the container`, use our own running container.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import tempfile
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
from measure import Way, in_turn, machine, save, spread
from peers import peers
from raw_docker import RawEngine, newest_image

from swarm.errors import SandboxError
from swarm.sandboxes.catalog import open_backend
from swarm.sandboxes.docker.backend import HOST_IMAGE
from swarm.types import SandboxRequest

_BATCH = 20


async def main(options: argparse.Namespace) -> None:
    async with AsyncExitStack() as stack:
        ways = await _ways(stack, options)
        for _ in range(3):
            for way in ways.values():
                await way()
        paced = await in_turn(ways, options.rounds, options.pause)
        packed = await in_turn(ways, max(3, options.rounds // _BATCH), 0.0, batch=_BATCH)
        where = machine()
    print(f"{where}, {options.rounds} rounds")
    print(f"{'way':36} {'median':>8} {'min':>8} {'p90':>8} {'back to back':>13} {'to ours':>8}")
    for name, times in paced.items():
        middle, least, p90 = spread(times)
        ours = next((row for row in (_ours(name), "swarm bubblewrap") if row in paced), name)
        ratio = middle / statistics.median(paced[ours])
        row = f"{name:36} {middle:8.2f} {least:8.2f} {p90:8.2f}"
        print(f"{row} {statistics.median(packed[name]):13.2f} {ratio:7.1f}x")
    save(options.json, rounds=options.rounds, pause_s=options.pause, paced_ms=paced, back_to_back_ms=packed)


def _ours(name: str) -> str:
    """The row of ours that a way is compared with: that of the same place."""
    place = "process" if "host" in name else "bubblewrap" if "bubblewrap" in name else "docker"
    return name if name.startswith("swarm") else f"swarm {place}"


async def _ways(stack: AsyncExitStack, options: argparse.Namespace) -> dict[str, Way]:
    ways: dict[str, Way] = {}
    image = options.image or await anyio.to_thread.run_sync(newest_image)
    for name in ("process", "bubblewrap", "docker"):
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        try:
            wanted = image or HOST_IMAGE if name == "docker" else HOST_IMAGE
            backend = await stack.enter_async_context(open_backend(name, folder, image=wanted))
        except SandboxError as error:
            print(f"left out: {name}: {error.message}")
            continue
        workspace = folder / "workspace"
        workspace.mkdir()
        request = SandboxRequest("benchmark", "benchmark", folder, workspace, "/workspace")
        sandbox = await stack.enter_async_context(backend.open(request))
        ways[f"swarm {name}"] = partial(sandbox.exec, "true")
        if name == "docker":
            ways |= await _into_a_container(stack, sandbox.id)
    if "swarm docker" in ways and image:
        ways |= await peers(stack, image, install=options.peers)
    elif "swarm docker" in ways:
        print("left out: the peers: they need an image, make one with `swarm image build`")
    ways["subprocess on the host"] = partial(anyio.run_process, ["sh", "-c", "true"])
    ways["bare shell on the host"] = await _shell(stack, ["sh"])
    ways["same, a fresh sh each"] = await _shell(stack, ["sh"], "sh -c true")
    if shutil.which("bash"):
        ways["same, a fresh bash each, host"] = await _shell(stack, ["sh"], "bash -c true")
    if "swarm bubblewrap" in ways:
        command = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "sh"]
        ways["bare shell in bubblewrap"] = await _shell(stack, command)
    return ways


async def _into_a_container(stack: AsyncExitStack, container: str) -> dict[str, Way]:
    import docker

    client = docker.from_env()
    stack.callback(client.close)
    running = client.containers.get(container)
    raw = RawEngine()
    stack.callback(raw.close)
    command = ["sh", "-c", "true"]
    ways: dict[str, Way] = {
        "docker-py exec_run": lambda: anyio.to_thread.run_sync(running.exec_run, command),
        "engine API over its socket": lambda: anyio.to_thread.run_sync(raw.exec, container, command),
    }
    if shutil.which("docker"):
        ways["docker exec (CLI)"] = partial(anyio.run_process, ["docker", "exec", container, *command])
        inside = ["docker", "exec", "-i", container, "sh"]
        ways["bare shell in the container"] = await _shell(stack, inside)
        ways["same, a fresh sh each, container"] = await _shell(stack, inside, "sh -c true")
    return ways


async def _shell(stack: AsyncExitStack, command: list[str], told: str = "true") -> Way:
    """The least that a persistent shell can do: no streams apart, no time limit, no protection of the next command."""
    process = await anyio.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    stack.push_async_callback(process.aclose)
    assert process.stdin is not None and process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    async def once() -> None:
        await stdin.send(f"{told}; echo $?\n".encode())
        await stdout.receive()

    return once


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=60, help="how often each way is taken")
    parser.add_argument("--pause", type=float, default=0.02, help="seconds before each command")
    parser.add_argument("--image", help="image of the containers (default: the newest of `swarm image list`)")
    parser.add_argument("--peers", action="store_true", help="install what is missing of the peers")
    parser.add_argument("--json", metavar="FILE", help="write the raw figures")
    anyio.run(main, parser.parse_args())
