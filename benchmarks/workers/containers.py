"""Other ways to a container or a shell: the engine's bare API, docker-py, the CLI, bubblewrap, a subprocess, two peers.

python -m benchmarks.workers.containers start|exec WAY COUNT PLACE

PLACE is JSON: `image`, and `binds`, the folders of this machine that are shown read-only inside (as in ours).
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from benchmarks.peers.raw_docker import RawEngine
from benchmarks.workers.timing import timed

Exec = Callable[[], object]
_SLEEP = ["/bin/sleep", "3600"]
_TRUE = ["/bin/sh", "-c", "true"]
_BWRAP = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev"]


@contextmanager
def _container(image: str, binds: list[str]) -> Iterator[tuple[RawEngine, str]]:
    engine = RawEngine()
    container = engine.start(image, _SLEEP, host={"Binds": [f"{path}:{path}:ro" for path in binds]})
    try:
        yield engine, container
    finally:
        engine.remove(container)
        engine.close()


@contextmanager
def api(image: str, binds: list[str]) -> Iterator[Exec]:
    """HTTP over the engine's socket by hand."""
    with _container(image, binds) as (engine, container):
        yield lambda: _zero(engine.exec(container, _TRUE))


@contextmanager
def docker_py(image: str, binds: list[str]) -> Iterator[Exec]:
    """Its `containers.run` and `exec_run`."""
    import docker

    client = docker.from_env()
    volumes = [f"{path}:{path}:ro" for path in binds]
    container = client.containers.run(image, _SLEEP, detach=True, network_mode="none", volumes=volumes)
    try:
        yield lambda: _zero(container.exec_run(_TRUE).exit_code)
    finally:
        container.remove(force=True, v=True)
        client.close()


@contextmanager
def cli(image: str, binds: list[str]) -> Iterator[Exec]:
    """`docker run -d`, `docker exec`, `docker rm -f`."""
    volumes = [word for path in binds for word in ("-v", f"{path}:{path}:ro")]
    run = ["docker", "run", "-d", "--network", "none", *volumes, image, *_SLEEP]
    container = subprocess.run(run, check=True, capture_output=True, text=True).stdout.strip()
    try:
        yield lambda: subprocess.run(["docker", "exec", container, *_TRUE], check=True, capture_output=True)
    finally:
        subprocess.run(["docker", "rm", "-f", "-v", container], check=True, capture_output=True)


@contextmanager
def mini_swe_agent(image: str, binds: list[str]) -> Iterator[Exec]:
    """mini-swe-agent's Docker environment."""
    os.environ["MSWEA_SILENT_STARTUP"] = "1"
    from minisweagent.environments.docker import DockerEnvironment

    volumes = [word for path in binds for word in ("-v", f"{path}:{path}:ro")]
    place = DockerEnvironment(image=image, run_args=["--rm", "--network", "none", *volumes])

    def once() -> None:
        _zero(place.execute({"command": "true"})["returncode"])

    try:
        yield once
    finally:
        container = place.container_id
        place.container_id = None  # its own clean-up goes on in the background after this process
        subprocess.run(["docker", "rm", "-f", "-v", str(container)], check=True, capture_output=True)


@contextmanager
def fresh_shell(image: str, binds: list[str]) -> Iterator[Exec]:
    """A subprocess for each command on the host."""
    yield lambda: subprocess.run(["sh", "-c", "true"], check=True, capture_output=True)


@contextmanager
def login_shell(image: str, binds: list[str]) -> Iterator[Exec]:
    """`bash -lc` for each command on the host."""
    yield lambda: subprocess.run(["bash", "-lc", "true"], check=True, capture_output=True)


@contextmanager
def bwrap(image: str, binds: list[str]) -> Iterator[Exec]:
    """A new `bwrap` for each command."""
    yield lambda: subprocess.run([*_BWRAP, "sh", "-c", "true"], check=True, capture_output=True)


@contextmanager
def _held(command: list[str], told: str = "true") -> Iterator[Exec]:
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as shell:
        assert shell.stdin is not None and shell.stdout is not None
        stdin, stdout = shell.stdin, shell.stdout

        def once() -> None:
            stdin.write(f"{told}; echo $?\n".encode())
            stdin.flush()
            _zero(int(stdout.readline()))

        yield once
        stdin.close()


@contextmanager
def held_in_container(image: str, binds: list[str]) -> Iterator[Exec]:
    """A bare shell held open by `docker exec -i`."""
    with (
        _container(image, binds) as (_, container),
        _held(["docker", "exec", "-i", container, "/bin/sh"]) as once,
    ):
        yield once


@contextmanager
def held(image: str, binds: list[str]) -> Iterator[Exec]:
    """A bare shell held open on the host."""
    with _held(["sh"]) as once:
        yield once


@contextmanager
def held_in_bwrap(image: str, binds: list[str]) -> Iterator[Exec]:
    """A bare shell held open in bubblewrap."""
    with _held([*_BWRAP, "sh"]) as once:
        yield once


def _zero(code: object) -> None:
    if code != 0:
        raise RuntimeError(f"the command ended with {code}")


WAYS: dict[str, Any] = {
    "api": api,
    "docker-py": docker_py,
    "cli": cli,
    "mini-swe-agent": mini_swe_agent,
    "fresh-shell": fresh_shell,
    "login-shell": login_shell,
    "bwrap": bwrap,
    "held-container": held_in_container,
    "held": held,
    "held-bwrap": held_in_bwrap,
}


NOTHING_LEFT = (fresh_shell, login_shell, bwrap)
"""Each command is all there is: there is nothing to remove."""


def started(way: Any, image: str, binds: list[str], count: int) -> dict[str, float]:
    """One after the other: until its first command has answered, and until it is gone. The first is not counted."""
    ready: list[float] = []
    gone: list[float] = []
    for _ in range(count + 1):
        began = time.perf_counter()
        with way(image, binds) as once:
            once()
            ready.append(time.perf_counter() - began)
            began = time.perf_counter()
        gone.append(time.perf_counter() - began)
    found = {"ready_ms": 1000 * statistics.median(ready[1:])}
    return found if way in NOTHING_LEFT else {**found, "gone_ms": 1000 * statistics.median(gone[1:])}


def main(what: str, name: str, count: int, image: str = "", binds: list[str] | None = None) -> None:
    way = WAYS[name]
    answers = os.dup(1)  # what a peer prints goes to standard error
    os.dup2(2, 1)
    if what == "start":
        found = started(way, image, binds or [], count)
    else:
        with way(image, binds or []) as once:
            found = timed(once, count)
    with suppress(BrokenPipeError):
        os.write(answers, (json.dumps(found) + "\n").encode())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), **json.loads(sys.argv[4]))
