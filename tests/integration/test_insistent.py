"""An orchestrator that insists: a run never has more agents than `--max-agents`, and says each time how to go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from swarm import Parts, RunConfig, RunResult, RunStatus, Swarm
from swarm.approval import Approve, Question
from swarm.calls import ModelRequest
from swarm.events import AgentEnded, AgentStarted, BoardPosted, Event, Notice, RunEnded, ToolFinished
from swarm.scheduling.controls import Controls
from swarm.testing import FakeBackend, ScriptedModel, Turn, tool_call
from swarm.types import Outcome, Plan, SubTask, ToolCall, ToolStatus

pytestmark = pytest.mark.anyio

CREATE = tool_call("create_subagent", name="hand", system_prompt="You work.")


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWARM_HOME", str(tmp_path / "home"))


def assign(number: int, agent: str = "hand") -> ToolCall:
    return tool_call("assign_task", agent=agent, prompt=f"task {number}")


async def run(
    turns: list[Turn], approve: Approve | None = None, **config: Any
) -> tuple[RunResult, list[Event], ScriptedModel]:
    """The orchestrator plays its turns one after the other; agents answer at once."""

    def answer(request: ModelRequest) -> Turn:
        if any(schema["function"]["name"] == "submit" for schema in request.tools):
            return "did it"
        played: int = sum(message["role"] == "assistant" for message in request.messages)
        return turns[played]

    model, seen = ScriptedModel(answer), list[Event]()
    settings = RunConfig.model_validate({"mode": "parl", "straggler_factor": 0, **config})
    async with Swarm(config=settings, parts=Parts(model=model, backend=FakeBackend())) as swarm:
        return await swarm.run("do it", repo=None, on_event=seen.append, approve=approve), seen, model


def started(seen: list[Event]) -> list[str]:
    return [event.trajectory_id for event in seen if isinstance(event, AgentStarted) and event.role == "subagent"]


def answers(seen: list[Event], name: str = "assign_task") -> list[ToolFinished]:
    return [event for event in seen if isinstance(event, ToolFinished) and event.name == name]


async def test_a_thousand_tasks_in_one_turn_and_again_after_each_refusal() -> None:
    flood = [assign(number) for number in range(1_000)]
    more: list[Turn] = [[*flood[:10]] for _ in range(5)]
    done, seen, model = await run([[CREATE, *flood], *more, "that is all"], max_agents=8, concurrency=4)
    assert done.status is RunStatus.COMPLETED
    assert started(seen) == [f"hand-{number}" for number in range(1, 9)]
    assert (done.n_subagents, done.peak_concurrency <= 4) == (8, True)
    told = answers(seen)
    assert len(told) == 1_000 + 5 * 10
    refused = [event for event in told if "not started: all 8 agents of the run were used" in event.result]
    assert len(refused) == 1_000 - 8 + 5 * 10
    assert {event.status for event in refused} == {ToolStatus.FAILED}
    last = model.requests[-1].messages
    replies = [message for message in last if message["role"] == "tool"]
    assert len(replies) == 1 + 1_000 + 5 * 10  # each call has its answer, in its order
    assert replies[1]["content"].startswith("[completed]")


async def test_one_that_never_gives_up_is_ended_by_its_steps() -> None:
    turns: list[Turn] = [[CREATE], *([assign(n), assign(1, "ghost"), CREATE] for n in range(50))]
    done, seen, model = await run(turns, max_agents=1, max_orchestrator_steps=20)
    assert started(seen) == ["hand-1"]
    assert (done.status, done.exit_code, done.n_subagents) == (RunStatus.BUDGET_EXHAUSTED, 4, 1)
    assert done.answer  # what there is
    assert len([r for r in model.requests if not any("submit" in str(t) for t in r.tools)]) == 20


@pytest.mark.parametrize("again", [CREATE, tool_call("bash", command="ls"), assign(1)])
async def test_one_that_goes_round_in_circles_is_ended_and_told_why(again: ToolCall) -> None:
    turns: list[Turn] = [[CREATE, assign(1)], *[[again]] * 50]
    done, seen, model = await run(turns, max_agents=1)
    ended = seen[-1]
    assert isinstance(ended, RunEnded)
    assert (done.status, done.exit_code) == (RunStatus.FAILED, 1)
    assert ended.error == (
        f"the orchestrator went round in circles: the same {again.name} call 6 times in a row, with the same results"
    )
    assert sum("submit" not in str(request.tools) for request in model.requests) == 1 + 6


async def test_what_is_asked_of_many_alike_in_one_turn_is_no_circle() -> None:
    turns: list[Turn] = [[CREATE, *[assign(1)] * 20], "that is all"]
    done, *_ = await run(turns, max_agents=20)
    assert (done.status, done.coverage.useful) == (RunStatus.COMPLETED, 20)


@pytest.mark.parametrize("asks", [False, True])
async def test_after_the_last_stage_it_is_asked_for_its_answer(asks: bool) -> None:
    turns: list[Turn] = [[CREATE, assign(1)], [assign(2)], *([[assign(3)]] if asks else []), "one and two are done"]
    done, seen, model = await run(turns, max_stages=2)
    assert (done.status, done.answer) == (RunStatus.COMPLETED, "one and two are done")
    assert started(seen) == ["hand-1", "hand-2"]
    words = "all 2 stages of the run are used: no further sub-agents can be started"
    assert any(message["role"] == "user" and words in message["content"] for message in model.requests[-1].messages)
    assert [words in event.result for event in answers(seen)] == [False, False, *([True] if asks else [])]


async def test_after_the_last_stage_no_answer_is_no_completed_run() -> None:
    turns: list[Turn] = [[CREATE, assign(1)], *([assign(n)] for n in range(50))]
    done, seen, _ = await run(turns, max_stages=1, max_orchestrator_steps=12)
    assert (done.status, done.exit_code, started(seen)) == (RunStatus.BUDGET_EXHAUSTED, 4, ["hand-1"])


async def test_after_the_last_stage_a_planner_is_not_asked_again() -> None:
    both = [
        {"id": name, "title": name, "instructions": name, "depends_on": [], "files": [], "kind": ""} for name in "ab"
    ]
    planned = 0

    def answer(request: ModelRequest) -> Turn:
        nonlocal planned
        if "Sub-task a" in str(request.messages[1]):
            return "this is a"
        if "Sub-task b" in str(request.messages[1]):
            return tool_call("submit", status="failed", summary="no")
        planned += 1
        return {"rationale": "r", "subtasks": both, "dropped": []}

    seen = list[Event]()
    parts = Parts(model=ScriptedModel(answer), backend=FakeBackend())
    async with Swarm(config=RunConfig(max_stages=1), parts=parts) as swarm:
        done = await swarm.run("do it", repo=None, on_event=seen.append)
    ended = seen[-1]
    assert isinstance(ended, RunEnded)
    assert (done.status, done.exit_code, planned) == (RunStatus.PARTIAL, 1, 1)
    assert ended.error == "1 of 2 sub-tasks gave a useful result"
    [told] = [event.message for event in seen if isinstance(event, Notice)]
    assert told == "the one stage of the run is used: no further sub-agents can be started"


async def test_an_answer_of_its_own_is_a_completed_run() -> None:
    done, *_ = await run(["42"])
    assert (done.status, done.exit_code, done.answer, done.coverage.asked) == (RunStatus.COMPLETED, 0, "42", 0)


async def test_it_is_told_what_became_of_sub_tasks_that_the_user_added() -> None:
    more = SubTask(id="hand-2", title="one more", instructions="and look there")

    async def approve(question: Question) -> Plan | bool:
        if question.plan is None or question.stage > 1:
            return True
        return Plan(subtasks=(*question.plan.subtasks, more))

    done, seen, model = await run([[CREATE, assign(1)], [assign(2)], "that is all"], approve=approve)
    assert (done.status, done.coverage.useful) == (RunStatus.COMPLETED, 3)
    assert started(seen) == ["hand-1", "hand-2", "hand-3"]
    told = [message["content"] for message in model.requests[-1].messages if message["role"] == "user"]
    assert any("## hand-2: one more\n\nAsked: and look there\n\nAnswer: [completed]" in text for text in told)


async def test_every_malformed_call_says_how_to_mend_it() -> None:
    wrong: list[tuple[ToolCall, str]] = [
        (ToolCall("c1", "assign_task", "{"), '"agent": string, "prompt": string'),
        (ToolCall("c2", "assign_task", '["hand"]'), '"agent": string, "prompt": string'),
        (ToolCall("c3", "assign_task", '{"agent": "hand"}'), "prompt: Field required"),
        (ToolCall("c4", "assign_task", '{"agent": "hand", "prompt": 7}'), "prompt: Input should be a valid string"),
        (ToolCall("c5", "assign_task", '{"agent": "hand", "prompt": "x", "n": 9}'), "n: Extra inputs"),
        (ToolCall("c6", "assign_task", '{"agent": "hand", "prompt": "  "}'), "the prompt is empty"),
        (ToolCall("c7", "assign_task", '{"agent": "Hand", "prompt": "x"}'), "registered: 'hand'"),
        (ToolCall("c8", "create_subagent", '{"name": "hand", "system_prompt": "other"}'), "there is an agent 'hand'"),
        (ToolCall("c9", "create_subagent", '{"name": " ", "system_prompt": ""}'), "the name is empty"),
        (ToolCall("c10", "create_subagent", f'{{"name": "{"x" * 200}", "system_prompt": ""}}'), "of at most 100"),
        (ToolCall("c11", "create_subagent", ""), '"name": string, "system_prompt": string'),
        (ToolCall("c12", "assign_tasks", "{}"), "there is no tool 'assign_tasks'"),
    ]
    calls = [CREATE, *(call for call, _ in wrong)]
    done, seen, _ = await run([calls, [assign(1)], "mended"], max_agents=2)
    assert (done.status, done.answer) == (RunStatus.COMPLETED, "mended")
    assert started(seen) == ["hand-1"]  # what was refused took no place and no number
    told = {event.tool_call_id: event for event in seen if isinstance(event, ToolFinished)}
    for call, words in wrong:
        assert words in told[call.id].result
        assert told[call.id].status is ToolStatus.FAILED


@pytest.mark.parametrize("whom", ["lead-1", "lead-1.1", "all"])
async def test_what_ends_a_lead_ends_its_group_and_nobody_else(whom: str) -> None:
    """The lead's only hand hangs in a call for ever. The other lead waits for the one place that there is."""
    controls, stop, seen = Controls(), anyio.Event(), list[Event]()

    async def answer(request: ModelRequest) -> Turn:
        told = str(request.messages[1]["content"])
        done = [str(message["content"]) for message in request.messages if message["role"] == "tool"]
        if "Sub-task" not in told:
            return "all told" if done else [CREATE, assign(1, "hand"), assign(2, "hand")]
        if "Sub-task hand-1.1:" in told:
            if whom == "all":
                stop.set()
            else:
                controls.stop_agent(whom.replace("lead", "hand"), soft=False)
            await anyio.sleep_forever()
        if "Sub-task hand-1:" in told and not done:
            return [CREATE, assign(3)]
        return f"heard: {done[-1]}" if done else "did it"

    config = RunConfig(mode="parl", max_depth=2, concurrency=1, straggler_factor=0)
    async with Swarm(config=config, parts=Parts(model=ScriptedModel(answer), backend=FakeBackend())) as swarm:
        done = await swarm.run("do it", repo=None, on_event=seen.append, stop=stop, controls=controls)
    ends = {event.trajectory_id: event.outcome for event in seen if isinstance(event, AgentEnded)}
    assert ends["hand-1.1"] is Outcome.CANCELLED
    if whom == "lead-1.1":
        assert ends["hand-1"] is ends["hand-2"] is Outcome.COMPLETED
        [said] = [
            event.final_output for event in seen if isinstance(event, AgentEnded) and event.trajectory_id == "hand-1"
        ]
        assert said.startswith("heard: [cancelled]")
        return
    assert ends["hand-1"] is Outcome.CANCELLED
    if whom == "lead-1":
        assert ends["hand-2"] is Outcome.COMPLETED
        assert done.status is RunStatus.PARTIAL
    else:
        assert done.status is RunStatus.CANCELLED
        assert "hand-2" not in started(seen)


async def test_siblings_of_a_group_share_the_board_and_the_lead_does_not_block_it() -> None:
    async def answer(request: ModelRequest) -> Turn:
        told = str(request.messages[1]["content"])
        done = [str(message["content"]) for message in request.messages if message["role"] == "tool"]
        if "Sub-task" not in told:
            return "all told" if done else [CREATE, assign(1)]
        if "Sub-task hand-1:" in told:
            assert not any(tool["function"]["name"] == "board" for tool in request.tools)  # it has no siblings
            return "led" if done else [CREATE, assign(2), assign(3)]
        return "did it" if done else tool_call("board", action="claim", key="a.py")

    seen = list[Event]()
    config = RunConfig(mode="parl", max_depth=2, concurrency=2)
    async with Swarm(config=config, parts=Parts(model=ScriptedModel(answer), backend=FakeBackend())) as swarm:
        await swarm.run("do it", repo=None, on_event=seen.append)
    said = sorted(event.result.split(":")[0] for event in answers(seen, "board"))
    assert said in (["Taken", "Yours"], ["Yours", "Yours"])  # the second may ask when the first has ended
    assert next(event.holder for event in seen if isinstance(event, BoardPosted)) == ""
