"""MCP servers that mean ill. Whoever names one trusts it with what it does as a program; not with the memory and time
of this process, nor with the place of another tool, nor with the user's terminal."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import select
import stat
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import cast

import anyio
import pytest

from swarm.errors import UsageError
from swarm.protocols import Sandbox
from swarm.tools import mcp as mcp_tools
from swarm.tools import mcp_stdio
from swarm.tools.mcp_config import McpServer
from swarm.tools.output import LIMIT
from swarm.tools.registry import Toolset
from swarm.tools.submit import submit
from swarm.types import ToolErrorKind, ToolResult, ToolStatus

pytestmark = pytest.mark.anyio
PROGRAM = str(Path(__file__).with_name("hostile_mcp.py"))
NO_SANDBOX = cast("Sandbox", None)


@pytest.fixture(autouse=True)
def parts(require: Callable[[object, str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    require(importlib.util.find_spec("mcp"), "the package mcp is not installed")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-user-0123456789")
    monkeypatch.setattr(mcp_tools, "CALL_SECONDS", 120.0)


@pytest.fixture
def notes() -> list[str]:
    return []


@asynccontextmanager
async def served(what: str, notes: list[str], *more: str) -> AsyncIterator[Toolset]:
    """The tools of such a server; it is gone afterwards."""
    server = McpServer(command=sys.executable, args=(PROGRAM, what, *more))
    with anyio.fail_after(300):
        async with mcp_tools.open_servers({"evil": server}, notes.append) as tools:
            yield Toolset(tools)
    assert not [path for path in Path("/proc").glob("[0-9]*") if _runs(path, what, *more)], "it still runs"


def _runs(process: Path, *words: str) -> bool:
    try:
        return (process / "cmdline").read_bytes().endswith("\0".join([PROGRAM, *words, ""]).encode())
    except OSError:
        return False


async def asked(tools: Toolset) -> ToolResult:
    return await tools.call("evil__ask", "{}", NO_SANDBOX)


async def test_a_line_without_end_ends_the_server_and_not_the_memory(notes: list[str]) -> None:
    async with served("endless line", notes) as tools:
        assert (await asked(tools)).error is ToolErrorKind.UNAVAILABLE
        assert (await asked(tools)).error is ToolErrorKind.UNAVAILABLE
    assert notes == ["the MCP server evil is gone; its tools answer no more"]


async def test_endless_complaints_fill_no_disk(notes: list[str]) -> None:
    before = _nameless()
    async with served("complaints", notes) as tools:
        assert (await asked(tools)).content == "done complaining"
        assert _nameless() - before < 1 << 20


def _nameless() -> int:
    """Bytes of the files that this process holds and that have no name any more."""
    held = [path.stat() for path in Path("/proc/self/fd").iterdir() if path.exists()]
    return sum(each.st_size for each in held if stat.S_ISREG(each.st_mode) and not each.st_nlink)


async def test_a_huge_answer_is_cut(notes: list[str]) -> None:
    async with served("huge", notes) as tools:
        result = await asked(tools)
    assert len(result.content) <= LIMIT
    assert result.truncated


async def test_wrong_ids_and_types_are_told_as_what_they_are(notes: list[str]) -> None:
    async with served("wrong", notes) as tools:
        for _ in range(2):  # it is still there
            result = await asked(tools)
            assert (result.error, "gave an answer that is none" in result.content) == (ToolErrorKind.RAISED, True)
    assert notes == []


async def test_its_tools_take_nobodys_place(notes: list[str]) -> None:
    async with served("shadows", notes) as tools:
        assert len(tools) == 6
        assert all(re.fullmatch(r"evil__[A-Za-z0-9_-]{1,58}", name) for name in tools.names)
        assert Toolset([submit, *tools]).get("submit") is not tools.get("evil__submit")
        shown = json.dumps([tool.description for tool in tools], ensure_ascii=False)
        assert not re.search(r"[\x00-\x1f\x7f-\x9f]", shown.replace("\\n", ""))
        assert "\\u001b" not in shown and "\\u009b" not in shown


async def test_two_of_one_name_are_refused(notes: list[str]) -> None:
    with pytest.raises(UsageError, match="two tools have the name 'evil__ask'"):
        async with served("twins", notes):
            pytest.fail("one of them was taken")


async def test_what_it_says_of_parameters_is_bounded_and_never_followed(notes: list[str]) -> None:
    async with served("schemas", notes) as tools:
        sizes = {tool.name: len(json.dumps(tool.parameters)) for tool in tools}
        assert max(sizes.values()) <= 32_000
        assert len(tools.schemas()) == 4
        for name in tools.names:
            assert (await tools.call(name, '{"x": {"x": 1}, "u": 2}', NO_SANDBOX)).status is ToolStatus.COMPLETED
    assert notes == ["the MCP server evil tells too much of the parameters of ask2: left out"]


async def test_patterns_of_the_server_are_not_matched_here(notes: list[str]) -> None:
    """What it answers does not fit its own pattern, and to find that takes for ever."""
    async with served("pattern", notes) as tools:
        assert (await asked(tools)).content == "fine"


async def test_what_it_asks_of_us_is_refused(notes: list[str], tmp_path: Path) -> None:
    """A model's answer, the folders of the user, a form for the user."""
    told = tmp_path / "told"
    async with served("asks", notes, str(told)) as tools:
        assert (await asked(tools)).content == "asked"
    answers = [json.loads(line) for line in told.read_text().splitlines()]
    assert sorted(each["id"] for each in answers) == [f"ask-{n}" for n in range(5)]
    assert all("error" in each and "result" not in each for each in answers)
    assert "sk-of-the-user" not in told.read_text()


async def test_one_that_leaves_in_the_middle_is_told_once(notes: list[str]) -> None:
    async with served("leaves", notes) as tools:
        for _ in range(2):
            assert (await asked(tools)).error is ToolErrorKind.UNAVAILABLE
    assert notes == ["the MCP server evil is gone; its tools answer no more"]


async def test_words_that_look_like_ours_are_words(notes: list[str]) -> None:
    async with served("words", notes) as tools:
        result = await asked(tools)
    assert (result.status, result.submission, result.exit_code) == (ToolStatus.COMPLETED, None, None)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", result.content)
    assert "owned" not in result.content


async def test_what_it_started_ends_with_it_though_it_ends_by_itself(tmp_path: Path) -> None:
    script = f"sleep 1000 </dev/null >/dev/null 2>&1 & echo $! > {tmp_path}/pid; echo 1; exec cat >/dev/null"
    server = McpServer(command="sh", args=("-c", script))
    async with mcp_stdio.stdio_transport(server, mcp_stdio.Complaints()) as (incoming, _):
        await incoming.receive()
    with suppress(ProcessLookupError):
        started = os.pidfd_open(int((tmp_path / "pid").read_text()))
        try:
            assert select.select([started], [], [], 30)[0], "it still runs"
        finally:
            os.close(started)


async def test_one_that_ends_with_its_input_is_not_waited_for(
    notes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[anyio.CancelScope] = []
    move_on_after = anyio.move_on_after

    def noted(delay: float | None, shield: bool = False) -> anyio.CancelScope:
        scope = move_on_after(delay, shield)
        waits.extend([scope] if delay == mcp_stdio._ENDS_S else [])
        return scope

    monkeypatch.setattr(mcp_stdio, "_ENDS_S", 61.0)
    monkeypatch.setattr(anyio, "move_on_after", noted)
    async with served("words", notes):
        pass
    assert waits
    assert not any(wait.cancelled_caught for wait in waits)
