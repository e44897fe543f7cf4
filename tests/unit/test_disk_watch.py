"""When the watch over what a sandbox writes ends a command."""

from __future__ import annotations

from pathlib import Path

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
