"""What starting a sandbox may cost: programs and waits that are not needed stay away."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from swarm.sandboxes import process
from swarm.sandboxes.bubblewrap import backend
from swarm.sandboxes.bubblewrap.backend import BubblewrapBackend
from swarm.sandboxes.limits import cgroups
from swarm.sandboxes.limits.places import Hierarchy
from swarm.sandboxes.proof import prove
from swarm.types import SandboxRequest

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(("version", "door"), [(1, "tasks"), (2, "cgroup.procs")])
def test_a_cgroup_is_entered_without_holding_up_the_machine_where_it_can_be(
    version: int, door: str, tmp_path: Path
) -> None:
    """In version 1 by the file that moves one thread; version 2 has none for a process."""
    entered = cgroups.Cgroup(((Hierarchy(version, tmp_path, ("pids",)), tmp_path),))
    done = subprocess.run(entered.enter(["echo", "in"]), capture_output=True, check=True)
    assert done.stdout == b"in\n"
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {door: "0\n"}


async def test_what_is_started_inside_before_the_first_command(tmp_path: Path, bubblewrap_box: None) -> None:
    """Processes of a sandbox have numbers in the order of their start: the agent, and four for each of two shells."""
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o711)
    (tmp_path / "workspace").mkdir()
    request = SandboxRequest("cost", "test", tmp_path, tmp_path / "workspace", "/workspace")
    async with BubblewrapBackend().open(request) as sandbox:
        found = (await sandbox.exec('echo $$; cd; pwd; stat -c "%a %u %g" . ; id -u')).stdout.decode().split()
        number, home, mode, owner, group, user = found
        assert int(number) <= 9
        assert (home, mode, owner, group) == ("/tmp/home", "755", user, user)


async def test_the_agent_of_a_process_sandbox_enters_its_cgroups_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, require: Callable[[object, str], None]
) -> None:
    require(cgroups.usable(tmp_path), "no cgroup may be used here")
    (tmp_path / "workspace").mkdir()
    started: list[list[str]] = []
    popen = subprocess.Popen

    def noted(words: list[str], **options: Any) -> subprocess.Popen[bytes]:
        started.append(words)
        return popen(words, **options)

    backend = process.ProcessBackend()
    await backend.check(tmp_path)  # it tries cgroups by processes of its own
    monkeypatch.setattr(subprocess, "Popen", noted)
    request = SandboxRequest("cost", "test", tmp_path, tmp_path / "workspace", "/workspace")
    async with backend.open(request) as sandbox:
        inside = (await sandbox.exec("cat /proc/self/cgroup /proc/$PPID/cgroup")).stdout.decode()
        assert inside.count(f"/{sandbox.id}\n") >= 2
    (words,) = started  # and `env` first where this process was told to ignore signals
    assert ([Path(word).name for word in words[-4:-2]], "-c" in words) == (["sh", "agent"], False)


async def test_the_home_is_there_before_the_proof_is_begun(
    tmp_path: Path, bubblewrap_box: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that no program makes it."""
    (tmp_path / "workspace").mkdir()
    seen: list[int] = []

    async def proved(exec: Any, expected: Any) -> None:
        inside = Path("/proc", str(exec.__self__._first), "root")
        seen.append((inside / "tmp/home").stat().st_mode & 0o7777)
        await prove(exec, expected)

    monkeypatch.setattr(backend, "prove", proved)
    async with BubblewrapBackend().open(SandboxRequest("cost", "test", tmp_path, tmp_path / "workspace", "/workspace")):
        assert seen == [0o755]
