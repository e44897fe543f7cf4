"""The view of a run, and what plain lines and the screen make of it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from swarm.cli.plain import PlainLines
from swarm.cli.render import render
from swarm.cli.screen import Screen
from swarm.cli.text import clean, clock, count, line, tool_use
from swarm.cli.view import RunView, fold
from swarm.cli.view_parts import State
from swarm.events import (
    ANY_EVENT,
    AgentEnded,
    AgentStarted,
    CallFinished,
    CallSent,
    Event,
    Gap,
    GateFinished,
    GateStarted,
    Notice,
    PatchMerged,
    RewardGiven,
    RunEnded,
    RunStarted,
    StageEnded,
    StageStarted,
    SubTaskSkipped,
    ToolFinished,
    ToolStarted,
)
from swarm.types import Outcome, Plan, RunStatus, SubTask, ToolStatus, Usage

START = 1_000_000.0
HOSTILE = "\x1b[31mred\x1b[0m \x1b]0;title\x07\rbell\x07 \u202eorder \ud800"


def told(agents: int, *, text: str = "found it") -> Iterator[Event]:
    """A run of two kinds of sub-agents: all but the last complete; the last fails, and one waits for it in vain."""
    plan = Plan(
        rationale="one sub-task a fault",
        subtasks=(
            *(SubTask(id=f"s{n}", title=f"Repair fault {n}", instructions="Repair it.") for n in range(agents)),
            SubTask(id="last", title="Look over all", instructions="Look.", depends_on=(f"s{agents - 1}",)),
        ),
    )
    yield RunStarted(
        task="Fix the tests", task_sha256="", mode="plan", swarm_version="0", config={}, config_sha256="",
        models={"planner": "kimi", "subagent": "kimi"},
    )  # fmt: skip
    yield GateStarted(stage=0, command="pytest -q")
    yield gate(0, passed=False)
    yield AgentStarted(trajectory_id="p", role="orchestrator", name="planner", trainable=True)
    yield CallSent(trajectory_id="p", call_id="p1", attempt=1)
    yield CallFinished(trajectory_id="p", call_id="p1", turn=0, attempt=1, accepted=True, model="kimi", usage=usage())
    yield ended("p", Outcome.COMPLETED, "planned")
    yield StageStarted(stage=1, plan=plan, trajectory_id="p")
    for n in range(agents):
        yield AgentStarted(
            trajectory_id=f"t{n}", role="subagent", name=f"s{n}", trainable=False, stage=1, subtask=plan.subtasks[n],
            model="kimi", max_steps=50, sandbox="bubblewrap",
        )  # fmt: skip
    for n in range(agents):
        yield CallSent(trajectory_id=f"t{n}", call_id=f"c{n}", attempt=1)
        yield CallFinished(
            trajectory_id=f"t{n}", call_id=f"c{n}", turn=0, attempt=1, accepted=True, model="kimi", usage=usage()
        )
        yield ToolStarted(
            trajectory_id=f"t{n}", call_id=f"c{n}", tool_call_id="1", name="bash", arguments='{"command": "pytest -q"}'
        )
    for n in range(agents):
        yield ToolFinished(
            trajectory_id=f"t{n}", call_id=f"c{n}", tool_call_id="1", name="bash", arguments='{"command": "pytest -q"}',
            t_start=0, t_end=1, status=ToolStatus.COMPLETED, result=text,
        )  # fmt: skip
        yield ended(f"t{n}", Outcome.COMPLETED if n < agents - 1 else Outcome.FAILED, text)
    yield SubTaskSkipped(stage=1, subtask_id="last", outcome=Outcome.SKIPPED, reason=f"s{agents - 1} failed")
    for n in range(agents - 1):
        yield PatchMerged(
            stage=1, subtask_id=f"s{n}", merged=n > 0, files=["a.py"], reason="" if n else "conflict: a.py"
        )
    yield Notice(level="warning", message="slow down", trajectory_id="t0")
    yield GateStarted(stage=1, command="pytest -q")
    yield gate(1, passed=True)
    yield StageEnded(stage=1, main_steps=1)
    yield RunEnded(status=RunStatus.PARTIAL, exit_code=1, result={}, peak_concurrency=agents)


def usage() -> Usage:
    return Usage(prompt_tokens=1000, completion_tokens=200, calls=1)


def gate(stage: int, *, passed: bool) -> GateFinished:
    return GateFinished(
        stage=stage, command="pytest -q", commit="c", passed=passed, exit_code=0 if passed else 1, timed_out=False,
        output="E  assert 1 == 2\n1 failed\n", seconds=2.5,
    )  # fmt: skip


def ended(trajectory: str, outcome: Outcome, text: str) -> AgentEnded:
    return AgentEnded(
        trajectory_id=trajectory, outcome=outcome, stop="submitted", terminated=True, truncated=False,
        final_output=text, steps=1, seconds=3.0,
    )  # fmt: skip


def stamped(events: Iterator[Event]) -> list[Event]:
    """As the journal stamps them, one second after the other."""
    listed = list(events)
    for n, event in enumerate(listed):
        event.seq, event.run_id, event.t, event.mono = n, "r1", START + n, float(n)
    return listed


def drawn(view: RunView, now: float, width: int = 80, height: int = 23) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    console.print(render(view, now, width, height))
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue().removesuffix("\n").split("\n")


def test_a_run_in_its_middle() -> None:
    events = stamped(told(3))
    view = fold(events[: next(n for n, e in enumerate(events) if isinstance(e, ToolFinished))])
    agents = list(view.agents.values())
    assert [agent.state for agent in agents] == [State.WORKING] * 3 + [State.WAITING]
    assert agents[0].doing == "bash pytest -q"
    assert agents[3].doing == "after s2"
    assert (agents[0].steps, agents[0].tokens, view.steps, view.tokens) == (1, 1200, 4, 4800)
    assert agents[0].seconds(agents[0].started + 7) == 7
    assert view.peak == 3
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
    assert view.unpriced == {"kimi"}


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


@settings(max_examples=150, deadline=None)
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
    assert all(clean(text) == text for text in lines)
    assert all("\x1b" not in text and "\n" not in text and clean(text) == text for text in said)


@settings(max_examples=50, deadline=None)
@given(st.permutations(stamped(told(3))))
def test_totals_do_not_depend_on_order(events: list[Event]) -> None:
    view = fold(events)
    assert view.tokens == 4 * 1200
    assert view.steps == 4
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


GOLDEN = """\
[    0.0s] run r1: plan, kimi
[    0.0s] task: Fix the tests
[    1.0s] gate on the base: pytest -q
[    2.0s] gate on the base failed with exit code 1 after 2.5 s
[    3.0s] planner starts
[    6.0s] planner completed after 3.0 s, 1 step, 1.2k tokens: planned
[    7.0s] stage 1: 3 sub-tasks
[    7.0s]   s0: Repair fault 0
[    7.0s]   s1: Repair fault 1
[    7.0s]   last: Look over all (after s1)
[    8.0s] s0 starts in bubblewrap
[    9.0s] s1 starts in bubblewrap
[   17.0s] s0 completed after 3.0 s, 1 step, 1.2k tokens: found it
[   19.0s] s1 failed (submitted) after 3.0 s, 1 step, 1.2k tokens: found it
[   20.0s] last skipped: s1 failed
[   21.0s] s0 not merged: conflict: a.py
[   22.0s] warning: s0: slow down
[   23.0s] gate: pytest -q
[   24.0s] gate passed in 2.5 s
[   26.0s] run partial
"""


def test_plain_lines() -> None:
    view = RunView()
    plain = PlainLines(view)
    said = []
    for event in stamped(told(2)):
        view.apply(event)
        said += plain.lines(event)
    assert "\n".join(said) + "\n" == GOLDEN


SCREEN = """\
swarm r1 · plan · kimi                                                      0:20
Fix the tests
stage 1: 6 sub-agents, peak 5 · 6 steps · 7.2k tokens
1 waiting, 5 working
plan: one sub-task a fault
  sub-agent            steps  tokens    time
▸ s0 Repair fault 0     1/50    1.2k    0:12  bash pytest -q
▸ s1 Repair fault 1     1/50    1.2k    0:11  bash pytest -q
▸ s2 Repair fault 2     1/50    1.2k    0:10  bash pytest -q
▸ s3 Repair fault 3     1/50    1.2k    0:09  bash pytest -q
▸ s4 Repair fault 4     1/50    1.2k    0:08  bash pytest -q
· last Look over all                          after s4
gate on the base failed with exit code 1: pytest -q
"""


def test_the_screen_with_few_sub_agents() -> None:
    events = stamped(told(5))
    view = fold(events[: next(n for n, e in enumerate(events) if isinstance(e, ToolFinished))])
    assert "\n".join(text.rstrip() for text in drawn(view, START + 20)) + "\n" == SCREEN


def test_the_screen_with_a_hundred_sub_agents() -> None:
    events = stamped(told(100))
    half = [n for n, e in enumerate(events) if isinstance(e, ToolFinished)][60]
    lines = drawn(fold(events[:half]), START + 500)
    assert len(lines) == 23
    strip = lines[5] + lines[6]
    assert strip.rstrip() == "✓" * 60 + "▸" * 40 + "·"
    assert sum(text.startswith("▸ s") for text in lines) == 13
    assert lines[-2].rstrip() == "  and 88 more"
    final = drawn(fold(events), START + 900)
    assert any(text.startswith("✗ s99 ") for text in final)
    assert any(text.startswith("merged 98 of 99 patches") for text in final)
    assert final[-1].rstrip() == "partial"


class Watched(io.StringIO):
    """A terminal that tells when some text was first written, from the thread that writes."""

    def __init__(self, awaited: str, seen: Callable[[], None]) -> None:
        super().__init__()
        self._awaited = awaited
        self._seen: Callable[[], None] | None = seen

    def write(self, text: str) -> int:
        done = super().write(text)
        if self._seen is not None and self._awaited in text:
            seen, self._seen = self._seen, None
            anyio.from_thread.run_sync(seen)
        return done


@pytest.mark.anyio
async def test_the_screen_draws_the_view_and_the_last_frame() -> None:
    view = RunView()
    drawn_once = anyio.Event()
    output = Watched("sub-agents", drawn_once.set)
    console = Console(file=output, width=80, height=24, force_terminal=True, color_system=None)
    screen = Screen(view, console, clock=lambda: START + 60)
    events = stamped(told(2))
    async with anyio.create_task_group() as tasks:
        for event in events[:12]:
            view.apply(event)
        tasks.start_soon(screen.run)
        with anyio.fail_after(30):
            await drawn_once.wait()
        for event in events[12:]:
            view.apply(event)
        screen.close()
    assert output.getvalue().rstrip().removesuffix("\x1b[?25h").rstrip().endswith("partial")


def test_every_event_is_known_or_ignored() -> None:
    for event in stamped(told(2)):
        assert ANY_EVENT.validate_json(event.model_dump_json()) == event
