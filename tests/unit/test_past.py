"""What a journal is good for when a run goes on: what stands, what is void, and what is not said again."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.events import (
    AgentEnded,
    AgentStarted,
    AgentTold,
    CallFinished,
    CallSent,
    ControlUsed,
    Event,
    Finished,
    GateFinished,
    Notice,
    PatchMerged,
    RunEnded,
    RunStarted,
    StageEnded,
    StageStarted,
    SubTaskSkipped,
    ToolFinished,
    ToolStarted,
    TreeKept,
)
from swarm.journal.past import Past
from swarm.journal.redaction import Redactor
from swarm.journal.said import Unsaid
from swarm.journal.standing import standing
from swarm.journal.totals import Totals
from swarm.models.tapes.recorded import recorded_reply
from swarm.testing import RecordingSink
from swarm.types import Outcome, Plan, Role, RunStatus, SubTask, ToolStatus, Usage


def subtask(name: str, **more: object) -> SubTask:
    return SubTask.model_validate({"id": name, "title": name, "instructions": name, **more})


def began(name: str, role: Role = Role.SUBAGENT, stage: int = 1, attempt: int = 1) -> AgentStarted:
    task = subtask(name.partition("#")[0]) if role is Role.SUBAGENT else None
    return AgentStarted(
        trajectory_id=name, role=role, name=name, trainable=False, stage=stage, subtask=task, attempt=attempt
    )


def ended(name: str, outcome: Outcome = Outcome.COMPLETED, stop: str = "") -> AgentEnded:
    return AgentEnded(trajectory_id=name, outcome=outcome, stop=stop or outcome.value, terminated=True, truncated=False)


def call(name: str, turn: int, **more: object) -> CallFinished:
    answer = {"role": "assistant", "content": f"answer {turn}"}
    given = {"accepted": True, "attempt": 1, "response": answer, "usage": Usage(prompt_tokens=1, calls=1), **more}
    return CallFinished.model_validate(
        {"trajectory_id": name, "call_id": f"{name}/{turn}", "turn": turn, "prefix_call_id": "", **given}
    )


def stage(number: int, *subtasks: SubTask, **more: object) -> StageStarted:
    return StageStarted(stage=number, plan=Plan.model_validate({"subtasks": subtasks, **more}))


def merged(name: str, number: int = 1) -> PatchMerged:
    return PatchMerged(stage=number, subtask_id=name, merged=True)


def over(status: RunStatus, outcomes: Sequence[Outcome] = (), fault: str = "") -> RunEnded:
    result = {"outcomes": {outcome.value: 1 for outcome in outcomes}}
    return RunEnded(status=status, exit_code=1, result=result, fault=fault)


def numbered(*events: Event) -> list[Event]:
    for seq, event in enumerate(events):
        event.seq, event.mono = seq, float(seq)
    return list(events)


def beginning(*names: str, mode: str = "plan") -> list[Event]:
    started = RunStarted(task="x", task_sha256="", mode=mode, swarm_version="1", config={}, config_sha256="")
    return [
        started,
        began("orchestrator", Role.ORCHESTRATOR, 0),
        call("orchestrator", 1),
        stage(1, *map(subtask, names)),
    ]


def test_a_prompt_is_put_together_again_also_after_a_rewind() -> None:
    first = call("a", 1, new_messages=[{"role": "system", "content": "s"}, {"role": "user", "content": "u"}])
    second = call("a", 2, prefix_call_id="a/1", prefix_messages=3, new_messages=[{"role": "user", "content": "v"}])
    third = call("a", 3, prefix_call_id="a/2", prefix_messages=1, new_messages=[{"role": "user", "content": "w"}])
    past = Past([first, second, third])
    assert [message["content"] for message in past.prompt(second)] == ["s", "u", "answer 1", "v"]
    assert [message["content"] for message in past.prompt(third)] == ["s", "w"]


def test_what_was_read_out_of_an_answer_is_read_again() -> None:
    raw = {"id": "c1", "type": "function", "function": {"name": "bash", "arguments": '{"command": "ls"}'}}
    record = call("a", 1, response={"role": "assistant", "content": None, "tool_calls": [raw]}, read_as="{}")
    reply = recorded_reply(record)
    assert [(each.id, each.name, each.arguments) for each in reply.tool_calls] == [("c1", "bash", '{"command": "ls"}')]
    assert reply.content == "{}"


def test_a_call_in_flight_is_lost_and_the_next_attempt_has_the_next_number() -> None:
    past = Past([began("a"), CallSent(trajectory_id="a", call_id="a/1", attempt=3)])
    assert [sent.attempt for sent in past.lost()] == [3]
    assert past.tries("a/1") == 3
    assert past.call("a/1") is None


def test_two_uses_of_a_tool_with_one_id_are_two() -> None:
    def use(result: str) -> ToolFinished:
        return ToolFinished(
            trajectory_id="a",
            call_id="a/1",
            tool_call_id="c",
            name="bash",
            arguments="{}",
            t_start=0,
            t_end=0,
            status=ToolStatus.COMPLETED,
            result=result,
        )

    past = Past([use("first"), use("second")])
    found = [past.tool("a/1", "c") for _ in range(3)]
    assert [each.result if each else None for each in found] == ["first", "second", None]


CUT = [
    (ended("a", Outcome.CANCELLED), None, True),
    (ended("a", Outcome.ERRORED, "EndpointError"), None, True),
    (ended("a", Outcome.ERRORED, "SandboxError"), None, False),
    (ended("a", Outcome.ERRORED, "SandboxError"), RunStatus.ERRORED, True),
    (ended("a", Outcome.BUDGET_EXHAUSTED, "budget"), RunStatus.BUDGET_EXHAUSTED, True),
    (ended("a", Outcome.BUDGET_EXHAUSTED, "max_steps"), RunStatus.BUDGET_EXHAUSTED, False),
    (ended("a", Outcome.FAILED), RunStatus.CANCELLED, False),
    (ended("a", Outcome.TIMED_OUT), RunStatus.ERRORED, True),  # it had no limit of its own: the run's time was up
    (ended("a"), RunStatus.CANCELLED, False),
]


@pytest.mark.parametrize(("end", "status", "goes_on"), CUT)
def test_what_ended_only_because_the_run_did_goes_on(end: AgentEnded, status: RunStatus | None, goes_on: bool) -> None:
    last: list[Event] = [over(status)] if status else []
    past = Past(numbered(*beginning("a"), began("a"), end, *last))
    resumed = past.reopened("2")
    past.observe(resumed)
    assert ("a" in resumed.again) is goes_on
    assert (past.result("a") is None) is goes_on


def test_what_someone_decided_upon_stands() -> None:
    events: list[Event] = [
        *beginning("a"),
        began("a"),
        ended("a", Outcome.CANCELLED),
        StageEnded(stage=1, main_steps=1),
    ]
    past = Past(numbered(*events, call("orchestrator", 2), over(RunStatus.CANCELLED)))
    assert past.reopened("2").again == ["orchestrator"]


@pytest.mark.parametrize(
    ("mode", "status", "again", "over_already"),
    [
        ("plan", RunStatus.ERRORED, ["orchestrator", "a#2"], False),
        ("plan", RunStatus.PARTIAL, [], True),
        ("parl", RunStatus.ERRORED, ["orchestrator"], True),  # it was told of it, and went on from there
    ],
)
def test_what_the_machine_failed_is_made_again_though_the_planner_was_told_of_it(
    mode: str, status: RunStatus, again: list[str], *, over_already: bool
) -> None:
    broken = Outcome.ERRORED
    tried: list[Event] = [began("a"), ended("a", broken), began("a#2", attempt=2), ended("a#2", broken)]
    after: list[Event] = [
        StageEnded(stage=1, main_steps=1),
        call("orchestrator", 2),
        ended("orchestrator"),
        Finished(answer="made do", commit=""),
        over(status, [broken]),
    ]
    past = Past(numbered(*beginning("a", mode=mode), *tried, *after))
    assert past.course.over is over_already
    assert past.reopened("2").again == again


@pytest.mark.parametrize("mode", ["plan", "parl"])
@pytest.mark.parametrize("outcome", [Outcome.COMPLETED, Outcome.ERRORED])
def test_a_run_that_the_machine_failed_at_its_very_end_is_gone_on_with(mode: str, outcome: Outcome) -> None:
    after: list[Event] = [
        StageEnded(stage=1, main_steps=1),
        call("orchestrator", 2),
        Finished(answer="done", commit="c"),
        ended("orchestrator"),
        over(RunStatus.ERRORED, [outcome], "MachineError"),  # as where the patch could not be written
    ]
    past = Past(numbered(*beginning("a", mode=mode), began("a"), ended("a", outcome), *after))
    assert not past.course.over
    assert ("a" in past.reopened("2").again) is (outcome is Outcome.ERRORED and mode == "plan")


def test_the_loser_of_two_attempts_and_the_spare_of_a_quorum_are_not_gone_on_with() -> None:
    hedged: list[Event] = [began("a"), began("a#2", attempt=2), ended("a#2"), ended("a", Outcome.CANCELLED)]
    past = Past(numbered(*beginning("a"), *hedged))
    assert "a" not in past.reopened("2").again
    tasks = [subtask(name, group="g") for name in "abc"]
    quorum: list[Event] = [
        stage(1, *tasks, need={"g": 1}),
        *map(began, "abc"),
        ended("b"),
        ended("a", Outcome.CANCELLED),
    ]
    past = Past(numbered(*beginning()[:3], *quorum))
    assert past.reopened("2").again == ["orchestrator", "c"]
    assert [(turn.subtask_id, turn.ended) for turn in past.turns(1)][-2:] == [("b", True), ("a", True)]


def test_someone_who_ended_an_agent_is_obeyed() -> None:
    control = ControlUsed(action="stop_agent", agent="a", soft=False)
    past = Past(numbered(*beginning("a"), began("a"), control, ended("a", Outcome.CANCELLED)))
    assert "a" not in past.reopened("2").again


def test_when_results_change_the_words_made_of_them_are_made_anew() -> None:
    words: list[Event] = [began("aggregator-1", Role.AGGREGATOR), call("aggregator-1", 1), ended("aggregator-1")]
    events: list[Event] = [
        *beginning("a", "b"),
        began("a"),
        ended("a"),
        began("b"),
        ended("b", Outcome.CANCELLED),
        *words,
    ]
    past = Past(numbered(*events, StageEnded(stage=1, main_steps=1), over(RunStatus.CANCELLED)))
    resumed = past.reopened("2")
    assert (resumed.superseded, resumed.stage) == (["aggregator-1"], 1)
    past.observe(resumed)
    assert past.name_for("aggregator-1") == "aggregator-1~2"
    unchanged = Past(numbered(*beginning("a"), began("a"), ended("a"), *words))
    assert unchanged.reopened("2").superseded == []


def test_a_text_that_did_not_reach_its_model_is_told_again() -> None:
    told = AgentTold(trajectory_id="a", reason="asked", text="finish")
    past = Past(numbered(*beginning("a"), began("a"), call("a", 1), told))
    [turn] = past.turns(1)
    assert (turn.told, turn.unheard) == (True, ("finish",))
    picture = {"role": "user", "content": [{"type": "text", "text": "x"}]}
    past.observe(call("a", 2, new_messages=[picture, {"role": "user", "content": "finish"}]))
    assert past.turns(1)[0].unheard == ()


def test_of_what_is_gone_through_again_the_last_record_counts() -> None:
    cut: list[Event] = [
        began("a"),
        ended("a"),
        merged("a"),
        began("b"),
        ended("b", Outcome.CANCELLED),
        SubTaskSkipped(stage=1, subtask_id="c", outcome=Outcome.CANCELLED, reason="the run ended"),
    ]
    events = numbered(*beginning("a", "b", "c"), *cut, StageEnded(stage=1, main_steps=1), over(RunStatus.CANCELLED))
    totals, past = Totals(), Past(events)
    for event in events:
        totals.observe(event)
    assert (totals.outcomes, totals.attempts) == (
        {"completed": 1, "cancelled": 2},
        {"completed": 1, "cancelled": 1},
    )
    resumed = past.reopened("2")
    later: list[Event] = [resumed, ended("b"), began("c"), ended("c"), merged("a"), merged("b")]
    for event in later:
        totals.observe(event)
    assert totals.outcomes == {"completed": 3}
    assert (totals.n_subagents, totals.coverage.missing) == (3, 0)


# ── the filter ──────────────────────────────────────────────────────────────────────────────────────────────────────

SAID: tuple[Event, ...] = (
    *beginning("a", "b"),
    began("a"),
    CallSent(trajectory_id="a", call_id="a/1", attempt=1),
    call("a", 1),
    ToolStarted(trajectory_id="a", call_id="a/1", tool_call_id="c", name="bash", arguments="{}"),
    TreeKept(trajectory_id="a", call_id="a/1", turn=1, commit="f00"),
    Notice(message="one"),
    Notice(message="two"),
    ended("a"),
    merged("a"),
    GateFinished(stage=1, command="t", commit="f", passed=True, exit_code=0, timed_out=False, output="", seconds=1.0),
    StageEnded(stage=1, main_steps=1),
    Finished(),
)


def filtered(before: Sequence[Event], after: Sequence[Event]) -> list[Event]:
    sink, past = RecordingSink(), Past(before)
    unsaid = Unsaid(sink, past, Redactor({"KEY": "hunter2hunter2"}))
    unsaid.forget(past.reopened("2"))
    for event in after:
        unsaid.emit(event.model_copy(update={"seq": -1, "t": 9.0, "mono": 9.0}))
    return sink.events


@given(st.sets(st.integers(0, len(SAID) - 1)))
def test_a_run_that_is_gone_through_again_says_only_what_is_new(said: set[int]) -> None:
    """Whatever of it the first process had come to say when it was killed, the second says the rest."""
    before = numbered(*(SAID[at].model_copy() for at in sorted(said)))
    new = filtered(before, SAID)
    assert [event.type for event in new] == [SAID[at].type for at in range(len(SAID)) if at not in said]


def test_what_is_void_is_said_again_and_a_secret_is_known_by_its_mask() -> None:
    before = numbered(
        *beginning("a"),
        began("a"),
        Notice(message="the key [redacted:KEY] is old"),
        ended("a", Outcome.CANCELLED),
        StageEnded(stage=1, main_steps=1),
        over(RunStatus.CANCELLED),
    )
    after = [
        *before[:-4],
        Notice(message="the key hunter2hunter2 is old"),
        ended("a"),
        StageEnded(stage=1, main_steps=1),
    ]
    new = filtered(before, after)
    assert [event.type for event in new] == ["agent_end", "stage_end"]
    assert [event.type for event in standing([*before, Past(before).reopened("2")])].count("agent_end") == 0
