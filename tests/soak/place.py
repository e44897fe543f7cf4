"""Where a soak takes place: folders, a repository, an endpoint and a Docker Engine of its own, all gone at the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from swarm.removal import remove_tree
from tests.docker_engine import private_engine
from tests.soak.probe import Probe, children
from tests.soak.script import script


class Missing(Exception):
    """A part that is not on this machine."""


@dataclass(frozen=True, slots=True)
class Place:
    """`url`: of the endpoint. `engine`: the address of the engine, None without one."""

    folder: Path
    home: Path
    repo: Path
    url: str
    probe: Probe


@contextmanager
def open_place(folder: Path, fault_rate: float, seed: int, *, with_engine: bool) -> Iterator[Place]:
    """Make it; the environment names it for the length of the block. `folder` is new, and removed in the end."""
    with ExitStack() as stack:
        folder.mkdir(parents=True)
        stack.callback(remove_tree, folder)
        (folder / "tmp").mkdir()
        repo = _repository(folder / "repo")
        (folder / "script.json").write_text(json.dumps(script(fault_rate, seed)), encoding="utf-8")
        server, url = stack.enter_context(_endpoint(folder / "script.json"))
        others, engine = [server], None
        if with_engine:
            stack.enter_context(patch.dict(os.environ, PYTEST_DEBUG_TEMPROOT=str(folder)))
            engine = stack.enter_context(private_engine(_require)).address
        others += children(os.getpid(), frozenset(others))  # and those of whoever makes the soak
        home = folder / "home"
        names = {"SWARM_HOME": str(home), "TMPDIR": str(folder / "tmp"), "XDG_CONFIG_HOME": str(folder / "none")}
        stack.enter_context(patch.dict(os.environ, {**names, **({"DOCKER_HOST": engine} if engine else {})}))
        yield Place(folder, home, repo, url, Probe(folder, home, tuple(others), engine))


def _require(present: object, reason: str) -> None:
    if not present:
        raise Missing(reason)


def _repository(folder: Path) -> Path:
    folder.mkdir()
    (folder / "README").write_text("a repository\n" * 50, encoding="utf-8")
    (folder / "package").mkdir()
    for number in range(20):
        (folder / "package" / f"m{number}.py").write_text(f"VALUE = {number}\n" * 30, encoding="utf-8")
    who = ("-c", "user.name=soak", "-c", "user.email=soak@example.org")
    for words in (("init", "-q"), ("add", "."), (*who, "commit", "-q", "-m", "all")):
        subprocess.run(["git", "-C", str(folder), *words], check=True)
    return folder


@contextmanager
def _endpoint(policy: Path) -> Iterator[tuple[int, str]]:
    command = [sys.executable, "-m", "swarm", "endpoint", "--policy", f"script:{policy}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.pid, server.stdout.readline().split()[-1]
        finally:
            server.terminate()
