"""The Docker Engine of the tests: the one that is reachable, else a private one, stopped again at the end."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager, suppress
from pathlib import Path

import docker
import pytest
import requests

from swarm.sandboxes.leases.mounts import mounts_below, unmount

Require = Callable[[object, str], None]

_START_S = 180.0
_STOP_S = 60.0


class PrivateEngine:
    """An engine of our own, whose folder outlives its process: it can be killed and started again."""

    def __init__(self, program: str, folder: Path) -> None:
        self.address = f"unix://{folder}/docker.sock"
        self._program = program
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        # The engine ends with the thread that has started it: one that stays, whoever asks.
        self._starter = futures.ThreadPoolExecutor(1)

    def start(self) -> str:
        """Gives what is wrong, nothing where it answers."""
        self._process = self._starter.submit(self._begun).result()
        if _wait_until_ready(self._process, self.address):
            return ""
        return f"dockerd does not come up: {(self._folder / 'log').read_text(errors='replace')[-400:]}"

    def _begun(self) -> subprocess.Popen[bytes]:
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                [
                    *("setpriv", "--pdeathsig", "TERM"),  # with the tests, also where they are killed
                    self._program,
                    *("--data-root", str(self._folder / "data"), "--exec-root", str(self._folder / "exec")),
                    *("--pidfile", str(self._folder / "pid"), "-H", self.address),
                    *("--bridge=none", "--iptables=false", "--ip-forward=false"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self) -> None:
        """As if it had crashed: containers and what holds them stay, and so do its records of them."""
        assert self._process is not None
        below = self._folder / "exec/containerd/containerd.pid"
        containerd = os.pidfd_open(int(below.read_text()))
        try:
            self._process.kill()
            self._process.wait()
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(containerd, signal.SIGKILL)
            ended = select.poll()
            ended.register(containerd, select.POLLIN)
            assert ended.poll(_STOP_S * 1000)
        finally:
            os.close(containerd)
        below.unlink()
        (self._folder / "pid").unlink()

    def forget(self) -> None:
        """It has ended, and is not started again."""
        self._starter.shutdown()

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:  # or it has not come up; what it began is ended with its folder
            self._process.kill()
            self._process.wait()


@contextmanager
def private_engine(require: Require) -> Iterator[PrivateEngine]:
    """An engine that runs; skips the test where none can be started."""
    dockerd = shutil.which("dockerd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    able = dockerd and shutil.which("setpriv") and os.geteuid() == 0
    require(able, "no Docker Engine can be started (that takes root, dockerd and setpriv)")
    assert dockerd is not None
    # A short path: the engine makes sockets below it.
    folder = Path(tempfile.mkdtemp(prefix="swarm-engine-", dir=os.environ.get("PYTEST_DEBUG_TEMPROOT", "/tmp")))
    engine = PrivateEngine(dockerd, folder)
    try:
        trouble = engine.start()
        require(not trouble, trouble)
        yield engine
    finally:
        engine.stop()
        engine.forget()
        _clear(folder)


@pytest.fixture(scope="session")
def docker_engine(require: Require) -> Iterator[str]:
    """The address of an engine, also set as DOCKER_HOST for the length of the session."""
    usual = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    if answers(usual):
        yield usual
        return
    with private_engine(require) as engine, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", engine.address)
        yield engine.address


def _clear(folder: Path) -> None:
    """Remove an engine's folder, also where it was killed and not started again."""
    for shim in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"\0{folder}/exec/containerd/".encode() in (shim / "cmdline").read_bytes():
                os.kill(int(shim.name), signal.SIGKILL)
    for place in mounts_below(folder):
        unmount(place)
    shutil.rmtree(folder, ignore_errors=True)


def _wait_until_ready(engine: subprocess.Popen[bytes], address: str) -> bool:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if answers(address):
            return True
        try:
            engine.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
        return False
    return False


def answers(address: str) -> bool:
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
