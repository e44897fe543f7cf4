"""A bubblewrap that does not start says why, and what helps: to install what is there does not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from swarm.errors import SandboxError
from swarm.sandboxes.bubblewrap.namespace import namespace
from swarm.sandboxes.channel.channel import Channel
from swarm.shortage import remedy_told

pytestmark = pytest.mark.anyio
BWRAP = "exec bwrap --die-with-parent --unshare-pid --ro-bind / / true"


@pytest.mark.parametrize(
    ("does", "said", "remedy"),
    [
        ("kill -9 $$", "it was ended by SIGKILL", "dmesg"),
        ("exit 137", "it was ended by SIGKILL", "dmesg"),  # its first process was, as bubblewrap tells it
        (f"ulimit -v 2500; {BWRAP}", ".", "ulimit -v"),
        (f"ulimit -n 5; {BWRAP}", "Too many open files", "ulimit -n 4096"),
        ("exit 3", "it ended with 3 and says nothing", "--sandbox docker"),
    ],
)
async def test_it_says_why(does: str, said: str, remedy: str, tmp_path: Path, bubblewrap_box: None) -> None:
    channel = Channel(tmp_path / "control", "box")
    try:
        with pytest.raises(SandboxError, match=f"bubblewrap could not start: .*{said}") as failed:
            async with namespace(["sh", "-c", does], {"PATH": "/usr/bin:/bin"}, channel):
                pytest.fail("it was opened")
    finally:
        channel.close()
    assert re.search(remedy, failed.value.remedy)


def test_only_a_shortage_is_taken_for_one() -> None:
    assert "ulimit -v" in remedy_told("xmalloc: cannot allocate 32 bytes\nbash: Cannot allocate memory")
    assert "ulimit -u" in remedy_told("sh: fork: retry: Resource temporarily unavailable")
    assert "df -h" in remedy_told("bwrap: Can't write: No space left on device")
    for other in ("", "bwrap: setting up uid map: Permission denied", "No such file or directory"):
        assert remedy_told(other) == ""
