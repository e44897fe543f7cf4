"""A bubblewrap that does not start says why, and what helps: to install what is there does not."""

from __future__ import annotations

import os
import re
from collections.abc import Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from swarm.errors import SandboxError
from swarm.sandboxes.bubblewrap import backend as bubblewrap
from swarm.sandboxes.bubblewrap.namespace import namespace
from swarm.sandboxes.channel.channel import Channel
from swarm.sandboxes.host_root import HostRoot, find_host_root
from swarm.sandboxes.process import ProcessBackend
from swarm.shortage import remedy_told
from swarm.types import SandboxLimits, SandboxRequest

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


async def test_small_files_of_the_root_are_copied_and_nobody_writes_them(
    tmp_path: Path, bubblewrap_box: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o711)
    (tmp_path / "workspace").mkdir()
    commands: list[list[str]] = []

    def noted(argv: Sequence[str], *others: Any) -> AbstractAsyncContextManager[int]:
        commands.append(list(argv))
        return namespace(argv, *others)

    monkeypatch.setattr(bubblewrap, "namespace", noted)
    request = SandboxRequest("start", "test", tmp_path, tmp_path / "workspace", "/workspace")
    async with bubblewrap.BubblewrapBackend().open(request) as sandbox:
        small = [path for path in find_host_root().binds if path.is_file() and path.stat().st_size < 1 << 14]
        for path in (*small, Path("/etc/passwd"), Path("/etc/hosts")):
            shown = await sandbox.exec(f"cat {path}; stat -c %a {path}; true >>{path}")
            assert shown.exit_code != 0
            assert path.name in ("passwd", "hosts") or shown.stdout == path.read_bytes() + b"644\n"
    for name in (*map(str, small), "/etc/passwd"):
        assert ["--ro-bind", name] not in [words[i : i + 2] for words in commands for i in range(len(words))]


def test_what_not_all_may_read_is_mounted_and_not_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is what cannot be copied: bubblewrap says itself what is wrong with it, if anything is."""
    for name, mode in (("open", 0o644), ("owner", 0o600), ("group", 0o640), ("refused", 0o644)):
        (tmp_path / name).write_text(name)
        (tmp_path / name).chmod(mode)
    read = Path.read_bytes

    def refusing(path: Path) -> bytes:
        if path.name == "refused":
            raise PermissionError(13, "Permission denied")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refusing)
    host = HostRoot(tuple(tmp_path / name for name in ("open", "owner", "group", "refused", "vanished")), {})
    contents = bubblewrap._contents(host, 1000)
    assert {path: text for path, text in contents.items() if not path.startswith("/etc/")} == {
        str(tmp_path / "open"): b"open"
    }
    words = bubblewrap._base(host, contents, SandboxLimits())
    mounted = [after for word, after in pairwise(words) if word == "--ro-bind" and after.startswith(str(tmp_path))]
    assert mounted == [str(path) for path in host.binds[1:]]


async def test_the_first_shell_is_ordered_before_the_agent_is_there(tmp_path: Path) -> None:
    channel = Channel(tmp_path / "control", "box")
    try:
        channel.prepare()
        order = os.read(channel._reader, 100).split()
        assert (order[0], [path.name for path in channel.folder.glob("*/go")]) == (b"shell", ["go"])
        assert (channel.folder / order[1].decode()).is_dir()
    finally:
        channel.close()


@pytest.mark.parametrize("backend", [ProcessBackend, bubblewrap.BubblewrapBackend])
async def test_each_of_them_orders_that_early_one_for_the_proof_and_one_for_the_first_command(
    backend: type[ProcessBackend | bubblewrap.BubblewrapBackend],
    tmp_path: Path,
    bubblewrap_box: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o711)
    (tmp_path / "workspace").mkdir()
    ordered: list[int] = []
    greet = Channel.greet

    def noted(channel: Channel) -> Coroutine[Any, Any, bool]:
        ordered.append(len(list(channel.folder.glob("*/go"))))
        return greet(channel)

    monkeypatch.setattr(Channel, "greet", noted)
    async with backend().open(SandboxRequest("start", "test", tmp_path, tmp_path / "workspace", "/workspace")):
        assert ordered == [2]


def test_the_root_shows_what_is_there_and_matches(tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    for name in ("python3", "python3.11", "python2", "shadow", "java-17-openjdk", "java-17-other", "ssl"):
        (etc / name).mkdir(parents=True)
    (etc / "ssl/openssl.cnf").touch()
    (etc / "localtime").symlink_to("nowhere")
    (etc / "timezone").touch()
    shown = [str(path.relative_to(etc)) for path in find_host_root(tmp_path).binds]
    assert shown == ["java-17-openjdk", "python3", "python3.11", "ssl/openssl.cnf", "timezone"]
    assert find_host_root(tmp_path / "nothing").binds == ()


def test_a_folder_that_may_not_be_listed_shows_what_is_named_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(folder: Path) -> list[str]:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "etc/python3").mkdir(parents=True)
    (tmp_path / "etc/timezone").touch()
    monkeypatch.setattr(os, "listdir", refused)
    assert find_host_root(tmp_path).binds == (tmp_path / "etc/timezone",)
