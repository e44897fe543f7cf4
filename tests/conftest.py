"""What all tests share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from swarm.removal import remove_tree
from tests.warm import Warm, warm_servers

pytest_plugins = ("tests.docker_engine", "tests.llama_cpp", "tests.sandboxes_here")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def deep_path(tmp_path: Path) -> Iterator[Path]:
    """The test's own folder, for trees that are too deep for pytest's clean-up: empty afterwards in any case."""
    yield tmp_path
    remove_tree(tmp_path)


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """Starts `swarm` without the time that its imports take."""
    with warm_servers() as warm:
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
