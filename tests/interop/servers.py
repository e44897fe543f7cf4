"""Servers of other projects: each installed once into an environment of its own, run while it is needed."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

Require = Callable[[object, str], None]

CACHE = Path(__file__).parents[2] / ".cache" / "interop"
"""Kept, and ignored by git: the environments are large."""

INSTALL_S = 900.0
START_S = 180.0
_STOP_S = 10.0


def environment(
    name: str, packages: Sequence[str], require: Require, python: str = sys.executable, alone: Sequence[str] = ()
) -> Path:
    """The folder of programs of an environment with these packages, made where it is not there yet. `python` is an
    interpreter, or the version of one that uv looks for; those `alone` come without what they depend on."""
    wanted = hashlib.sha256("\n".join((sys.version, python, *packages, *alone)).encode()).hexdigest()[:12]
    folder = CACHE / f"{name}-{wanted}"
    if (folder / "made").exists():
        return folder / "bin"
    uv = _uv()
    require(uv, "uv is not installed (pip install uv): pip's resolver does not come to an end on these packages")
    shutil.rmtree(folder, ignore_errors=True)
    env = {"UV_SYSTEM_CERTS": "true", **os.environ}  # the machine's own certificates, as pip takes them
    # Where wheels lie on this machine, they are to be had; PyTorch's own index has those without CUDA.
    source = [f"--find-links={links}"] if (links := env.get("PIP_FIND_LINKS")) else ["--torch-backend=cpu"]
    install = ["pip", "install", "--quiet", f"--python={folder}/bin/python", *source]
    commands = [["venv", "--quiet", f"--python={python}", str(folder)], [*install, *packages]]
    for command in (*commands, *([[*install, "--no-deps", *alone]] if alone else [])):
        done = subprocess.run([*uv, *command], env=env, capture_output=True, text=True, timeout=INSTALL_S)
        if done.returncode != 0:  # a gigabyte of other people's packages: not every build machine reaches their indexes
            pytest.skip(f"{name} cannot be installed here: {done.stderr[-600:]}")
    (folder / "made").touch()
    return folder / "bin"


def _uv() -> list[str]:
    if importlib.util.find_spec("uv") is not None:
        return [sys.executable, "-m", "uv"]
    found = shutil.which("uv")
    return [found] if found else []


@contextmanager
def running(
    command: Sequence[str | Path], ready: str, *, folder: Path, require: Require, env: Mapping[str, str] | None = None
) -> Iterator[str]:
    """A server for the length of the block, once `ready` stands in what it writes; gives the line that it stands in."""
    folder.mkdir(parents=True, exist_ok=True)
    usual = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONUNBUFFERED": "1"}
    server = subprocess.Popen(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=folder,
        env={**usual, **(env or {})},
        text=True,
        errors="replace",
        start_new_session=True,
    )
    lines: list[str] = []
    seen = threading.Event()

    def read() -> None:
        assert server.stdout is not None
        for line in server.stdout:
            lines.append(line.rstrip())
            if ready in line:
                seen.set()
        seen.set()  # it has ended

    reader = threading.Thread(target=read)
    reader.start()
    try:
        seen.wait(START_S)
        told = next((line for line in lines if ready in line), None)
        require(told is not None, f"{command[0]} does not come up: {' '.join(lines[-8:])[-800:]}")
        assert told is not None
        yield told
    finally:
        server.terminate()
        try:
            server.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        reader.join()
        if server.stdout is not None:
            server.stdout.close()
        (folder / "server.log").write_text("\n".join(lines))


@contextmanager
def embedded(policy: str, *, folder: Path, require: Require, key: str = "sk-embedded") -> Iterator[str]:
    """The embedded endpoint as a program, which wants `key`; gives its base URL."""
    command = [sys.executable, "-m", "swarm", "endpoint", "--policy", policy, "--api-key-env", "ENDPOINT_KEY"]
    env = {"ENDPOINT_KEY": key, "PYTHONPATH": str(Path(__file__).parents[2])}
    with running(command, "listening on", folder=folder, require=require, env=env) as line:
        yield line.rpartition(" ")[2]


def free_port() -> int:
    """A port that was free just now, for a server that cannot be asked which one it took."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
