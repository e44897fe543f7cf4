"""The view of a run: a reducer that no order of events can break."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.cli.plain import PlainLines
from swarm.cli.screen.paint import cells
from swarm.cli.summary import summary_lines
from swarm.cli.text import clock, count, line, tool_use
from swarm.cli.view import RunView, fold
from swarm.cli.view_parts import State
from swarm.events import (
    AgentEnded,
    AgentStarted,
    Answered,
    CallFinished,
    CallSent,
    CostPreviewed,
    Event,
    Gap,
    GateStarted,
    Notice,
    PatchMerged,
    RewardGiven,
    RunStarted,
    StageStarted,
    SubTaskSkipped,
    ToolFinished,
    ToolStarted,
)
from swarm.legible import clean
from swarm.result import RunResult
from swarm.types import Outcome, Plan, RunStatus, SubTask
from tests.unit.stories import HOSTILE, START, drawn, ended, stamped, told, usage


def test_a_run_in_its_middle() -> None:
    events = stamped(told(3))
    view = fold(events[: next(n for n, e in enumerate(events) if isinstance(e, ToolFinished))])
    agents = list(view.agents.values())
    assert [agent.state for agent in agents] == [State.WORKING] * 3 + [State.WAITING]
    assert agents[0].doing == "bash pytest -q"
    assert agents[3].doing == "after s2"
    assert (agents[0].steps, agents[0].tokens, view.totals.total_steps, view.tokens) == (1, 1200, 4, 4800)
    assert agents[0].seconds(agents[0].started + 7) == 7
    assert view.totals.peak_concurrency == 3
    assert view.base_gate is not None
    assert view.base_gate.passed is False
    assert view.gate is None


def test_a_run_at_its_end() -> None:
    view = fold(stamped(told(3)))
    assert [agent.state for agent in view.agents.values()] == [
        State.COMPLETED,
        State.COMPLETED,
        State.FAILED,
        State.SKIPPED,
    ]
    assert [(merge.name, merge.merged) for merge in view.merges] == [("s0", False), ("s1", True)]
    assert view.gate is not None
    assert view.gate.passed
    assert view.status == "partial"
    assert list(view.notices) == ["s0: slow down"]
    assert view.totals.unpriced == {"kimi"}


def test_a_second_attempt_starts_again_and_keeps_its_tokens() -> None:
    events = stamped(told(1))
    view = fold(e for e in events if getattr(e, "trajectory_id", "t0") in ("t0", "p"))
    again = AgentStarted(
        trajectory_id="t0b", role="subagent", name="s0", trainable=False, stage=1, attempt=2,
        subtask=SubTask(id="s0", title="Repair fault 0", instructions="Repair it."),
    )  # fmt: skip
    view.apply(again)
    view.apply(ended("t0", Outcome.COMPLETED, "late word of the first attempt"))
    agent = view.agents[1, "s0"]
    assert (agent.state, agent.attempt, agent.steps, agent.tokens) == (State.WORKING, 2, 0, 1200)


@pytest.mark.parametrize("winner", [1, 2])
def test_of_two_attempts_at_once_the_one_that_was_first_is_shown(winner: int) -> None:
    view = RunView()
    plain = PlainLines(view)
    said: list[str] = []

    def tell(event: Event) -> None:
        view.apply(event)
        said.extend(plain.lines(event))

    for number in (1, 2):
        tell(
            AgentStarted(
                trajectory_id=f"t{number}", role="subagent", name="s0", trainable=False, stage=1, attempt=number,
                subtask=SubTask(id="s0", title="Repair fault 0", instructions="Repair it."),
            )
        )  # fmt: skip
        tell(
            CallFinished(
                trajectory_id=f"t{number}", call_id="c", turn=0, attempt=1, accepted=True, usage=usage(), cost_usd=0.0
            )
        )
    assert [(agent.attempt, agent.state) for agent in view.agents.values()] == [(2, State.WORKING)]
    loser = 3 - winner
    tell(ended(f"t{winner}", Outcome.COMPLETED, "repaired"))
    tell(ended(f"t{loser}", Outcome.CANCELLED, ""))
    (agent,) = view.agents.values()
    assert (agent.state, agent.attempt, agent.summary, agent.tokens) == (State.COMPLETED, winner, "repaired", 2400)
    assert view.states() == {State.COMPLETED: 1}
    assert said[-1].endswith(f"s0 attempt {loser} cancelled: the other attempt was first")


def test_while_one_of_two_attempts_works_on_the_other_is_no_failure() -> None:
    view = RunView()
    for number in (1, 2):
        view.apply(AgentStarted(trajectory_id=f"t{number}", role="subagent", name="s", trainable=False, attempt=number))
    view.apply(ended("t2", Outcome.ERRORED, "broke"))
    assert [(agent.attempt, agent.state) for agent in view.agents.values()] == [(1, State.WORKING)]
    view.apply(ended("t1", Outcome.FAILED, "found nothing"))
    assert [agent.state for agent in view.agents.values()] == [State.FAILED]


def test_a_refused_call_says_so() -> None:
    view = fold(
        [
            AgentStarted(trajectory_id="t", role="subagent", name="s", trainable=False),
            CallFinished(trajectory_id="t", call_id="c", turn=0, attempt=1, accepted=False, error="rate_limited"),
        ]
    )
    assert view.agents[0, "s"].doing == "rate limited: waits"


names = st.sampled_from(["t0", "t1", "p", "", HOSTILE]) | st.text(max_size=80)
stages = st.integers(-1, 3)
outcomes = st.sampled_from(Outcome)
subtasks = st.builds(
    SubTask,
    id=st.sampled_from(["s0", "s1"]),
    title=st.text(min_size=1, max_size=200),
    instructions=st.just("x"),
    depends_on=st.tuples(names),
)
garbage: st.SearchStrategy[Event] = st.one_of(
    st.builds(AgentStarted, trajectory_id=names, role=names, name=names, trainable=st.booleans(), stage=stages,
              subtask=st.none() | subtasks, attempt=stages),
    st.builds(StageStarted, stage=stages, plan=st.builds(Plan, rationale=names, subtasks=st.tuples(subtasks))),
    st.builds(CallSent, trajectory_id=names, call_id=names, attempt=stages),
    st.builds(CallFinished, trajectory_id=names, call_id=names, turn=stages, attempt=stages, accepted=st.booleans(),
              error=names, cost_usd=st.none() | st.floats(0, 9)),
    st.builds(ToolStarted, trajectory_id=names, call_id=names, tool_call_id=names, name=names, arguments=names),
    st.builds(AgentEnded, trajectory_id=names, outcome=outcomes, stop=names, terminated=st.booleans(),
              truncated=st.booleans(), final_output=names),
    st.builds(SubTaskSkipped, stage=stages, subtask_id=names, outcome=outcomes, reason=names),
    st.builds(PatchMerged, stage=stages, subtask_id=names, merged=st.booleans(), reason=names),
    st.builds(GateStarted, stage=stages, command=names),
    st.builds(Notice, message=names, trajectory_id=names),
    st.builds(Gap, reason=names),
    st.builds(RewardGiven, scope=st.just("run"), target_id=names, name=names, value=st.floats(), weight=st.floats(),
              source=names, formula_version=stages),
    st.sampled_from(stamped(told(2, text=HOSTILE))),
)  # fmt: skip
times = st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=60, deadline=None)
@given(st.lists(garbage, max_size=40), times, st.integers(1, 200), st.integers(1, 60))
def test_any_order_of_events_is_drawn_within_the_terminal(
    events: list[Event], now: float, width: int, height: int
) -> None:
    view = RunView()
    plain = PlainLines(view)
    said = []
    for event in events:
        view.apply(event)
        said += plain.lines(event)
    lines = drawn(view, now, width, height)
    assert len(lines) <= height
    assert all(clean(text) == text and cells(text) <= width for text in lines)
    assert all("\x1b" not in text and "\n" not in text and clean(text) == text for text in said)


def test_nothing_goes_on_after_the_end() -> None:
    events = stamped(told(3))
    until = next(n for n, e in enumerate(events) if isinstance(e, GateStarted) and e.stage)
    started = next(e for e in events if isinstance(e, RunStarted))
    started.config = {"test": "pytest -q"}
    view = fold([*events[: until + 1], events[-1]])
    assert (view.gate is not None and view.gate.left, view.merging.suspects, view.merging.repairs) == (True, 0, {})
    assert any(text.startswith("gate not finished") for text in drawn(view, START + 900))
    patch = RunResult(
        run_id="r1", status=RunStatus.CANCELLED, exit_code=130, answer="", run_dir="/r", patch_path="/r/p"
    )
    assert "gate: not finished: the patch is untested" in summary_lines(patch, view)
    assert "gate on the base: FAILED: pytest -q" in summary_lines(patch.model_copy(update={"patch_path": None}), view)


def test_the_time_in_which_the_user_was_asked_is_told() -> None:
    events: list[Event] = stamped(told(1))
    preview = CostPreviewed.model_construct(type="preview", preview=None, mono=5.0, t=START, run_id="r1", seq=1)
    answer = Answered(kind="plan", stage=1, yes=True, mono=15.2)
    view = fold([events[0], preview, answer, *events[1:]])
    result = RunResult(run_id="r1", status=RunStatus.COMPLETED, exit_code=0, answer="", run_dir="/r", wall_s=15.4)
    assert any(text.startswith("time: 0:15 (waited for you 0:10), peak") for text in summary_lines(result, view))


@settings(max_examples=50, deadline=None)
@given(st.permutations(stamped(told(3))))
def test_totals_do_not_depend_on_order(events: list[Event]) -> None:
    view = fold(events)
    assert view.tokens == 4 * 1200
    assert view.totals.total_steps == 4
    assert sum(merge.merged for merge in view.merges) == 1


@given(st.text())
def test_text_is_fit_for_a_terminal(text: str) -> None:
    flat = line(text, 50)
    assert len(flat) <= 50
    assert clean(clean(text)) == clean(text)
    assert not any((c < " " and c not in "\n\t") or "\x7f" <= c < "\xa0" for c in clean(text))
    flat.encode()


def test_hostile_text() -> None:
    assert clean(HOSTILE) == "red \nbell order "
    assert line("a\x1b[2Jb\nc") == "ab c"
    assert tool_use("bash", '{"timeout": 3, "command": "rm\\n-rf \\u001b[31m/"}') == "bash rm -rf /"
    assert tool_use("bash", '{"comm') == 'bash {"comm'
    assert tool_use("submit", "[" * 50_000, 20).startswith("submit [[[")
    assert (count(999), count(1200), count(3_400_000)) == ("999", "1.2k", "3.4M")
    assert (clock(7.9), clock(3723), clock(-1), clock(float("inf"))) == ("0:07", "1:02:03", "0:00", "0:00")
