"""A whole run that is steered while it goes on: what the record says of it, and what comes out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest

from swarm import Parts, RunConfig, RunResult, RunStatus, Swarm
from swarm.calls import ModelRequest
from swarm.cli.view import fold
from swarm.cli.view_parts import State
from swarm.events import AgentEnded, AgentTold, CallFinished, CallSent, ControlUsed, Event, ToolStarted
from swarm.scheduling.controls import Controls
from swarm.scheduling.stragglers import FINISH
from swarm.testing import FakeBackend, FakeSandbox, ScriptedModel, Turn, tool_call
from swarm.types import SandboxRequest

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWARM_HOME", str(tmp_path / "home"))


@dataclass
class StillSandbox(FakeSandbox):
    stands: anyio.Event = field(default_factory=anyio.Event)
    log: list[str] = field(default_factory=list)

    async def pause(self) -> None:
        self.log.append("pause")
        self.stands.set()

    async def resume(self) -> None:
        self.log.append("resume")


@dataclass
class StillBackend(FakeBackend):
    still: StillSandbox = field(default_factory=StillSandbox)

    @asynccontextmanager
    async def open(self, request: SandboxRequest) -> AsyncIterator[FakeSandbox]:
        yield self.still


def asks(request: ModelRequest, name: str) -> bool:
    return f"Sub-task {name}:" in str(request.messages[1]["content"])


def turn(request: ModelRequest, *names: str) -> Turn | None:
    """The planner's turn: sub-tasks of these names; None where a sub-agent asks."""
    if request.response_format is None:
        return None
    return {
        "rationale": "",
        "dropped": [],
        "subtasks": [
            {"id": name, "title": name, "instructions": "x", "depends_on": [], "files": [], "replaces": []}
            for name in names
        ],
    }


async def test_a_paused_run_stands_still_and_goes_on_where_it_was() -> None:
    def answer(request: ModelRequest) -> Turn:
        used = any(message["role"] == "tool" for message in request.messages)
        return turn(request, "a") or ("done" if used else tool_call("bash", command="true"))

    events: list[Event] = []
    controls = Controls()

    def watch(event: Event) -> None:
        events.append(event)
        if isinstance(event, ToolStarted):
            controls.pause()

    backend = StillBackend()
    results: list[RunResult] = []
    async with Swarm(config=RunConfig(), parts=Parts(model=ScriptedModel(answer), backend=backend)) as swarm:

        async def run() -> None:
            results.append(await swarm.run("x", on_event=watch, controls=controls))

        with anyio.fail_after(300):
            async with anyio.create_task_group() as group:
                group.start_soon(run)
                await backend.still.stands.wait()
                before = sum(isinstance(event, CallSent) for event in events)
                assert before == 2
                controls.set_concurrency(2)
                controls.resume()
    assert results[0].status is RunStatus.COMPLETED
    assert backend.still.log == ["pause", "resume"]
    used = [event.action for event in events if isinstance(event, ControlUsed)]
    assert used == ["pause", "concurrency", "resume"]


async def test_agents_are_asked_to_finish_or_stopped_by_name() -> None:
    async def answer(request: ModelRequest) -> Turn:
        if planned := turn(request, "soft", "hard"):
            return planned
        if asks(request, "hard"):
            await anyio.sleep_forever()
        return "done" if FINISH in str(request.messages[-1]["content"]) else tool_call("bash", command="true")

    events: list[Event] = []
    controls = Controls()

    def watch(event: Event) -> None:
        events.append(event)
        if isinstance(event, ToolStarted) and not any(isinstance(e, AgentTold) for e in events):
            controls.stop_agent("soft")
        if isinstance(event, AgentEnded) and event.trajectory_id == "soft":
            controls.stop_agent("hard", soft=False)

    config = RunConfig(max_stages=1)
    async with Swarm(config=config, parts=Parts(model=ScriptedModel(answer), backend=FakeBackend())) as swarm:
        with anyio.fail_after(300):
            result = await swarm.run("x", on_event=watch, controls=controls)
    assert result.outcomes == {"completed": 1, "cancelled": 1}
    assert (result.coverage.useful, result.coverage.missing) == (1, 1)
    (told,) = [event for event in events if isinstance(event, AgentTold)]
    assert (told.trajectory_id, told.reason) == ("soft", "asked")
    sent = [event for event in events if isinstance(event, CallFinished) and event.trajectory_id == "soft"]
    assert {"role": "user", "content": FINISH} in sent[-1].new_messages


async def test_one_agents_own_token_limit_ends_only_that_agent() -> None:
    def answer(request: ModelRequest) -> Turn:
        long: Any = tool_call("bash", command="x" * 4000)
        return turn(request, "long", "short") or (long if asks(request, "long") else "done")

    config = RunConfig(max_stages=1, agent_tokens=4000, concurrency=1)
    events: list[Event] = []
    async with Swarm(config=config, parts=Parts(model=ScriptedModel(answer), backend=FakeBackend())) as swarm:
        with anyio.fail_after(300):
            result = await swarm.run("x", on_event=events.append)
    stops = {event.trajectory_id: event.stop for event in events if isinstance(event, AgentEnded)}
    assert (stops["long"], stops["short"]) == ("max_tokens", "answered")
    assert result.status is RunStatus.PARTIAL
    assert all(e.usage.total_tokens <= 4000 for e in events if isinstance(e, AgentEnded))


async def test_a_second_attempt_beside_a_late_one_wins_and_is_the_only_result() -> None:
    asked: list[str] = []

    async def answer(request: ModelRequest) -> Turn:
        if planned := turn(request, "late", *"abcde"):
            return planned
        if asks(request, "late"):
            asked.append("late")
            if len(asked) == 1:
                await anyio.sleep_forever()
        return "done"

    config = RunConfig(max_stages=1, straggler_seconds=0.0, straggler_factor=1.0, hedge=True)
    events: list[Event] = []
    async with Swarm(config=config, parts=Parts(model=ScriptedModel(answer), backend=FakeBackend())) as swarm:
        with anyio.fail_after(300):
            result = await swarm.run("x", on_event=events.append)
    assert result.status is RunStatus.COMPLETED
    assert (result.coverage.asked, result.coverage.useful) == (6, 6)
    assert (result.outcomes, result.n_subagents) == ({"completed": 6}, 7)
    ends = {event.trajectory_id: event.outcome for event in events if isinstance(event, AgentEnded)}
    assert (ends["late"], ends["late#2"]) == ("cancelled", "completed")
    cancelled = [event for event in events if isinstance(event, CallFinished) and event.error == "cancelled"]
    assert [event.trajectory_id for event in cancelled] == ["late"]
    late = fold(events).agents[1, "late"]
    assert (late.state, late.attempt) == (State.COMPLETED, 2)
    assert result.critical_steps == 1 + 1
