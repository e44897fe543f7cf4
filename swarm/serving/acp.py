"""`swarm acp`: an agent of the Agent Client Protocol, so that editors can use a swarm as they use any other agent.

A prompt is a run on the repository around the session's folder. Its plan, sub-agents and notices are told as they
happen; the patch is shown as an edit, and applied only if the user of the editor says so.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import acp
import anyio
import anyio.to_thread
from acp import schema
from acp.helpers import SessionUpdate

from swarm import __version__
from swarm.config import RunConfig
from swarm.errors import BudgetExhausted, SwarmError, UsageError
from swarm.events import AgentEnded, AgentStarted, Event, StageStarted
from swarm.result import RunResult
from swarm.serving.jobs import Job, Jobs, Work
from swarm.serving.progress import Progress
from swarm.types import Outcome, Role, RunStatus
from swarm.whole_file import open_plain
from swarm.wiring import find_repository

MODES = {
    "plan": ("Plan", "a planner splits the task, sub-agents work on the parts at once"),
    "parl": ("PARL", "an orchestrator with tools starts sub-agents and gives them tasks"),
    "single": ("Single", "one agent, the baseline"),
}
_REMEMBERED = 4
_REMEMBERED_CHARS = 4_000
_SHOWN_PATCH = 100_000  # characters


@dataclass
class _Session:
    """One conversation: its folder, its mode, what was said, and the run at work."""

    folder: Path
    mode: str
    said: list[tuple[str, str]] = field(default_factory=list)
    job: Job | None = None
    cancelled: bool = False

    def task(self, prompt: str) -> str:
        """The prompt, after what was said before."""
        if not self.said:
            return prompt
        before = "\n\n".join(
            f"User: {asked[:_REMEMBERED_CHARS]}\nAnswer: {answer[:_REMEMBERED_CHARS]}"
            for asked, answer in self.said[-_REMEMBERED:]
        )
        return f"{prompt}\n\nWhat was said before in this conversation:\n\n{before}"


class SwarmAgent:
    """An agent as `acp.run_agent` takes it."""

    def __init__(self, jobs: Jobs, config: RunConfig) -> None:
        self._jobs = jobs
        self._config = config
        self._sessions: dict[str, _Session] = {}
        self._client: acp.Client | None = None

    def on_connect(self, conn: acp.Client) -> None:
        """See `acp.Agent`."""
        self._client = conn

    async def initialize(
        self,
        protocol_version: int,
        client_capabilities: schema.ClientCapabilities | None = None,
        client_info: schema.Implementation | None = None,
        **rest: Any,
    ) -> acp.InitializeResponse:
        """What this agent can take."""
        return acp.InitializeResponse(
            protocol_version=min(protocol_version, acp.PROTOCOL_VERSION),
            agent_capabilities=schema.AgentCapabilities(
                load_session=False,
                prompt_capabilities=schema.PromptCapabilities(image=False, audio=False, embedded_context=True),
            ),
            agent_info=schema.Implementation(name="swarm", version=__version__),
            auth_methods=[],
        )

    async def authenticate(self, method_id: str, **rest: Any) -> acp.AuthenticateResponse | None:
        """Keys come from the environment; there is nobody to ask."""
        return acp.AuthenticateResponse()

    async def new_session(
        self,
        cwd: str,
        additional_directories: list[str] | None = None,
        mcp_servers: Sequence[Any] | None = None,
        **rest: Any,
    ) -> acp.NewSessionResponse:
        """A conversation about the repository around a folder. Servers that the editor names are not started: name
        them with `--mcp`."""
        name = secrets.token_hex(8)
        self._sessions[name] = _Session(Path(cwd), self._config.mode)
        modes = [schema.SessionMode(id=key, name=title, description=text) for key, (title, text) in MODES.items()]
        state = schema.SessionModeState(current_mode_id=self._config.mode, available_modes=modes)
        return acp.NewSessionResponse(session_id=name, modes=state)

    async def set_session_mode(self, session_id: str, mode_id: str, **rest: Any) -> acp.SetSessionModeResponse:
        """How the next prompts are worked on."""
        if mode_id not in MODES:
            raise acp.RequestError.invalid_params({"modeId": mode_id})
        self._session(session_id).mode = mode_id
        return acp.SetSessionModeResponse()

    async def cancel(self, session_id: str, **rest: Any) -> None:
        """Ask the run to end with what is there."""
        session = self._session(session_id)
        session.cancelled = True
        if session.job is not None:
            session.job.stop.set()

    async def prompt(self, session_id: str, prompt: Sequence[Any], **rest: Any) -> acp.PromptResponse:
        """Run a task, tell what happens, and offer the patch."""
        session = self._session(session_id)
        if session.job is not None:
            raise acp.RequestError.invalid_params({"sessionId": "a prompt of this session is at work"})
        session.cancelled = False
        try:
            asked = _text_of(prompt)
            result, repo = await self._work(session_id, session, asked)
        except SwarmError as error:
            await self._tell(session_id, acp.update_agent_message_text(str(error)))
            return acp.PromptResponse(stop_reason="end_turn")
        finally:
            session.job = None
        session.said.append((asked, result.answer))
        await self._tell(session_id, acp.update_agent_message_text(_told(result)))
        if repo is not None and result.patch_path is not None and not session.cancelled:
            await self._offer(session_id, result, repo)
        return acp.PromptResponse(stop_reason=_reason(result, session))

    async def _work(self, session_id: str, session: _Session, asked: str) -> tuple[RunResult, Path | None]:
        """The run of a prompt: its events are told in order by this task, as they come."""
        repo = await _repository(session.folder)
        send, receive = anyio.create_memory_object_stream[Event](float("inf"))
        work = Work(session.task(asked), repo, {"mode": session.mode})
        session.job = job = await self._jobs.start(work, send.send_nowait)
        if session.cancelled:  # while it was being started
            job.stop.set()
        async with anyio.create_task_group() as group:

            async def close() -> None:
                await job.over.wait()
                send.close()

            group.start_soon(close)
            telling = _Telling()
            async with receive:
                async for event in receive:
                    for update in telling.of(event):
                        await self._tell(session_id, update)
        if job.result is None:
            raise job.fault or UsageError("the run was not begun")
        return job.result, repo

    async def _offer(self, session_id: str, result: RunResult, repo: Path) -> None:
        assert self._client is not None
        patch = await anyio.to_thread.run_sync(_read, Path(result.patch_path or ""))
        shown = acp.tool_content(acp.text_block(f"```diff\n{patch}\n```"))
        call = f"patch-{result.run_id}"
        await self._tell(
            session_id,
            acp.start_tool_call(
                call, f"Apply the patch to {repo.name}", kind="edit", status="pending", content=[shown]
            ),
        )
        answer = await self._client.request_permission(
            session_id=session_id,
            tool_call=schema.ToolCallUpdate(tool_call_id=call),
            options=[
                schema.PermissionOption(option_id="apply", name="Apply", kind="allow_once"),
                schema.PermissionOption(option_id="leave", name="Leave it", kind="reject_once"),
            ],
        )
        outcome = answer.outcome
        if not (isinstance(outcome, schema.AllowedOutcome) and outcome.option_id == "apply"):
            note = f"Not applied. It lies in {result.patch_path}; `swarm resume {result.run_id} --apply` applies it."
            await self._tell(session_id, acp.update_tool_call(call, status="failed"))
            await self._tell(session_id, acp.update_agent_message_text(note))
            return
        try:
            await anyio.to_thread.run_sync(_apply, repo, result)
        except SwarmError as error:
            await self._tell(session_id, acp.update_tool_call(call, status="failed"))
            await self._tell(session_id, acp.update_agent_message_text(f"Not applied: {error}"))
            return
        await self._tell(session_id, acp.update_tool_call(call, status="completed"))

    async def _tell(self, session_id: str, update: SessionUpdate) -> None:
        assert self._client is not None
        await self._client.session_update(session_id=session_id, update=update)

    def _session(self, session_id: str) -> _Session:
        if session_id not in self._sessions:
            raise acp.RequestError.invalid_params({"sessionId": f"no session {session_id}"})
        return self._sessions[session_id]


class _Telling:
    """What an editor is told of a run's events: a plan with an entry for each sub-task, and a tool call for each
    attempt."""

    def __init__(self) -> None:
        self._progress = Progress()

    def of(self, event: Event) -> list[SessionUpdate]:
        line = self._progress.observe(event)
        match event:
            case StageStarted():
                return [self._plan()]
            case AgentStarted() if event.role == Role.SUBAGENT and event.subtask is not None:
                title = event.subtask.title
                begun = acp.start_tool_call(event.trajectory_id, title, kind="execute", status="in_progress")
                return [begun, self._plan()]
            case AgentEnded() if line:
                good = event.outcome == Outcome.COMPLETED
                text = acp.tool_content(
                    acp.text_block(f"{event.outcome.value}: {event.final_output}"[:_REMEMBERED_CHARS])
                )
                status: schema.ToolCallStatus = "completed" if good else "failed"
                return [acp.update_tool_call(event.trajectory_id, status=status, content=[text]), self._plan()]
        return [acp.update_agent_thought_text(f"{line}\n")] if line else []

    def _plan(self) -> schema.AgentPlanUpdate:
        totals = self._progress.totals
        at_work = set(self._progress.at_work)
        entries = []
        for name, subtask in totals.subtasks.items():
            status: schema.PlanEntryStatus = "pending"
            if name in at_work:
                status = "in_progress"
            elif name in totals.outcome_of:
                status = "completed"
            entries.append(acp.plan_entry(subtask.title, status=status))
        return acp.update_plan(entries)


async def _repository(folder: Path) -> Path | None:
    try:
        return await find_repository(folder)
    except UsageError:
        return None


def _text_of(prompt: Sequence[Any]) -> str:
    """What was typed, with what the editor put in: texts as they are, files by their address.

    Raises:
        UsageError: there is something in it that no model here is given.
    """
    parts = []
    for block in prompt:
        if isinstance(block, schema.TextContentBlock):
            parts.append(block.text)
        elif isinstance(block, schema.ResourceContentBlock):
            parts.append(f"[{block.name}]({block.uri})")
        elif isinstance(block, schema.EmbeddedResourceContentBlock) and isinstance(
            block.resource, schema.TextResourceContents
        ):
            parts.append(f"\n{block.resource.uri}:\n{block.resource.text}\n")
        else:
            raise UsageError("the prompt holds an image or a sound", remedy="describe it in words")
    text = "".join(parts).strip()
    if not text:
        raise UsageError("the prompt is empty", remedy="say what is to be done")
    return text


def _told(result: RunResult) -> str:
    gate = "" if result.gate is None else f"; gate {'passed' if result.gate.passed else 'not passed'}"
    price = "" if result.cost_usd is None else f", {result.cost_usd:.2f} $"
    parts = f"{result.coverage.useful} of {result.coverage.asked} sub-tasks"
    return f"{result.answer}\n\n_{result.status.value}: {parts}{gate}; {result.usage.calls} calls{price}_\n"


_REASONS: Mapping[int, str] = {BudgetExhausted.exit_code: "max_tokens"}


def _reason(result: RunResult, session: _Session) -> Any:
    if session.cancelled or result.status is RunStatus.CANCELLED:
        return "cancelled"
    return _REASONS.get(result.exit_code, "end_turn")


def _read(path: Path) -> str:
    with open_plain(path) as file:
        text = file.read(4 * _SHOWN_PATCH).decode("utf-8", "replace")
    return text if len(text) <= _SHOWN_PATCH else f"{text[:_SHOWN_PATCH]}\n... more in {path}"


def _apply(repo: Path, result: RunResult) -> None:
    from swarm.sandboxes.git.applying import apply_answer

    apply_answer(repo, Path(result.run_dir) / "repo.git")
