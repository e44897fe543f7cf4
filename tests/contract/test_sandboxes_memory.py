"""The limit of memory where no cgroup may be used: all processes of a sandbox together."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from swarm.sandboxes.catalog import open_backend
from swarm.sandboxes.limits import cgroups
from swarm.types import SandboxLimits, SandboxRequest

pytestmark = pytest.mark.anyio

MIB = 1 << 20
PATH = "/usr/local/bin:/usr/bin:/bin"
Require = Callable[[object, str], None]


@pytest.fixture
def lease(tmp_path: Path) -> Path:
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o711)
    (tmp_path / "lease").mkdir()
    (tmp_path / "workspace").mkdir()
    return tmp_path / "lease"


SHARED = "import mmap; m = mmap.mmap(-1, {0}); [m.seek(i) or m.write_byte(1) for i in range(0, {0}, 4096)]"
NAMELESS = "import os; f = os.memfd_create('x'); [os.write(f, bytes(1 << 20)) for _ in range({0} >> 20)]"
OWN = "x = b'x' * {0}"


async def test_memory_of_all_together(
    lease: Path, bubblewrap_box: None, monkeypatch: pytest.MonkeyPatch, require: Require
) -> None:
    """Shared, nameless, or divided among many: no limit that one process bears counts these."""
    require(shutil.which("python3", path=PATH), "no python3 for all users is installed")
    monkeypatch.setattr(cgroups, "usable", lambda lease: ())
    limits = SandboxLimits(memory_bytes=192 * MIB, pids=64)
    workspace = lease.parent / "workspace"
    request = SandboxRequest("memory", "test", lease, workspace, "/workspace", {"PATH": PATH}, limits=limits)
    async with open_backend("bubblewrap", lease) as backend, backend.open(request) as sandbox:
        for bomb in (SHARED, NAMELESS):
            waits = f"{bomb.format(800 * MIB)}; import time; time.sleep(600)"
            done = await sandbox.exec(f'exec python3 -c "{waits}"', timeout=60)
            assert (done.exit_code, done.timed_out) == (137, False)
        many = f"{OWN.format(60 * MIB)}; import time; time.sleep(600)"
        # The shell goes on when the first of them was killed.
        done = await sandbox.exec(f'for i in 1 2 3 4 5; do python3 -c "{many}" & done; wait -n; exit 5', timeout=60)
        assert (done.exit_code, done.timed_out) == (5, False)
        left = f"{SHARED.format(800 * MIB)}; open('kept', 'w'); import time; time.sleep(600)"
        await sandbox.exec(f'python3 -c "{left}" >/dev/null 2>&1 </dev/null & echo $! >bomb')
        living = f"kill -0 {int((workspace / 'bomb').read_text())}"
        with anyio.fail_after(300):
            while (await sandbox.exec(living)).exit_code == 0:  # noqa: ASYNC110  nobody tells
                await anyio.sleep(0.2)
        assert not (workspace / "kept").exists()
        # What many share counts once, while the watch looks again and again.
        fork = "import os; x = b'x' * (100 << 20); [os.fork() for _ in range(2)]; import time; time.sleep(1)"
        done = await sandbox.exec(f'python3 -c "{fork}"; exit 5', timeout=60)
        assert (done.exit_code, done.stderr) == (5, b"")
