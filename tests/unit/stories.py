"""Events of made-up runs, for what is shown of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from swarm.cli.outlook import Watcher
from swarm.cli.screen.desk import Desk
from swarm.cli.screen.frame import frame, overview
from swarm.cli.screen.head import Traffic
from swarm.cli.screen.paint import Pen, Theme
from swarm.cli.view import RunView, fold
from swarm.events import (
    AgentEnded,
    AgentStarted,
    CallFinished,
    CallSent,
    Event,
    GateFinished,
    GateStarted,
    Notice,
    PatchMerged,
    RunEnded,
    RunStarted,
    StageEnded,
    StageStarted,
    SubTaskSkipped,
    ToolFinished,
    ToolStarted,
)
from swarm.scheduling.controls import Controls
from swarm.types import Outcome, Plan, RunStatus, SubTask, ToolStatus, Usage

START = 1_000_000.0
PLAIN = Theme(styles=False)
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
    """The lines of the overview, without styles."""
    return overview(view, Watcher(view), desk_of(view), Pen(width, PLAIN), height, now)


def desk_of(view: RunView, controls: Controls | None = None, record: Path | None = None) -> Desk:
    return Desk(view, controls, lambda: record, lambda: None)


def shown(view: RunView, desk: Desk, width: int = 80, height: int = 24, traffic: Traffic | None = None) -> str:
    return "\n".join(frame(view, Watcher(view), desk, Pen(width, PLAIN), height, START + 500, traffic))


def in_the_middle(agents: int, ended: int = 0) -> RunView:
    """So many at work, of whom so many have ended."""
    events = stamped(told(agents))
    return fold(events[: [n for n, e in enumerate(events) if isinstance(e, ToolFinished)][ended]])


def refused(trajectory: str, error: str, t: float) -> CallFinished:
    return CallFinished(
        trajectory_id=trajectory, call_id="x", turn=2, attempt=1, accepted=False, error=error, error_message="wait", t=t
    )
