"""Rows about sandboxes: starting one and removing it, and a command in one that runs."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from benchmarks.record import Figure
from benchmarks.shape import Competitor, Measure, Place, Row, Taken, child


def _engine(place: Place) -> str:
    return "" if place.engine else "no Docker Engine answers, and none can be started (that takes root and dockerd)"


def _docker_cli(place: Place) -> str:
    return _engine(place) or ("" if shutil.which("docker") else "there is no docker command")


def _bwrap(place: Place) -> str:
    return "" if shutil.which("bwrap") else "bubblewrap is not installed"


_START = (Figure("ready_ms", "ready, ms"), Figure("gone_ms", "removed, ms"))
_EXEC = (Figure("median_ms", "ms"), Figure("p90_ms", "9 of 10 below, ms"))
_DOCKER = (
    Competitor("swarm", "swarm docker", "ours", missing=_engine),
    Competitor("api", "the engine's API by hand", "floor", missing=_engine),
    Competitor("docker-py", "docker-py", "peer", "docker-py", _engine),
    Competitor("cli", "docker run / exec / rm", "peer", missing=_docker_cli),
)
_POOL = Competitor("swarm-pool", "swarm docker, from the pool", "ours", missing=_engine)
_MINI = Competitor("mini-swe-agent", "mini-swe-agent's Docker environment", "peer", "mini-swe-agent", _docker_cli)
_INSIDE = (
    Competitor("held-container", "a bare shell held open in it", "floor", missing=_docker_cli),
    _MINI,
    Competitor("swe-rex-execute", "SWE-ReX execute", "peer", "swe-rex", _engine),
    Competitor("swe-rex-session", "SWE-ReX run_in_session", "peer", "swe-rex", _engine),
)
_LOCAL = (
    Competitor("swarm-bubblewrap", "swarm bubblewrap", "ours", missing=_bwrap),
    Competitor("swarm-process", "swarm process", "ours"),
    Competitor("held-bwrap", "a bare shell held open in bubblewrap", "floor", missing=_bwrap),
    Competitor("held", "a bare shell held open", "floor"),
    Competitor("fresh-shell", "subprocess: sh -c, no sandbox", "floor"),
    Competitor("bwrap", "subprocess: bwrap ... sh -c", "peer", missing=_bwrap),
    Competitor("login-shell", "subprocess: bash -lc, no sandbox", "floor"),
)
_OURS = {
    "swarm": ("docker", "start"),
    "swarm-pool": ("docker", "pool"),
    "swarm-bubblewrap": ("bubblewrap", "start"),
    "swarm-bubblewrap-pool": ("bubblewrap", "pool"),
    "swarm-process": ("process", "start"),
}


def _row(what: str, count: int, quick_count: int, docker: bool) -> Callable[[Place], AbstractContextManager[Measure]]:
    @contextmanager
    def opened(place: Place) -> Iterator[Measure]:
        size = quick_count if place.quick else count
        shown = _shown(place) if docker and place.engine else {}

        def measure(competitor: Competitor, number: int) -> Taken:
            words: tuple[str, ...]
            if competitor.kind == "ours":
                kind, start = _OURS[competitor.name]
                words = ("benchmarks.workers.sandbox", start if what == "start" else "exec", kind, str(size))
            elif competitor.environment == "swe-rex":
                kind = competitor.name.removeprefix("swe-rex-")
                words = ("benchmarks.workers.swe_rex", kind, str(size), json.dumps(shown))
            else:
                words = ("benchmarks.workers.containers", what, competitor.name, str(size), json.dumps(shown))
            return child(place, competitor, words)

        yield measure

    return opened


def _shown(place: Place) -> dict[str, object]:
    """The image of mount points and the folders of this machine that ours shows in it: the same for everybody."""
    import docker

    from swarm.sandboxes.docker.images import ensure_host
    from swarm.sandboxes.host_root import find_host_root

    host = find_host_root()
    client = docker.DockerClient(place.engine)
    try:
        image = ensure_host(client, host, os.getuid(), os.getgid())
    finally:
        client.close()
    return {"image": image, "binds": [str(path) for path in host.binds]}


_SAME = "All containers have the same image and see the same folders of this machine."
ROWS = (
    Row(
        "start-docker",
        "Starting a container and removing it",
        f"{_SAME} One at a time: until its first command has answered, and until it is gone. Ours is also locked down "
        "and proves so from inside; the others are as they come, without a network.",
        _START,
        (*_DOCKER[:1], _POOL, *_DOCKER[1:], _MINI),
        _row("start", 3, 1, True),
    ),
    Row(
        "start-local",
        "Starting a sandbox without containers and removing it",
        "As above. A subprocess is no sandbox: it is what is paid for nothing.",
        _START,
        (
            _LOCAL[0],
            Competitor("swarm-bubblewrap-pool", "swarm bubblewrap, from the pool", "ours", missing=_bwrap),
            _LOCAL[1],
            *_LOCAL[4:],
        ),
        _row("start", 5, 2, False),
    ),
    Row(
        "exec-docker",
        "A command in a running container",
        f"{_SAME} `true`, with a pause of 10 ms before each, as between the tool calls of an agent.",
        _EXEC,
        (*_DOCKER, *_INSIDE),
        _row("exec", 40, 10, True),
    ),
    Row(
        "exec-local",
        "A command in a running sandbox without containers",
        "As above. A bare shell keeps no streams apart, has no time limit, and hands its state on to the next command.",
        _EXEC,
        _LOCAL,
        _row("exec", 60, 10, False),
    ),
)
