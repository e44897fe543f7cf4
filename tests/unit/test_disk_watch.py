"""When the watch over what a sandbox writes ends a command."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import anyio
import pytest

from swarm.sandboxes.limits.disk import DiskWatch

pytestmark = pytest.mark.anyio

LIMIT = 1 << 20


async def test_who_wrote_all_of_it_before_the_first_look_is_ended(tmp_path: Path) -> None:
    """It writes no more afterwards: whoever waits for it to grow waits for ever."""
    watch = DiskWatch([tmp_path], LIMIT)
    (tmp_path / "big").write_bytes(b"x" * 8 * LIMIT)
    with anyio.fail_after(60):
        assert "its limit is 1.0 MiB" in await watch.watch()


async def test_who_comes_after_it_may_remove_what_is_there(tmp_path: Path) -> None:
    watch = DiskWatch([tmp_path], LIMIT)
    (tmp_path / "big").write_bytes(b"x" * 8 * LIMIT)
    with anyio.fail_after(60):
        await watch.watch()
    with anyio.move_on_after(0.7) as waited:
        await watch.watch()
    assert waited.cancelled_caught


GIB = 1 << 30


@pytest.mark.parametrize(("of_bytes", "of_files"), [(8 * GIB, 4 * GIB), (4 * GIB, 8 * GIB), (8 * GIB, None)])
async def test_what_is_lost_is_seen_whatever_there_is_less_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of_bytes: int, of_files: int | None
) -> None:
    """Most disks have fewer files left, at 4 KiB each, than bytes: a few large files hardly take of these."""
    large = tmp_path / "large"
    large.touch()

    def about(folder: Path) -> SimpleNamespace:
        free = (of_bytes if folder == tmp_path else 2 * GIB) - (large.stat().st_size if folder == tmp_path else 0)
        files = (of_files or 0) // 4096
        return SimpleNamespace(f_frsize=1, f_bavail=free, f_blocks=16 * GIB, f_favail=files, f_files=2 * files)

    (beside := tmp_path.with_name(f"{tmp_path.name}-beside")).mkdir()  # the tightest, of which nothing is taken
    monkeypatch.setattr("swarm.sandboxes.limits.disk.os.statvfs", about)
    watch, ended = DiskWatch([tmp_path, beside], LIMIT), anyio.Event()

    async def clear() -> None:
        ended.set()

    with anyio.fail_after(30):
        async with watch.guarded(clear):  # which counts only where the file system has lost something
            large.write_bytes(b"x" * 8 * LIMIT)
            await ended.wait()


async def test_many_small_files_are_seen_by_how_few_may_still_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where blocks are told late, or are as small as the files."""

    def about(folder: Path) -> SimpleNamespace:
        files = (1 << 20) - len(list(tmp_path.iterdir()))
        return SimpleNamespace(f_frsize=1, f_bavail=8 * GIB, f_blocks=16 * GIB, f_favail=files, f_files=1 << 21)

    monkeypatch.setattr("swarm.sandboxes.limits.disk.os.statvfs", about)
    watch, ended = DiskWatch([tmp_path], LIMIT), anyio.Event()

    async def clear() -> None:
        ended.set()

    with anyio.fail_after(30):
        async with watch.guarded(clear):
            for number in range(300):
                (tmp_path / str(number)).write_bytes(b"x" * 4096)
            await ended.wait()
