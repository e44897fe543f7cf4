"""Which sandboxes really work on this machine: a program that is installed may still be forbidden to work."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import pytest

from swarm.errors import SandboxError
from swarm.sandboxes.catalog import open_backend

Require = Callable[[object, str], None]


def _trouble(name: str) -> str:
    """Why a sandbox cannot be opened here, or nothing."""

    async def attempt() -> str:
        try:
            with tempfile.TemporaryDirectory() as lease:
                async with open_backend(name, Path(lease)):
                    return ""
        except SandboxError as error:
            return str(error)

    with ThreadPoolExecutor(1) as aside:  # the fixture may be asked for by a test that runs on a loop
        return aside.submit(anyio.run, attempt).result()


@pytest.fixture(scope="session")
def docker_box(docker_engine: str, require: Require) -> str:
    """The address of an engine that can run containers."""
    trouble = _trouble("docker")
    require(not trouble, f"docker does not work here: {trouble}")
    return docker_engine


@pytest.fixture(scope="session")
def bubblewrap_box(require: Require) -> None:
    trouble = _trouble("bubblewrap")
    require(not trouble, f"bubblewrap does not work here: {trouble}")


@pytest.fixture(scope="session")
def box(request: pytest.FixtureRequest) -> str:
    """The sandbox for whole runs: bubblewrap; where it does not work and nobody insists, none."""
    if os.environ.get("CI") != "true" and _trouble("bubblewrap"):
        return "process"
    request.getfixturevalue("bubblewrap_box")
    return "bubblewrap"
