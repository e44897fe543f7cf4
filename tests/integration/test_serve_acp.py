"""`swarm acp` as an editor sees it: the real agent in a process of its own, the official client."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import acp
import anyio
import pytest
from acp import schema

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[2]
WORK = """
[[rules]]
role = "planner"
[[rules.turns]]
json.rationale = "One part."
json.subtasks = [{ id = "write", title = "Write the file", instructions = "Write a.txt" }]
[[rules]]
role = "subagent"
[[rules.turns]]
tool_calls = [{ name = "write", arguments = { path = "a.txt", content = "seven\\n" } }]
[[rules.turns]]
tool_calls = [{ name = "submit", arguments = { status = "done", summary = "wrote a.txt" } }]
[[rules]]
role = "aggregator"
[[rules.turns]]
content = "The file is there."
"""


class Editor:
    """A client that keeps what it is told, and answers the question about the patch with `choice`."""

    def __init__(self, choice: str) -> None:
        self.choice = choice
        self.updates: list[Any] = []
        self.asked: list[str] = []
        self.news = anyio.Event()

    def on_connect(self, conn: Any) -> None: ...

    async def session_update(self, session_id: str, update: Any, **rest: Any) -> None:
        self.updates.append(update)
        self.news.set()

    async def request_permission(
        self, session_id: str, tool_call: Any, options: Any, **rest: Any
    ) -> acp.RequestPermissionResponse:
        self.asked += [option.option_id for option in options]
        return acp.RequestPermissionResponse(outcome=schema.AllowedOutcome(outcome="selected", option_id=self.choice))

    def of(self, kind: str) -> list[Any]:
        return [update for update in self.updates if update.session_update == kind]


@asynccontextmanager
async def connected(tmp_path: Path, script: str, editor: Editor) -> AsyncIterator[tuple[Any, str]]:
    policy = tmp_path / "policy.toml"
    policy.write_text(script)
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "SWARM_HOME": str(tmp_path / "home")}
    args = ["-m", "swarm", "acp", "--model", f"embedded:script:{policy}", "--sandbox", "process"]
    spawned = acp.spawn_agent_process(
        editor,  # type: ignore[arg-type]  # the parts of a client that this agent speaks to
        sys.executable,
        *args,
        env=env | {"PYTHONPATH": str(ROOT)},
    )
    async with spawned as (agent, _):
        told = await agent.initialize(protocol_version=acp.PROTOCOL_VERSION)
        assert told.agent_info is not None
        assert told.agent_info.name == "swarm"
        session = await agent.new_session(cwd=str(repository(tmp_path / "repo")), mcp_servers=[])
        yield agent, session.session_id


def repository(folder: Path) -> Path:
    folder.mkdir()
    (folder / "b.txt").write_text("b\n")
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    return folder


@pytest.mark.parametrize("choice", ["apply", "leave"])
async def test_a_prompt_is_a_run_whose_patch_the_user_takes_or_leaves(tmp_path: Path, choice: str) -> None:
    editor = Editor(choice)
    async with connected(tmp_path, WORK, editor) as (agent, session):
        ended = await agent.prompt(session_id=session, prompt=[acp.text_block("Write a file")])
        assert ended.stop_reason == "end_turn"
    assert editor.asked == ["apply", "leave"]
    written = tmp_path / "repo/a.txt"
    assert (written.read_text() if written.exists() else None) == ("seven\n" if choice == "apply" else None)
    assert editor.of("plan")[-1].entries[0].status == "completed"
    calls = editor.of("tool_call")
    assert [call.title for call in calls] == ["Write the file", "Apply the patch to repo"]
    assert editor.of("tool_call_update")[-1].status == ("completed" if choice == "apply" else "failed")
    assert "1 of 1 sub-tasks" in "".join(update.content.text for update in editor.of("agent_message_chunk"))


async def test_an_editor_cancels_and_goes_on(tmp_path: Path) -> None:
    editor = Editor("leave")
    slow = f"first_token_s = 120\n{WORK}"
    async with connected(tmp_path, slow, editor) as (agent, session):
        async with anyio.create_task_group() as group:
            reasons: list[str] = []

            async def ask() -> None:
                ended = await agent.prompt(session_id=session, prompt=[acp.text_block("Write a file")])
                reasons.append(ended.stop_reason)

            group.start_soon(ask)
            await editor.news.wait()
            await agent.cancel(session_id=session)
        assert reasons == ["cancelled"]
        picture = acp.image_block("aGk=", "image/png")
        refused = await agent.prompt(session_id=session, prompt=[picture])
        assert refused.stop_reason == "end_turn"
        assert "describe it in words" in editor.of("agent_message_chunk")[-1].content.text
