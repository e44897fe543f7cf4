"""What all tests share."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import socket
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from swarm.removal import remove_tree
from tests import effort
from tests.warm import Warm, warm_servers

pytest_plugins = ("tests.docker_engine", "tests.llama_cpp", "tests.sandboxes_here")
effort.load_profile()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported and collected stays: the garbage collector need not go through it, neither now nor in a test."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def skip_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets so many seconds have passed on the running event loop: a time limit strikes when the test says so, and may
    well be longer than what comes before takes on any machine."""

    def skip(seconds: float) -> None:
        loop = asyncio.get_running_loop()
        time = loop.time
        monkeypatch.setattr(loop, "time", lambda: time() + seconds)

    return skip


@pytest.fixture
def free_port() -> int:
    """A port of the loopback that nobody has, below those that the kernel gives to whoever connects or asks for any."""
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.SystemRandom().randrange(10_000, first) if first > 20_000 else 0
        with socket.socket() as held:
            try:
                held.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(held.getsockname()[1])


@pytest.fixture
def deep_path(tmp_path: Path) -> Iterator[Path]:
    """The test's own folder, for trees that are too deep for pytest's clean-up: empty afterwards in any case."""
    yield tmp_path
    remove_tree(tmp_path)


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    """Starts `swarm` without the time that its imports take."""
    base = tmp_path_factory.getbasetemp()
    with warm_servers(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) as warm:  # all workers' folder
        yield warm


Require = Callable[[object, str], None]


@pytest.fixture(scope="session")
def require() -> Require:
    """Skip a test whose real part is missing here; under CI=true that is a failure."""

    def check(present: object, reason: str) -> None:
        if present:
            return
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)

    return check
