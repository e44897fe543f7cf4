"""Whole runs on little: never a token over, never stuck, and what was reached is in the answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from swarm import RunConfig, RunResult, RunStatus, Swarm
from swarm.calls import ModelRequest
from swarm.config import Price, SandboxName
from swarm.events import AgentEnded, AgentTold, CallFinished, Event, LimitReached, SubTaskSkipped, ToolStarted
from swarm.parts import Parts
from swarm.scheduling.controls import Controls
from swarm.testing import Answer, FakeBackend, ScriptedModel, Turn, tool_call
from swarm.types import ToolCall
from tests.integration.conftest import Files, Script, plan, submit, subtask, use

pytestmark = pytest.mark.anyio

DONE = tool_call("submit", status="done", summary="did it")
HALF = tool_call("submit", status="partial", summary="half of it")


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWARM_HOME", str(tmp_path / "home"))


@pytest.fixture
def repo(make_repo: Callable[[Files], Path]) -> Path:
    return make_repo({"a.txt": "a\n"})


async def run(config: RunConfig, repo: Path | None = None, **more: Any) -> tuple[RunResult, list[Event]]:
    seen: list[Event] = []
    parts, controls, watch = more.pop("parts", Parts()), more.pop("controls", None), more.pop("watch", None)

    def see(event: Event) -> None:
        seen.append(event)
        if watch is not None:
            watch(event)

    with anyio.fail_after(300):
        async with Swarm(config=config, parts=parts) as swarm:
            return await swarm.run("x", repo=repo, on_event=see, controls=controls, **more), seen


def tokens(result: RunResult) -> int:
    return result.usage.prompt_tokens + result.usage.completion_tokens


def of(kind: type[Any], events: list[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def model(agent: Callable[[ModelRequest, int], Turn], names: list[str], first: str = "") -> Answer:
    """A planner with one plan of these sub-tasks, an aggregator that merges, and agents that do as they are told.
    `agent` gets the request and how many calls the agent has made before. The others depend on the `first`."""
    tasks = [subtask(name, depends_on=[first] if first not in ("", name) else []) for name in names]

    def answer(request: ModelRequest) -> Turn:
        if request.response_format is not None:
            again = any(message["role"] == "assistant" for message in request.messages)
            return {"rationale": "", "subtasks": [] if again else tasks, "dropped": []}
        if not request.tools:
            return "merged\n\nSources: " + ", ".join(names)
        return agent(request, sum(message["role"] == "assistant" for message in request.messages))

    return answer


def told(request: ModelRequest) -> bool:
    return any("Finish now with what you have" in str(message.get("content")) for message in request.messages)


def look(at: int) -> ToolCall:
    return tool_call("bash", command=f"echo {at} {'x' * 400}")


def delegate(*prompts: str) -> dict[str, Any]:
    """A turn of an orchestrator with a stage of these assignments."""
    create = {"name": "create_subagent", "arguments": {"name": prompts[0], "system_prompt": "work"}}
    assign = [{"name": "assign_task", "arguments": {"agent": prompts[0], "prompt": prompt}} for prompt in prompts]
    return {"tool_calls": [create, *assign]}


NAMES = [f"t{n}" for n in range(8)]


@pytest.mark.parametrize("limit", [2_000, 6_000, 18_000, 40_000])
@pytest.mark.parametrize("what", ["tokens", "dollars"])
async def test_obedient_agents_land_softly_and_what_they_have_is_merged(limit: int, what: str) -> None:
    scripted = ScriptedModel(model(lambda request, at: HALF if told(request) else look(at), NAMES))
    prices = {"scripted": Price(prompt=100.0, completion=100.0)}  # a token is a hundredth of a cent
    budget: dict[str, Any] = {"budget_tokens": limit} if what == "tokens" else {"budget_usd": limit / 10_000}
    config = RunConfig(model="scripted", prices=prices, **budget)
    result, events = await run(config, parts=Parts(model=scripted, backend=FakeBackend()))
    assert tokens(result) <= limit
    assert (result.status, result.exit_code) == (RunStatus.BUDGET_EXHAUSTED, 4)
    assert all(request.max_tokens is not None for request in scripted.requests)
    if limit < 10_000:  # not enough for eight agents to be told, and to say what they have
        return
    ends = of(AgentEnded, events)
    assert {"submitted_partial"} == {end.stop for end in ends if end.trajectory_id in NAMES}
    assert {event.trajectory_id for event in of(AgentTold, events)} == set(NAMES)
    assert result.answer.startswith("merged")
    assert "0 of 8 sub-tasks gave a useful result" in result.answer
    assert "hard" not in [event.level for event in of(LimitReached, events)]  # nobody was cut off


@pytest.mark.parametrize("mode", ["plan", "single"])
async def test_agents_that_do_not_listen_are_cut_off_and_the_end_is_still_paid(mode: Any) -> None:
    def agent(request: ModelRequest, at: int) -> Turn:
        return DONE if at == 1 and "Sub-task t0:" in str(request.messages[1]) else look(at)

    scripted = ScriptedModel(model(agent, NAMES, first="t0"))  # else chance says who meets the limit
    config = RunConfig(mode=mode, model="scripted", budget_tokens=30_000)
    result, events = await run(config, parts=Parts(model=scripted, backend=FakeBackend()))
    assert tokens(result) <= 30_000
    assert (result.status, result.exit_code) == (RunStatus.BUDGET_EXHAUSTED, 4)
    if mode == "plan":
        assert result.coverage.useful == 1
        assert result.answer.startswith("did it")
        assert "1 of 8 sub-tasks gave a useful result. Missing: t1 to t7 (budget exhausted)" in result.answer
        assert {end.stop for end in of(AgentEnded, events) if end.trajectory_id in NAMES} == {"submitted", "budget"}


async def test_fifty_agents_on_one_small_budget_neither_overshoot_nor_hang() -> None:
    names = [f"t{n}" for n in range(50)]
    scripted = ScriptedModel(model(lambda request, at: DONE if at == 3 else look(at), names))
    free, _ = await run(RunConfig(model="scripted", concurrency=50), parts=Parts(model=scripted, backend=FakeBackend()))
    assert free.status is RunStatus.COMPLETED
    for part in (0.1, 0.5, 0.9, 1.4):
        limit = int(tokens(free) * part)
        config = RunConfig(model="scripted", concurrency=50, budget_tokens=limit)
        result, _ = await run(config, parts=Parts(model=scripted, backend=FakeBackend()))
        assert tokens(result) <= limit
        assert result.status is (RunStatus.COMPLETED if part > 1 else RunStatus.BUDGET_EXHAUSTED)
        assert result.coverage.asked == 50


async def test_sub_tasks_that_cannot_be_paid_are_not_started_and_named(tmp_path: Path) -> None:
    scripted = ScriptedModel(model(lambda request, at: DONE if at == 2 else look(at), NAMES))
    parts = Parts(model=scripted, backend=FakeBackend())
    free, _ = await run(RunConfig(model="scripted", concurrency=1), parts=parts)
    config = RunConfig(model="scripted", concurrency=1, budget_tokens=int(tokens(free) * 0.7))
    result, events = await run(config, parts=parts)
    skipped = of(SubTaskSkipped, events)
    assert skipped
    assert all("nothing new is started" in event.reason for event in skipped)
    assert result.coverage.useful + len(skipped) == 8  # nobody began in vain
    assert (result.status, result.exit_code) == (RunStatus.BUDGET_EXHAUSTED, 4)
    assert result.answer.startswith("merged")


async def test_an_endpoint_that_counts_more_than_it_was_asked_for_is_counted_told_and_asked_no_more() -> None:
    scripted = ScriptedModel(model(lambda request, at: look(at), NAMES[:1]))
    plain = scripted.complete

    async def wasteful(request: ModelRequest) -> Any:
        reply = await plain(request)
        if request.tools:
            object.__setattr__(reply, "usage", reply.usage.model_copy(update={"completion_tokens": 9_000}))
        return reply

    scripted.complete = wasteful  # type: ignore[method-assign]  # a model that thinks longer than it may
    parts = Parts(model=scripted, backend=FakeBackend())
    result, events = await run(RunConfig(model="scripted", budget_tokens=5_000), parts=parts)
    assert (result.status, result.exit_code) == (RunStatus.BUDGET_EXHAUSTED, 4)
    assert sum(call.usage.completion_tokens == 9_000 for call in of(CallFinished, events)) == 1
    assert tokens(result) > 9_000
    assert "over" in [event.level for event in of(LimitReached, events)]


async def test_a_budget_that_is_raised_lets_the_run_go_on() -> None:
    controls = Controls()
    scripted = ScriptedModel(model(lambda request, at: DONE if at == 9 else look(at), NAMES))

    def generous(event: Event) -> None:
        if isinstance(event, LimitReached) and event.level == "soft":
            controls.set_budget(tokens=10_000_000)

    parts = Parts(model=scripted, backend=FakeBackend())
    with anyio.fail_after(300):
        async with Swarm(config=RunConfig(model="scripted", budget_tokens=30_000), parts=parts) as swarm:
            result = await swarm.run("x", on_event=generous, controls=controls)
    assert result.status is RunStatus.COMPLETED
    assert tokens(result) > 30_000


async def test_an_orchestrator_has_the_last_word_when_its_agents_have_used_theirs(script: Script) -> None:
    script.planner(delegate("p0", "p1", "p2", "p3"), delegate("more"), {"content": "what I have"})
    script.rules.append({"role": "subagent", "turns": [use("bash", command="seq 900")], "loop": True})
    limit = 40_000
    config = RunConfig(mode="parl", model=script.model, budget_tokens=limit, sandbox="process")
    result, events = await run(config)
    assert tokens(result) <= limit
    assert (result.status, result.exit_code) == (RunStatus.BUDGET_EXHAUSTED, 4)
    assert result.answer.startswith("what I have")
    assert result.n_subagents == 4
    last = [call for call in of(CallFinished, events) if call.trajectory_id == "orchestrator" and call.accepted]
    assert "no further ones can be started" in str(last[1].new_messages)
    assert "not started: " in str(last[2].new_messages)


@pytest.mark.parametrize(("mode", "limit"), [("plan", 1), ("plan", 4), ("parl", 2), ("parl", 5), ("single", 3)])
async def test_critical_steps_are_never_passed(script: Script, mode: Any, limit: int) -> None:
    turn = delegate("a", "b", "c") if mode == "parl" else plan(*map(subtask, "abc"))
    script.planner(turn, {"content": "the last word"})
    script.rules.append({"role": "subagent", "turns": [use("bash", command="true; date +%N")], "loop": True})
    script.rules.append({"role": "aggregator", "turns": [{"content": "merged"}]})
    config = RunConfig(mode=mode, model=script.model, max_critical_steps=limit, sandbox="process")
    result, _ = await run(config)
    assert result.critical_steps <= limit
    assert (result.status, result.exit_code) == (RunStatus.BUDGET_EXHAUSTED, 4)
    if (mode, limit) == ("parl", 5):
        assert (result.critical_steps, result.answer.splitlines()[0]) == (5, "the last word")


async def test_what_one_agent_has_changed_at_its_limit_is_in_the_patch(
    script: Script, repo: Path, box: SandboxName
) -> None:
    turns = [use("write", path="a.txt", content="A\n"), *[use("bash", command=f"echo {n}") for n in range(9)]]
    script.rules.append({"role": "subagent", "turns": turns})
    config = RunConfig(mode="single", model=script.model, max_steps=4, sandbox=box)
    result, events = await run(config, repo)
    assert (result.status, result.coverage.useful) == (RunStatus.FAILED, 0)
    assert result.patch_path is not None
    assert "+A" in Path(result.patch_path).read_text()
    assert [event.reason for event in of(AgentTold, events)] == ["budget"]


async def test_the_time_of_a_run_leaves_some_for_its_end(
    script: Script, repo: Path, box: SandboxName, skip_time: Callable[[float], None]
) -> None:
    script.planner(plan(subtask("one"), subtask("two"), subtask("three", depends_on=["two"])))
    script.agent("one", use("write", path="a.txt", content="A\n"), submit())
    script.agent("two", use("bash", command="sleep 1000"), submit())
    config = RunConfig(model=script.model, sandbox=box, timeout=200, reserve=0.5)
    awaited = {"one has ended", "two is at work"}

    def watch(event: Event) -> None:
        if isinstance(event, AgentEnded) and event.trajectory_id == "one":
            awaited.discard("one has ended")
        if isinstance(event, ToolStarted) and event.trajectory_id == "two":
            awaited.discard("two is at work")
        if not awaited:
            awaited.add("once")
            skip_time(100)

    result, events = await run(config, repo, test="grep A a.txt", watch=watch)
    assert (result.status, result.exit_code) == (RunStatus.PARTIAL, 1)
    assert result.gate is not None
    assert result.gate.passed
    (late,) = [end for end in of(AgentEnded, events) if end.trajectory_id == "two"]
    assert (late.stop, late.final_output) == ("timeout", "stopped: the run has no more time for it")
    assert any("no further ones can be started" in event.message for event in events if event.type == "notice")
