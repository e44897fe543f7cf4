"""A run as plain lines, one for each change that matters: for logs and where there is no terminal."""

from __future__ import annotations

from swarm.cli.forecast import preview_line
from swarm.cli.text import clean, count, line, many
from swarm.cli.view import RunView
from swarm.cli.view_parts import board_line
from swarm.events import (
    AgentEnded,
    AgentStarted,
    AgentTold,
    BoardPosted,
    CallFinished,
    CostPreviewed,
    Event,
    Gap,
    GateFinished,
    GateStarted,
    LimitReached,
    Notice,
    PatchMerged,
    RunEnded,
    RunResumed,
    RunStarted,
    StageStarted,
    SubTaskSkipped,
)

GATE_TAIL = 10  # lines of a failed gate's output that are shown


class PlainLines:
    """Makes lines of events; `view` must have taken the event already."""

    def __init__(self, view: RunView) -> None:
        self._view = view

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
                return [
                    f"stage {event.stage}: {many(len(event.plan.subtasks), 'sub-task')}",
                    *(
                        f"  {line(task.id)}: {line(task.title)}"
                        + (f" (after {line(', '.join(task.depends_on))})" if task.depends_on else "")
                        for task in event.plan.subtasks
                    ),
                ]
            case AgentStarted() | AgentEnded():
                return self._agent(event)
            case CallFinished(accepted=False):
                words = f": {line(event.error_message)}" if event.error_message else ""
                return [f"{view.name_of(event.trajectory_id)}: call failed: {line(event.error)}{words}"]
            case SubTaskSkipped():
                return [f"{line(event.subtask_id)} {event.outcome.value}: {line(event.reason)}"]
            case PatchMerged():
                how = (
                    f"merged, {many(len(event.files), 'file')}" if event.merged else f"not merged: {line(event.reason)}"
                )
                return [f"{line(event.subtask_id)} {how}"]
            case GateStarted():
                return [f"gate{' on the base' if event.stage == 0 else ''}: {line(event.command)}"]
            case GateFinished():
                return gate_lines(event)
            case BoardPosted():
                text = board_line(event, view.name_of(event.trajectory_id))
                return [f"board: {text}"] if text else []
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
                return [f"run {event.status.value.replace('_', ' ')}"]
            case _:
                return []

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


def gate_lines(event: GateFinished) -> list[str]:
    """How a gate ended; of a failed one (but the base's) also the end of its output."""
    where = " on the base" if event.stage == 0 else ""
    if event.passed:
        return [f"gate{where} passed in {event.seconds:.1f} s"]
    how = "timed out" if event.timed_out else f"failed with exit code {event.exit_code}"
    tail = [] if event.stage == 0 else clean(event.output[-20_000:]).strip().splitlines()[-GATE_TAIL:]
    return [f"gate{where} {how} after {event.seconds:.1f} s", *(f"  | {line(text)}" for text in tail)]
