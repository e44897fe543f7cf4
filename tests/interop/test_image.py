"""Images out of the distribution's packages, for real: debootstrap, the engine, and whole runs in what was built.

Takes about a minute and the distribution's mirror; run by `make test-interop`.
"""

from __future__ import annotations

import io
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import docker
import pytest

from swarm.sandboxes.images.python import Installation, installations
from swarm.sandboxes.leases.mounts import mounts_below
from tests.integration.conftest import Cli, Files, Script, cli, git, make_repo, plan, script, submit, subtask, use

__all__ = ["cli", "make_repo", "script"]
Require = Callable[[object, str], None]
MakeRepo = Callable[[Files], Path]

PACKAGE = "tree"  # small, and not there by default
GATE = "python3 --version && python3 -c 'import m, ssl, sqlite3; assert m.answer() == 42' && python -m venv --help"


@pytest.fixture(scope="session")
def engine(docker_box: str) -> Iterator[docker.DockerClient]:
    client = docker.DockerClient(docker_box)
    yield client
    client.close()


@pytest.fixture(scope="session")
def other_python() -> Installation:
    """One that Debian does not bring along, in a folder of its own; on a machine without, Debian's."""
    own = Installation(platform.python_version(), Path("/usr"), (), ())
    found = [one for one in installations(os.environ) if one.minor != own.minor]
    return found[0] if found else own


@pytest.fixture(scope="session")
def image(
    engine: docker.DockerClient,
    other_python: Installation,
    require: Require,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """An image that was built by the command line, removed at the end."""
    require(os.geteuid() == 0 and shutil.which("debootstrap"), "debootstrap is not installed, or this is not root")
    home = tmp_path_factory.mktemp("home")
    built = swarm(home, "image", "build", "swarm-test:built", "--python", other_python.minor, "--package", PACKAGE)
    require("mirror can be reached" not in built.stderr, f"no mirror: {built.stderr}")
    assert built.returncode == 0, built.stderr
    assert built.stdout == "swarm-test:built\n"
    assert leases(home) == []
    yield "swarm-test:built"
    engine.images.remove("swarm-test:built")


@pytest.fixture
def bare_image(engine: docker.DockerClient) -> Iterator[str]:
    """An image with a shell and what its scripts need: no git, no bash, no Python."""
    programs = {os.path.realpath(shutil.which(name) or name): name for name in ("cat", "mkdir", "mv", "rm")}
    programs[os.path.realpath("/bin/dash")] = "sh"
    told = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=True).stdout
    needed = {word for word in told.split() if word.startswith("/") and not word.endswith(":")}
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name in ("bin", "dev", "etc", "proc", "sys", "tmp"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for program, name in programs.items():
            tar.add(program, f"bin/{name}")
        for path in needed:
            tar.add(os.path.realpath(path), path.lstrip("/"))
    engine.api.import_image_from_data(archive.getvalue(), repository="swarm-test", tag="bare")
    yield "swarm-test:bare"
    engine.images.remove("swarm-test:bare")


def swarm(home: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "swarm", *args],
        env={**os.environ, "SWARM_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=400,
    )


def leases(home: Path) -> list[str]:
    return [path.name for path in (home / "leases").glob("[!.]*")]


def test_a_whole_run_is_done_and_tested_with_the_wanted_python(
    cli: Cli, script: Script, make_repo: MakeRepo, image: str, other_python: Installation, docker_box: str
) -> None:
    cli.env["DOCKER_HOST"] = docker_box
    script.planner(plan(subtask("one")))
    script.agent(
        "one",
        use("bash", command=f"python3 --version; which git rg make {PACKAGE}; git --version"),
        use("write", path="m.py", content="def answer() -> int:\n    return 42\n"),
        submit(),
    )
    repo = make_repo({"m.py": "def answer() -> int:\n    return 41\n"})
    done = cli.run("fix it", repo, "--model", script.model, "--sandbox", "docker", "--image", image, "--test", GATE)
    assert done.code == 0, done.err
    assert done.result["gate"]["passed"] is True
    told = json.dumps(done.lines)
    assert f"Python {other_python.version}" in told
    assert f"/usr/bin/{PACKAGE}" in told
    assert git(repo, "status", "--porcelain") == ""


def test_a_task_without_a_repository_in_an_image_without_git(
    cli: Cli, script: Script, bare_image: str, docker_box: str
) -> None:
    cli.env["DOCKER_HOST"] = docker_box
    script.planner(plan(subtask("one")))
    script.agent("one", use("bash", command="echo seen > note; read line <note; echo it says $line"), submit("noted"))
    done = cli.run("note", None, "--model", script.model, "--sandbox", "docker", "--image", bare_image)
    assert done.code == 0, done.err
    assert "it says seen" in json.dumps(done.lines)


def test_a_repository_in_an_image_without_git(
    cli: Cli, script: Script, make_repo: MakeRepo, bare_image: str, docker_box: str
) -> None:
    cli.env["DOCKER_HOST"] = docker_box
    script.planner(plan(subtask("one"), subtask("two")))
    script.agent("one", use("write", path="a.txt", content="A\n"), submit())
    script.agent("two", use("bash", command="echo B >> b.txt"), submit())
    repo = make_repo({"a.txt": "a\n", "b.txt": "b\n"})
    gate = 'read a <a.txt; test "$a" = A'
    done = cli.run("both", repo, "--model", script.model, "--sandbox", "docker", "--image", bare_image, "--test", gate)
    assert done.code == 0, done.err
    assert done.result["gate"]["passed"] is True
    patch = Path(done.result["patch_path"]).read_text()
    assert "+A" in patch
    assert "+B" in patch


def test_the_same_again_is_nothing_to_do_and_the_list_tells_what_is_in_it(
    tmp_path: Path, image: str, other_python: Installation
) -> None:
    again = swarm(tmp_path, "image", "build", image, "--python", other_python.minor, "--package", PACKAGE)
    assert again.returncode == 0, again.stderr
    assert "there already" in again.stderr
    listed = swarm(tmp_path, "image", "list", "--json")
    [row] = [row for line in listed.stdout.splitlines() if (row := json.loads(line))["name"] == image]
    assert row["python"] == other_python.version
    assert PACKAGE in row["packages"].split()
    assert image in swarm(tmp_path, "image", "list").stdout


def test_an_image_that_is_not_ours_is_neither_replaced_nor_removed(
    engine: docker.DockerClient, tmp_path: Path, bare_image: str
) -> None:
    for action in ("build", "remove"):
        done = swarm(tmp_path, "image", action, bare_image)
        assert done.returncode == 2
        assert "not built by swarm" in done.stderr
    assert engine.images.get(bare_image)


def test_a_failed_build_leaves_nothing(engine: docker.DockerClient, tmp_path: Path, image: str) -> None:
    before = {one.id for one in engine.images.list(all=True)}
    done = swarm(tmp_path, "image", "build", "swarm-test:failed", "--package", "no-such-package")
    assert done.returncode == 3
    assert "no-such-package" in done.stderr
    assert leases(tmp_path) == []
    assert mounts_below(tmp_path) == []
    assert {one.id for one in engine.images.list(all=True)} == before


def test_an_interrupted_build_leaves_nothing(engine: docker.DockerClient, tmp_path: Path, image: str) -> None:
    before = {one.id for one in engine.images.list(all=True)}
    with subprocess.Popen(
        [sys.executable, "-m", "swarm", "image", "build", "swarm-test:cut"],
        env={**os.environ, "SWARM_HOME": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # a shell's `&` lets it ignore it
    ) as build:
        assert build.stderr is not None
        for line in build.stderr:
            if "installing the core" in line:  # /proc is mounted in it now
                build.send_signal(signal.SIGINT)
        assert build.wait(60) == 130
    assert leases(tmp_path) == []
    assert mounts_below(tmp_path) == []
    assert str(tmp_path).encode() not in b"".join(path.read_bytes() for path in commands())
    assert {one.id for one in engine.images.list(all=True)} == before


def commands() -> Iterator[Path]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            path.read_bytes()
        except OSError:
            continue
        yield path
