"""Admission against a real endpoint: hard limits, quotas, keys and outages, with many agents at once."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from swarm import RunConfig, RunResult, RunStatus, Swarm
from swarm.agents.conversation import Conversation, Line
from swarm.budgets.budget import Budget
from swarm.budgets.levels import Limits
from swarm.budgets.sizes import ASSUMED
from swarm.config import SandboxName
from swarm.embedded.faults import Fault, Faults
from swarm.embedded.limits import Limit
from swarm.embedded.script import Script as ScriptFile
from swarm.embedded.script import ScriptPolicy
from swarm.embedded.server import running_endpoint
from swarm.errors import EndpointError, EndpointFault
from swarm.events import CallFinished, CallSent, Event, Notice, RunEnded
from swarm.models.admission.governor import Governor
from swarm.models.service import GovernedModel
from swarm.models.wire.client import OpenAIModel, open_client
from swarm.types import Role
from tests.integration.conftest import Script, plan, submit, subtask, use

pytestmark = pytest.mark.anyio
POLICY = ScriptPolicy(ScriptFile.model_validate({"rules": [{"turns": [{"content": "done"}]}]}), "test")
SLOW = ScriptPolicy(ScriptFile.model_validate({"rules": [{"turns": [{"content": "x", "first_token_s": 1e6}]}]}), "test")


@dataclass
class Sink:
    events: list[Event] = field(default_factory=list)

    def emit(self, event: Event) -> None:
        self.events.append(event)

    async def flush(self) -> None: ...

    @property
    def notices(self) -> list[str]:
        return [event.message for event in self.events if isinstance(event, Notice)]

    @property
    def errors(self) -> list[str]:
        return [event.error for event in self.events if isinstance(event, CallFinished) and not event.accepted]


@dataclass
class Crowd:
    """Agents that share a line to one endpoint."""

    url: str
    service: GovernedModel
    sink: Sink = field(default_factory=Sink)
    budget: Budget = field(default_factory=lambda: Budget(Limits()))
    finished: int = 0
    faults: list[EndpointError] = field(default_factory=list)

    async def agent(self, number: int, calls: int) -> None:
        line = Line(self.service, self.budget, self.sink)
        conversation = Conversation(line, f"agent-{number}", Role.SUBAGENT, [{"role": "user", "content": "go"}])
        try:
            for _ in range(calls):
                await conversation.ask()
        except EndpointError as error:
            self.faults.append(error)
        else:
            self.finished += 1

    async def work(self, agents: int, calls: int) -> None:
        with anyio.fail_after(300):
            async with anyio.create_task_group() as group:
                for number in range(agents):
                    group.start_soon(self.agent, number, calls)

    async def counted(self) -> dict[str, Any]:
        async with httpx.AsyncClient(trust_env=False) as client:
            counts: dict[str, Any] = (await client.get(self.url.removesuffix("/v1") + "/health")).json()
            return counts


@asynccontextmanager
async def crowd(url: str, ceiling: int = 256, park: float = 0.0) -> AsyncIterator[Crowd]:
    async with open_client(url, None) as client:
        yield Crowd(url, GovernedModel(OpenAIModel(client, "embedded"), Governor(ceiling, park)))


@asynccontextmanager
async def endpoint(*faults: Fault, limit: Limit | None = None, port: int = 0) -> AsyncIterator[str]:
    async with running_endpoint({"embedded": POLICY}, faults=Faults(faults, limit=limit), port=port) as url:
        yield url


@pytest.mark.parametrize("headers", [False, True])
@pytest.mark.parametrize("retry_after", [False, True])
@pytest.mark.parametrize("kind", ["window", "bucket"])
async def test_no_agent_fails_by_a_rate_limit(kind: Any, retry_after: bool, headers: bool) -> None:
    limit = Limit(requests=40, per_s=0.5, kind=kind, retry_after=retry_after, headers=headers)
    async with endpoint(limit=limit) as url, crowd(url) as agents:
        await agents.work(40, 4)
        assert (agents.finished, agents.faults) == (40, [])
        counts = await agents.counted()
        assert counts["let through"] == 160
        assert counts.get("refused", 0) == agents.service.governor.statistics().refused
        assert counts.get("refused", 0) < 160
        assert len(agents.sink.notices) <= 1  # for all agents together
        assert agents.service.governor.statistics().in_flight == 0


async def test_a_limit_of_calls_at_once_is_found() -> None:
    limit = Limit(requests=100_000, in_flight=3, retry_after=False)
    async with endpoint(limit=limit) as url, crowd(url) as agents:
        await agents.work(30, 5)
        assert (agents.finished, agents.faults) == (30, [])
        assert agents.service.governor.statistics().window < 16


async def test_a_thousand_agents_released_at_once_all_come_home() -> None:
    limit = Limit(requests=300, per_s=0.6)
    async with endpoint(limit=limit) as url, crowd(url) as agents:
        await agents.work(1000, 1)
        assert (agents.finished, agents.faults) == (1000, [])


async def test_the_wall_clock_may_jump(monkeypatch: pytest.MonkeyPatch) -> None:
    jumps: Iterator[int] = count()
    monkeypatch.setattr(time, "time", lambda: 1e9 + (-1) ** next(jumps) * 86_400.0)
    limit = Limit(requests=20, per_s=0.3)
    async with endpoint(limit=limit) as url, crowd(url) as agents:
        await agents.work(20, 3)
        assert (agents.finished, agents.faults) == (20, [])


async def test_an_endpoint_that_dies_and_comes_back_loses_nobody(free_port: int) -> None:
    port = free_port
    async with crowd(f"http://127.0.0.1:{port}/v1") as agents:
        async with endpoint(port=port):
            await agents.work(1, 1)
        async with anyio.create_task_group() as group:
            group.start_soon(agents.work, 50, 3)
            with anyio.fail_after(300):
                while not agents.service.governor.statistics().parked:
                    await anyio.wait_all_tasks_blocked()
            async with endpoint(port=port):
                with anyio.fail_after(300):
                    while agents.finished + len(agents.faults) < 51:
                        await anyio.wait_all_tasks_blocked()
        assert (agents.finished, agents.faults) == (51, [])
        assert [text.split(";")[-1].strip() for text in agents.sink.notices] == [
            "calls wait for it to come back",
            "the endpoint answers again: calls go on",
        ]


async def test_nobody_holds_budget_while_waiting_for_admission_or_a_place_while_waiting_for_budget() -> None:
    limits = Limits(tokens=3 * ASSUMED)
    async with running_endpoint({"embedded": SLOW}) as url, crowd(url, ceiling=2) as agents:
        agents.budget = Budget(limits)
        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(agents.agent, number, 1)
            with anyio.fail_after(300):
                while agents.service.governor.statistics().in_flight < 2:
                    await anyio.wait_all_tasks_blocked()
            assert agents.budget.held.steps == 2  # those in flight, and none of the 18 that wait
            group.cancel_scope.cancel()
        assert agents.budget.held.steps == 0
        assert agents.service.governor.statistics()[:3] == (0, 2, 0)
    async with endpoint() as url, crowd(url, ceiling=4) as agents:
        agents.budget = Budget(limits)  # room for two reservations, places for four
        await agents.work(20, 3)
        assert (agents.finished, agents.faults) == (20, [])
        assert agents.budget.held.steps == 0


# whole runs


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWARM_HOME", str(tmp_path / "home"))


async def run(config: RunConfig) -> tuple[RunResult, list[Event]]:
    seen: list[Event] = []
    with anyio.fail_after(300):
        async with Swarm(config=config) as swarm:
            return await swarm.run("x", on_event=seen.append), seen


def eight_agents(script: Script) -> None:
    names = [f"t{n}" for n in range(8)]
    script.planner(plan(*map(subtask, names)))
    for name in names:
        script.agent(name, use("bash", command="true"), use("bash", command="true"), submit("found it"))
    script.rules.append({"role": "aggregator", "turns": [{"content": "all found it"}]})


@pytest.mark.parametrize("kind", [EndpointFault.QUOTA_EXHAUSTED, EndpointFault.WRONG_KEY])
async def test_a_fault_that_meets_everybody_ends_the_run_and_nothing_new_is_sent(
    script: Script, box: SandboxName, kind: EndpointFault
) -> None:
    eight_agents(script)
    fault = "quota" if kind is EndpointFault.QUOTA_EXHAUSTED else "wrong_key"
    script.faults.append({"kind": fault, "position": list(range(8, 100))})
    result, events = await run(RunConfig(model=script.model, sandbox=box, concurrency=4))
    assert (result.status, result.exit_code) == (RunStatus.ERRORED, 3)
    ended = events[-1]
    assert isinstance(ended, RunEnded)
    assert ("quota" if fault == "quota" else "key") in ended.error
    calls = [event for event in events if isinstance(event, CallSent | CallFinished)]
    first = next(n for n, call in enumerate(calls) if isinstance(call, CallFinished) and call.error == kind)
    assert not [call for call in calls[first:] if isinstance(call, CallSent)]


async def test_a_parked_run_goes_on_when_the_quota_is_there_again(script: Script, box: SandboxName) -> None:
    eight_agents(script)
    script.faults.append({"kind": "quota", "position": list(range(8, 16))})
    result, events = await run(RunConfig(model=script.model, sandbox=box, park=0.05))
    assert (result.status, result.exit_code, result.outcomes) == (RunStatus.COMPLETED, 0, {"completed": 8})
    notices = [event.message for event in events if isinstance(event, Notice) and "no isolation" not in event.message]
    assert len(notices) == 2, notices
    assert "parked" in notices[0]
    assert "answers again" in notices[1]
