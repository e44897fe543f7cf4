"""The Docker Engine of the tests: the one that is reachable, else a private one, stopped again at the end."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest
import requests

Require = Callable[[object, str], None]

_START_S = 60.0
_STOP_S = 30.0


@pytest.fixture(scope="session")
def docker_engine(require: Require) -> Iterator[str]:
    """The address of an engine, also set as DOCKER_HOST for the length of the session."""
    usual = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    if _answers(usual):
        yield usual
        return
    dockerd = shutil.which("dockerd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    require(dockerd and os.geteuid() == 0, "no Docker Engine answers, and none can be started (root and dockerd)")
    assert dockerd is not None
    # A short path: the engine makes sockets below it.
    folder = Path(tempfile.mkdtemp(prefix="swarm-engine-", dir="/tmp"))
    address = f"unix://{folder}/docker.sock"
    with (folder / "log").open("wb") as log:
        engine = subprocess.Popen(
            [
                dockerd,
                *("--data-root", str(folder / "data"), "--exec-root", str(folder / "exec")),
                *("--pidfile", str(folder / "pid"), "-H", address),
                *("--bridge=none", "--iptables=false", "--ip-forward=false"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    before = os.environ.get("DOCKER_HOST")
    try:
        ready = _wait_until_ready(engine, address)
        tail = "" if ready else (folder / "log").read_text(errors="replace")[-400:]
        require(ready, f"dockerd does not come up: {tail}")
        os.environ["DOCKER_HOST"] = address
        yield address
    finally:
        os.environ.pop("DOCKER_HOST", None)
        if before is not None:
            os.environ["DOCKER_HOST"] = before
        engine.terminate()
        try:
            engine.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            engine.kill()
            engine.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_ready(engine: subprocess.Popen[bytes], address: str) -> bool:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if _answers(address):
            return True
        try:
            engine.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
        return False
    return False


def _answers(address: str) -> bool:
    with socket.socket(socket.AF_UNIX) as knock:  # the docker package leaks one where nobody answers
        try:
            if address.startswith("unix://"):
                knock.connect(address.removeprefix("unix://"))
            client = docker.DockerClient(address, timeout=5)
        except (OSError, docker.errors.DockerException, requests.RequestException):
            return False
    try:
        return bool(client.ping())
    except (docker.errors.DockerException, requests.RequestException):
        return False
    finally:
        client.close()
