"""The three sandbox backends against one contract, and what is left when they are gone."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import docker
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.errors import SandboxError
from swarm.protocols import SandboxBackend
from swarm.removal import remove_tree
from swarm.sandboxes.catalog import open_backend
from swarm.sandboxes.channel.output import HeadTail
from swarm.sandboxes.conformance import suite as conformance
from swarm.sandboxes.conformance.state import BEGIN
from swarm.sandboxes.copies.layers import Layers
from swarm.sandboxes.limits import known as known_limits
from swarm.sandboxes.toolchain import discover
from swarm.types import SandboxRequest
from tests.machine import until

pytestmark = pytest.mark.anyio

BACKENDS = ("docker", "bubblewrap", "process")
ISOLATED = ("docker", "bubblewrap")
MARK = f"test-{secrets.token_hex(8)}"
"""Nobody else's: other tests run on this machine, and in its engine."""
CHECKS = {check.name: check for check in conformance.CHECKS}
Require = Callable[[object, str], None]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module", autouse=True)
def _canary() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(conformance.CANARY, "a-secret-of-the-host")
        yield


@pytest.fixture(scope="module", autouse=True)
def _own_temporary_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Another run on this machine must not look like something that was left behind."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("tmp")))
        yield


@pytest.fixture(scope="module", params=BACKENDS)
async def backend(request: pytest.FixtureRequest) -> AsyncIterator[SandboxBackend]:
    if request.param == "docker":
        request.getfixturevalue("docker_box")
    if request.param == "bubblewrap":
        request.getfixturevalue("bubblewrap_box")
    async with open_backend(request.param, here()) as opened:
        yield opened


@pytest.fixture(scope="module")
async def subject(
    backend: SandboxBackend, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[conformance.Subject]:
    begin = tmp_path_factory.mktemp("begin")
    for name, content in BEGIN.items():
        (begin / name).parent.mkdir(parents=True, exist_ok=True)
        (begin / name).write_bytes(content)
    lease = tmp_path_factory.mktemp("layers")
    layers = Layers(lease, owner=backend.owner)
    try:
        async with layers.open(await layers.adopt(begin)) as copy, backend.open(wanted(copy.tree)) as sandbox:
            yield conformance.Subject(sandbox, copy.tree, copy, lambda other: backend.open(wanted(other.tree)))
    finally:
        remove_tree(lease)  # too deep for pytest's own clean-up


def here() -> Path:
    """The folder that stands for a lease."""
    return Path(tempfile.gettempdir())


def wanted(workspace: Path, **more: object) -> SandboxRequest:
    values: dict[str, object] = {"run_id": "test-run", "owner": "test", "lease": here(), "workspace": workspace}
    values["workdir"] = "/workspace"
    return SandboxRequest(**(values | more))  # type: ignore[arg-type]  # keys of the request


@pytest.mark.parametrize("name", CHECKS)
async def test_conformance(name: str, subject: conformance.Subject, backend: SandboxBackend) -> None:
    check = CHECKS[name]
    known = known_limits.of(backend)
    if name in known:
        pytest.skip(f"a known limit: {known[name]}")
    await check.run(subject)


def leftovers() -> set[str]:
    """Private folders of sandboxes, and processes of bubblewrap, that are there now."""
    folders = {str(path) for path in here().iterdir()}
    processes = set()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            line = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            ours = (path / "environ").read_bytes().find(f"SWARM_TEST_MARK={MARK}".encode()) >= 0
        except OSError:
            continue
        if ours:
            processes.add(f"{path.name} {line}")
    return folders | processes


@asynccontextmanager
async def nothing_left(backend: SandboxBackend) -> AsyncIterator[None]:
    before = leftovers()
    yield
    assert leftovers() <= before
    if backend.name == "docker":
        client = docker.from_env()
        try:
            mine = client.containers.list(all=True, filters={"label": [f"swarm.run={MARK}"]})
        finally:
            client.close()
        assert mine == []


async def test_nothing_is_left_after_the_block(backend: SandboxBackend, tmp_path: Path) -> None:
    request = wanted(tmp_path, run_id=MARK, env={"SWARM_TEST_MARK": MARK})
    async with nothing_left(backend), backend.open(request) as sandbox:
        await sandbox.exec("mkdir -p ~/deep/er; : > ~/deep/er/file; chmod 000 ~/deep/er ~/deep")


async def test_nothing_is_left_after_an_error_inside(backend: SandboxBackend, tmp_path: Path) -> None:
    request = wanted(tmp_path, run_id=MARK, env={"SWARM_TEST_MARK": MARK})
    async with nothing_left(backend):
        with pytest.raises(ZeroDivisionError):
            async with backend.open(request) as sandbox:
                await sandbox.exec("sleep 600 &")
                raise ZeroDivisionError


async def test_cancelling_during_a_command_leaves_nothing(backend: SandboxBackend, tmp_path: Path) -> None:
    request = wanted(tmp_path, run_id=MARK, env={"SWARM_TEST_MARK": MARK})

    async def work() -> None:
        async with backend.open(request) as sandbox, anyio.create_task_group() as group:
            group.start_soon(sandbox.exec, "trap '' TERM; : > begun; sleep 600 & sleep 600")

    async with nothing_left(backend), anyio.create_task_group() as group:
        group.start_soon(work)
        with anyio.fail_after(300):
            await until((tmp_path / "begun").exists)
        group.cancel_scope.cancel()


@pytest.mark.parametrize("checkpoints", [0, 1, 2, 3, 5, 8, 13, 40])
async def test_cancelling_during_the_start_leaves_nothing(
    backend: SandboxBackend, tmp_path: Path, checkpoints: int
) -> None:
    request = wanted(tmp_path, run_id=MARK, env={"SWARM_TEST_MARK": MARK})

    async def work() -> None:
        async with backend.open(request):
            await anyio.sleep_forever()

    async with nothing_left(backend), anyio.create_task_group() as group:
        group.start_soon(work)
        for _ in range(checkpoints):
            await anyio.to_thread.run_sync(lambda: None)
        group.cancel_scope.cancel()


async def test_the_users_python_is_seen_where_it_lies(backend: SandboxBackend, tmp_path: Path) -> None:
    toolchain, path = await discover(os.environ)
    env = {"PATH": ":".join(path)}
    async with backend.open(wanted(tmp_path, env=env, toolchain=toolchain)) as sandbox:
        asked = "python3 -c 'import sys, ssl, sqlite3; print(*sys.version_info[:2], sep=\".\")'"
        found = await sandbox.exec(asked)
        assert found.exit_code == 0, found.stderr
        read_only = await sandbox.exec(f": >> {toolchain[0]}/probe") if toolchain else None
    if read_only is not None and backend.name in ISOLATED:
        assert read_only.exit_code != 0


async def test_a_toolchain_inside_the_workspace_lies_on_top(backend: SandboxBackend, tmp_path: Path) -> None:
    if backend.name not in ISOLATED:
        pytest.skip("this backend mounts nothing")
    project, copy = tmp_path / "project", tmp_path / "copy"
    (project / ".venv/bin").mkdir(parents=True)
    (project / ".venv/bin/tool").write_text("#!/bin/sh\necho tool\n")
    (project / ".venv/bin/tool").chmod(0o755)
    (project / "secret").write_text("not copied")
    copy.mkdir()
    request = wanted(copy, workdir=str(project), toolchain=(project / ".venv",))
    async with backend.open(request) as sandbox:
        found = await sandbox.exec(".venv/bin/tool; cat secret")
        assert (found.stdout, found.exit_code) == (b"tool\n", 1)
        assert (await sandbox.read_file(".venv/bin/tool")).startswith(b"#!")
        with pytest.raises(PermissionError):
            await sandbox.write_file(".venv/bin/tool", b"")


async def test_two_sandboxes_do_not_see_each_other(backend: SandboxBackend, tmp_path: Path) -> None:
    if backend.name not in ISOLATED:
        pytest.skip("this backend isolates nothing, and says so")
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    async with backend.open(wanted(one)) as first, backend.open(wanted(two)) as second:
        await first.exec("echo mine > /tmp/file; echo mine > file")
        found = await second.exec("cat /tmp/file file; ls -A")
        assert found.stdout == b""


async def test_a_workspace_that_is_gone_is_the_machines_failure(backend: SandboxBackend, tmp_path: Path) -> None:
    with pytest.raises((SandboxError, FileNotFoundError)):
        async with backend.open(wanted(tmp_path / "missing")):
            pass


@pytest.mark.parametrize("workdir", ["/", "/usr", "relative", "/a/../usr"])
async def test_a_workdir_that_would_hide_the_system_is_refused(
    backend: SandboxBackend, tmp_path: Path, workdir: str
) -> None:
    if backend.name not in ISOLATED:
        pytest.skip("this backend has no workdir of its own")
    with pytest.raises(SandboxError, match="cannot be the workspace's place"):
        async with backend.open(wanted(tmp_path, workdir=workdir)):
            pass


async def test_a_killed_container_is_the_machines_failure(docker_box: str, tmp_path: Path) -> None:
    async with open_backend("docker", here()) as backend, backend.open(wanted(tmp_path)) as sandbox:
        client = docker.from_env()
        try:
            client.containers.get(sandbox.id).remove(force=True)
        finally:
            client.close()
        with pytest.raises(SandboxError):
            await sandbox.exec("true")


async def test_an_image_that_cannot_be_had(docker_box: str, tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="no-such-image-here") as raised:
        async with open_backend("docker", here(), image="localhost:9/no-such-image-here"):
            pass
    assert "docker load" in raised.value.remedy


async def test_an_image_by_name(docker_box: str, tmp_path: Path) -> None:
    """An image with a shell and nothing else."""
    name = f"swarm-test:{MARK}"
    client = docker.from_env()
    try:
        client.api.import_image_from_data(minimal_image(), repository="swarm-test", tag=MARK)
        async with open_backend("docker", here(), image=name) as backend, backend.open(wanted(tmp_path)) as sandbox:
            found = await sandbox.exec("echo made; echo out > file; exit 3")
            assert (found.exit_code, found.stdout) == (3, b"made\n")
            assert await sandbox.read_file("file") == b"out\n"
            await sandbox.write_file("new/file", b"1")
    finally:
        client.images.remove(name, force=True)
        client.close()


def minimal_image() -> bytes:
    """A root file system that holds `sh` and the libraries that it needs."""
    import io
    import subprocess
    import tarfile

    shell = Path("/bin/sh").resolve()
    needed = subprocess.run(["ldd", str(shell)], capture_output=True, text=True, check=True).stdout
    libraries = [word for word in needed.split() if word.startswith("/")]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", dereference=True) as archive:
        for name in ("tmp", "proc", "dev", "sys", "etc"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            archive.addfile(folder)
        archive.add(shell, "bin/sh")
        for library in libraries:
            archive.add(library, library.lstrip("/"))
    return buffer.getvalue()


@given(st.lists(st.binary(max_size=40)), st.integers(0, 60))
def test_head_and_tail(chunks: list[bytes], limit: int) -> None:
    kept = HeadTail(limit)
    for chunk in chunks:
        kept.add(chunk)
    whole = b"".join(chunks)
    assert kept.truncated == (len(whole) > limit)
    assert kept.value() == (
        whole if len(whole) <= limit else whole[: (limit + 1) // 2] + whole[len(whole) - limit // 2 :]
    )
