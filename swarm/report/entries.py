"""The record of a run in lines: what was noticed, decided, posted and reached."""

from __future__ import annotations

from collections.abc import Callable

from swarm.budgets.levels import limit_words
from swarm.events import (
    AgentTold,
    Answered,
    BoardPosted,
    CallFinished,
    CallSent,
    ControlUsed,
    CulpritSought,
    Event,
    Gap,
    LimitReached,
    MergeTried,
    Notice,
    PatchMerged,
    RepairsStarted,
    RewardGiven,
    RunResumed,
    StageStarted,
    SubTaskSkipped,
    ToolFinished,
    ToolStarted,
)
from swarm.report.model import Entry

_ELSEWHERE = frozenset((CallSent, CallFinished, ToolStarted, ToolFinished))


def entry(event: Event, at: int, number: Callable[[str], int]) -> Entry | None:
    """An event as a line; None where it is shown elsewhere. `number` gives the index of a trajectory's agent."""
    if type(event) in _ELSEWHERE:  # most are, and each further test costs
        return None
    match event:
        case Notice():
            return Entry(
                at=at,
                kind="notice",
                text=event.message,
                agent=number(event.trajectory_id),
                warning=event.level == "warning",
            )
        case BoardPosted():
            if not event.words:
                return None
            return Entry(at=at, kind="board", text=event.words, agent=number(event.trajectory_id))
        case LimitReached():
            return Entry(at=at, kind="budget", text=limit_words(event), warning=True)
        case AgentTold():
            said = event.limit or {"straggler": "slower than its siblings", "asked": "asked from outside"}.get(
                event.reason, event.reason
            )
            return Entry(at=at, kind="told", text=f"told to finish: {said}", agent=number(event.trajectory_id))
        case ControlUsed():
            return Entry(at=at, kind="control", text=_control(event), agent=number(event.agent))
        case Answered():
            return Entry(at=at, kind="answer", text=f"{event.kind}: the user said {'yes' if event.yes else 'no'}")
        case RunResumed():
            text = "; ".join(["the run goes on in a new process", *event.changed])
            return Entry(at=at, kind="resumed", text=text, warning=bool(event.changed or event.lost_calls))
        case SubTaskSkipped():
            return Entry(at=at, kind="skipped", text=f"{event.subtask_id}: {event.reason}", warning=True)
        case MergeTried(clean=False):
            text = f"{event.subtask_id}: on trial, conflict in {', '.join(event.conflicts)}"
            return Entry(at=at, kind="merge", text=f"{text} with {', '.join(event.against)}" if event.against else text)
        case CulpritSought():
            text = f"the gate is red on {event.patches} merged patches: {event.found or 'nobody'} broke it"
            return Entry(at=at, kind="merge", text=text, warning=True)
        case RepairsStarted():
            pairs = ", ".join(f"{name} for {of}" for name, of in event.repairs.items())
            return Entry(at=at, kind="merge", text=f"repairs begin: {pairs}")
        case RewardGiven():
            text = f"{event.name} of {event.scope} {event.target_id}: {event.value:g}, weight {event.weight:g}"
            return Entry(at=at, kind="reward", text=f"{text} ({event.source})")
        case PatchMerged():
            by = f" as repaired by {event.repair}" if event.repair else ""
            what = f"merged{by}, {len(event.files)} files" if event.merged else f"not merged: {event.reason}"
            return Entry(at=at, kind="merge", text=f"{event.subtask_id}: {what}", warning=not event.merged)
        case StageStarted():
            return Entry(at=at, kind="stage", text=f"stage {event.stage}: {len(event.plan.subtasks)} sub-tasks")
        case Gap():
            return Entry(at=at, kind="gap", text=f"{event.reason} ({event.lost} lost)", warning=True)
        case _:
            return None


def _control(event: ControlUsed) -> str:
    match event.action:
        case "concurrency":
            return f"{event.concurrency} at once from now on"
        case "stop_agent":
            return f"{event.agent} is {'asked to finish' if event.soft else 'stopped'}"
        case "budget":
            limits = [f"{event.tokens} tokens"] if event.tokens is not None else []
            limits += [f"${event.usd:g}"] if event.usd is not None else []
            return f"new budget: {' and '.join(limits)}"
        case action:
            return {"pause": "paused", "resume": "goes on"}[action]
