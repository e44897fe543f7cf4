"""A small agent of the Agent Client Protocol, by the official package: it reads and writes a file, runs a command and
asks leave by way of its client. Run by itself."""

import asyncio
from pathlib import Path
from typing import Any, cast

import acp
from acp import schema

from tests.integration.worker_agent import ask


class Agent:
    """As `acp.run_agent` takes it."""

    def on_connect(self, conn: acp.Client) -> None:
        self.client = conn

    async def initialize(self, protocol_version: int, **rest: Any) -> acp.InitializeResponse:
        return acp.InitializeResponse(protocol_version=protocol_version)

    async def new_session(self, cwd: str, **rest: Any) -> acp.NewSessionResponse:
        self.cwd = cwd
        return acp.NewSessionResponse(session_id="one")

    async def cancel(self, session_id: str, **rest: Any) -> None: ...

    async def prompt(self, session_id: str, prompt: list[Any], **rest: Any) -> acp.PromptResponse:
        client, path = self.client, str(Path(self.cwd, "a.txt"))
        await client.session_update(session_id, acp.update_agent_message_text("I begin."))
        message = await asyncio.to_thread(ask, [{"role": "user", "content": prompt[0].text}])
        await client.session_update(session_id, acp.start_tool_call("t", "Write a.txt", status="pending"))
        options = [
            schema.PermissionOption(option_id="no", name="No", kind="reject_once"),
            schema.PermissionOption(option_id="yes", name="Yes", kind="allow_once"),
        ]
        about = schema.ToolCallUpdate(tool_call_id="t", title="Write a.txt")
        asked = await client.request_permission(session_id=session_id, tool_call=about, options=options)
        old = await client.read_text_file(session_id=session_id, path=path)
        await client.write_text_file(session_id=session_id, path=path, content=old.content + str(message["content"]))
        ran = await client.create_terminal(session_id=session_id, command="wc", args=["-l", "a.txt"], cwd=self.cwd)
        await client.wait_for_terminal_exit(session_id=session_id, terminal_id=ran.terminal_id)
        told = await client.terminal_output(session_id=session_id, terminal_id=ran.terminal_id)
        await client.release_terminal(session_id=session_id, terminal_id=ran.terminal_id)
        await client.session_update(session_id, acp.update_tool_call("t", status="completed"))
        outcome = asked.outcome.option_id if isinstance(asked.outcome, schema.AllowedOutcome) else "none"
        for part in (f"leave: {outcome}; ", f"lines: {told.output.strip()}"):
            await client.session_update(session_id, acp.update_agent_message_text(part))
        return acp.PromptResponse(stop_reason="end_turn")


if __name__ == "__main__":
    asyncio.run(acp.run_agent(cast(acp.Agent, Agent())))
