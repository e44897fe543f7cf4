"""A run as plain lines, one for each change that matters: for logs and where there is no terminal."""

from __future__ import annotations

from dataclasses import dataclass

from swarm.cli.forecast import preview_line
from swarm.cli.text import count, line, many
from swarm.cli.view import RunView
from swarm.events import (
    AgentEnded,
    AgentStarted,
    AgentTold,
    BoardPosted,
    CallFinished,
    CostPreviewed,
    CulpritSought,
    Event,
    Gap,
    GateFinished,
    GateStarted,
    LimitReached,
    MergeTried,
    Notice,
    PatchMerged,
    RepairsStarted,
    RunEnded,
    RunResumed,
    RunStarted,
    StageStarted,
    SubTaskSkipped,
)
from swarm.journal.gate_words import ended, words
from swarm.legible import clean

GATE_TAIL = 10  # lines of a failed gate's output that are shown
MOST_SUBTASKS = 20  # sub-tasks of a stage that are named before they start
QUIET_S = 10.0  # seconds in which calls that fail in the same way are told as one


class PlainLines:
    """Makes lines of events; `view` must have taken the event already."""

    def __init__(self, view: RunView) -> None:
        self._view = view
        self._failures: dict[str, _Failures] = {}

    def lines(self, event: Event) -> list[str]:
        """What there is to say about one event: no line, one or a few."""
        said = self._say(event)
        if not said:
            return []
        since = max(0.0, event.t - self._view.started) if self._view.started else 0.0
        return [f"[{since:7.1f}s] {text}" for text in said]

    def _say(self, event: Event) -> list[str]:
        view = self._view
        match event:
            case RunStarted():
                models = ", ".join(dict.fromkeys(view.models.values()))
                return [f"run {view.run_id}: {view.mode}{', ' + models if models else ''}", f"task: {line(view.task)}"]
            case CostPreviewed() if event.preview.stage == 1:
                return [preview_line(event.preview)]
            case RunResumed():
                return list(view.notices)[-1 - len(event.changed) :]
            case StageStarted():
                return _stage(event)
            case AgentStarted() | AgentEnded():
                return self._agent(event)
            case CallFinished(accepted=False):
                return self._call_failed(event)
            case SubTaskSkipped():
                return [f"{line(event.subtask_id)} {event.outcome.value}: {line(event.reason)}"]
            case PatchMerged():
                how = (
                    f"merged, {many(len(event.files), 'file')}" if event.merged else f"not merged: {line(event.reason)}"
                )
                by = f" by {line(event.repair)}" if event.repair and event.merged else ""
                return [f"{line(event.subtask_id)} {how}{by}"]
            case MergeTried(clean=False):
                others = f", changed by {line(', '.join(event.against))}" if event.against else ""
                return [f"{line(event.subtask_id)} conflicts in {line(', '.join(event.conflicts))}{others}"]
            case CulpritSought():
                if event.found:
                    return [f"the gate is red with {line(event.found)}"]
                return [f"the gate is red: it is looked for who of {event.patches} broke it"]
            case RepairsStarted():
                return [f"to be repaired: {line(', '.join(event.repairs.values()))}"]
            case GateStarted():
                return gate_started_lines(event)
            case GateFinished():
                return gate_lines(event)
            case BoardPosted():
                return [f"board: {view.board[-1]}"] if event.words else []
            case Notice():
                return [f"{'warning: ' if event.level == 'warning' else ''}{view.notices[-1]}"]
            case AgentTold():
                why = f"{event.limit} used" if event.limit else event.reason
                return [f"{view.name_of(event.trajectory_id)}: told to finish ({line(why)})"]
            case LimitReached():
                return [f"budget: {view.notices[-1]}"]
            case Gap():
                return [view.notices[-1]]
            case RunEnded():
                more = [each.more(kind) for kind, each in self._failures.items() if each.untold]
                return [*more, f"run {event.status.value.replace('_', ' ')}"]
            case _:
                return []

    def _call_failed(self, event: CallFinished) -> list[str]:
        """One line for all that fail in the same way within some seconds: an endpoint refuses hundreds at once."""
        kind = line(event.error) or "failed"
        known = self._failures.setdefault(kind, _Failures())
        if known.at and event.t - known.at < QUIET_S:
            known.untold += 1
            return []
        more = [known.more(kind)] if known.untold else []
        known.at, known.untold = event.t, 0
        why = f": {line(event.error_message)}" if event.error_message else ""
        return [*more, f"{self._view.name_of(event.trajectory_id)}: call failed: {kind}{why}"]

    def _agent(self, event: AgentStarted | AgentEnded) -> list[str]:
        agent = self._view.agent_of(event.trajectory_id)
        name = self._view.name_of(event.trajectory_id)
        if isinstance(event, AgentStarted):
            where = f" in {line(event.sandbox)}" if event.sandbox else ""
            again = f", attempt {event.attempt}" if event.attempt > 1 else ""
            return [f"{name} starts{where}{again}"]
        if agent is not None and agent.beaten:
            return [f"{name} attempt {agent.attempt} {event.outcome.value}: {agent.summary}"]
        tokens = event.usage.total_tokens or (agent.tokens if agent else 0)
        summary = f": {line(event.final_output)}" if event.final_output.strip() else ""
        stop = f" ({line(event.stop)})" if event.outcome.value != "completed" and event.stop else ""
        figures = f"{event.seconds:.1f} s, {many(event.steps, 'step')}, {count(tokens)} tokens"
        return [f"{name} {event.outcome.value}{stop} after {figures}{summary}"]


@dataclass(slots=True)
class _Failures:
    """Calls that failed in one way: when one was told last, and how many were not since."""

    at: float = 0.0
    untold: int = 0

    def more(self, kind: str) -> str:
        return f"{many(self.untold, 'more call')} failed: {kind}"


def _stage(event: StageStarted) -> list[str]:
    subtasks = event.plan.subtasks
    lines = [f"stage {event.stage}: {many(len(subtasks), 'sub-task')}"]
    for task in subtasks[:MOST_SUBTASKS]:
        after = f" (after {line(', '.join(task.depends_on))})" if task.depends_on else ""
        lines.append(f"  {line(task.id)}: {line(task.title)}{after}")
    return [*lines, *([f"  and {len(subtasks) - MOST_SUBTASKS} more"] if len(subtasks) > MOST_SUBTASKS else [])]


_PURPOSES = {"affected": " on the tests it touches", "search": " in search of a culprit"}


def gate_started_lines(event: GateStarted) -> list[str]:
    """What the gate runs now; of a search, nothing."""
    if event.purpose == "search":
        return []
    if event.attempt > 1:
        what = many(len(event.tests), "test") if event.tests else "all of it"
        return [f"gate{_where(event)}: {what} once more, on the same tree"]
    return [f"gate{_where(event)}: {line(event.command)}"]


def gate_lines(event: GateFinished) -> list[str]:
    """How a gate ended; of a verdict that is not passed (but the base's) also the end of its output."""
    if event.purpose == "search":
        return []
    told = f" ({line(words(event), 1000)})" if event.settled and words(event) else ""
    shown = not event.passed and event.stage > 0 and event.settled and event.purpose == "verdict"
    tail = clean(event.output[-20_000:]).strip().splitlines()[-GATE_TAIL:] if shown else []
    return [f"gate{_where(event)} {ended(event)}{told}", *(f"  | {line(text)}" for text in tail)]


def _where(event: GateStarted | GateFinished) -> str:
    return " on the base" if event.stage == 0 else _PURPOSES.get(event.purpose, "")
