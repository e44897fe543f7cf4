"""Words for a command that is already running, or that is not there yet."""

from __future__ import annotations

import os
from pathlib import Path

import anyio
import pytest

from swarm.sandboxes.channel.feed import Feed

pytestmark = pytest.mark.anyio


async def test_words_that_end_before_the_command_is_there_reach_it(tmp_path: Path) -> None:
    words, taken = anyio.create_memory_object_stream[bytes](2)
    words.send_nowait(b"hello\n")
    words.close()
    feed = Feed(taken)
    feed.open_at(tmp_path / "in")
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(feed.pour)
            await anyio.wait_all_tasks_blocked()
            done = await anyio.run_process(["timeout", "20", "cat", str(tmp_path / "in")])
    assert done.stdout == b"hello\n"
    feed.close()


def test_its_pipe_is_opened_while_it_may_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody but root may open one to write that is for reading alone."""
    opened: list[int] = []
    plain = os.open

    def watched(path: Path, flags: int) -> int:
        opened.append(path.stat().st_mode & 0o777)
        return plain(path, flags)

    words, taken = anyio.create_memory_object_stream[bytes](2)
    feed = Feed(taken)
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", watched)
        feed.open_at(tmp_path / "in")
    assert opened
    assert all(mode & 0o200 for mode in opened)
    assert (tmp_path / "in").stat().st_mode & 0o777 == 0o444
    for each in (feed, words, taken):
        each.close()
