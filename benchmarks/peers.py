"""Other projects' sandboxes, each from PyPI in a virtual environment of its own, made once under a cache folder.

SWE-ReX needs its server inside the container. Its virtual environment is made with the machine's `/usr/bin/python3` and
mounted read-only into a container with the same Python (an image of `swarm image build` on the same system) and the
host's network; its client is told where the server listens, which is its `RemoteDeployment`.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import anyio.to_thread
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream
from measure import Way
from raw_docker import RawEngine

_DRIVER = Path(__file__).with_name("peer_driver.py")
_READY_S = 120.0
_SYSTEM = "/usr/bin/python3"


async def peers(stack: AsyncExitStack, image: str, *, install: bool) -> dict[str, Way]:
    """The ways of the peers; what cannot be had is told and left out."""
    ways: dict[str, Way] = {}
    try:
        python = await anyio.to_thread.run_sync(_environment, "mini-swe-agent", install)
        ways["mini-swe-agent docker"] = await _driven(stack, python, "mini-swe-agent", image)
    except _Left as reason:
        print(f"left out: mini-swe-agent: {reason}")
    try:
        python = await anyio.to_thread.run_sync(_environment, "swe-rex", install)
        port, token = _serve(stack, python, image)
        for kind in ("execute", "session"):
            ways[f"SWE-ReX {kind}"] = await _driven(stack, python, f"swe-rex-{kind}", str(port), token)
    except _Left as reason:
        print(f"left out: SWE-ReX: {reason}")
    return ways


class _Left(Exception):
    """Why a peer is left out."""


_PACKAGES = {"mini-swe-agent": ["mini-swe-agent"], "swe-rex": ["swe-rex", "aiohttp"]}
"""aiohttp is needed by SWE-ReX, but not named by it."""


def _environment(package: str, install: bool) -> Path:
    """The Python of a peer's virtual environment."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "swarm-benchmarks"
    folder = cache / package
    python = folder / "bin/python"
    done = folder / "installed"
    if done.exists():
        return python
    if not install:
        raise _Left("not installed; run with --peers")
    maker = _SYSTEM if Path(_SYSTEM).exists() else sys.executable
    print(f"installing {package} into {folder}", file=sys.stderr)
    try:
        subprocess.run([maker, "-m", "venv", "--clear", str(folder)], check=True, capture_output=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *_PACKAGES[package]], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise _Left(f"it cannot be installed: {error}") from error
    done.touch()
    return python


def _serve(stack: AsyncExitStack, python: Path, image: str) -> tuple[int, str]:
    """SWE-ReX's own server in a container; where it listens and what opens it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    token = secrets.token_hex(8)
    folder = python.parents[1]
    engine = RawEngine()
    stack.callback(engine.close)
    command = [str(python), "-m", "swerex", "--host", "127.0.0.1", "--port", str(port), "--auth-token", token]
    try:
        binds = {"NetworkMode": "host", "Binds": [f"{folder}:{folder}:ro"]}
        container = engine.start(image, command, host=binds)
    except RuntimeError as error:
        raise _Left(str(error)) from error
    stack.callback(engine.remove, container)
    return port, token


async def _driven(stack: AsyncExitStack, python: Path, *words: str) -> Way:
    process = await anyio.open_process([python, str(_DRIVER), *words], stderr=subprocess.PIPE)
    stack.push_async_callback(_leave, process)
    assert process.stdin is not None and process.stdout is not None
    stdin, lines = process.stdin, BufferedByteReceiveStream(process.stdout)

    async def line() -> bytes:
        try:
            return await lines.receive_until(b"\n", 1 << 10)
        except (anyio.EndOfStream, anyio.IncompleteRead):
            assert process.stderr is not None
            raise _Left(f"it ended: {(await process.stderr.receive()).decode(errors='replace')[-400:]}") from None

    async def once() -> float:
        await stdin.send(b"true\n")
        return float(await line())

    with anyio.move_on_after(_READY_S):
        while await line() != b"ready":
            pass
        return once
    raise _Left(f"not ready within {_READY_S:.0f} s")


async def _leave(process: Process) -> None:
    """The end of its input is the end of its work; it removes its container itself."""
    with anyio.CancelScope(shield=True):
        assert process.stdin is not None
        await process.stdin.aclose()
        with anyio.move_on_after(20):
            await process.wait()
        await process.aclose()
