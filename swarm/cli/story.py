"""What happened in a run, as text: the answer of `swarm show`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from swarm.cli.history import Record
from swarm.cli.summary import answer_text, summary_lines
from swarm.cli.text import clock, count, line, many
from swarm.cli.view import RunView
from swarm.cli.view_parts import AgentView, GateView
from swarm.events import GateFinished
from swarm.legible import clean
from swarm.result import RunResult

GATE_TAIL = 20  # lines of a failed gate's output


def story(view: RunView, record: Record, folder: Path) -> Iterator[str]:
    """The plan, each sub-agent, merges, gate, totals, and where the files lie."""
    models = ", ".join(dict.fromkeys(view.models.values()))
    yield f"run {line(record.run_id)}: {line(record.status)}, mode {view.mode or '?'}{', ' + models if models else ''}"
    yield f"task: {clean(record.task).strip() or view.task}"
    if view.base_gate is not None:
        yield _gate(view.base_gate)
    stage = None
    for agent in view.agents.values():
        if agent.stage != stage:
            stage = agent.stage
            yield ""
            why = view.rationale(stage)
            yield f"stage {stage}{': ' + why if why else ''}"
        yield from _agent(agent, view.ended or view.latest)
    for agent in view.others.values():
        yield ""
        yield from _agent(agent, view.ended or view.latest)
    if view.merges:
        yield ""
        for merge in view.merges:
            yield f"merge {merge.name}: " + (
                many(merge.files, "file") if merge.merged else f"not merged: {merge.reason}"
            )
    if view.gate is not None:
        yield ""
        yield _gate(view.gate)
        if isinstance(last := view.gate.event, GateFinished) and not last.passed:
            yield from (f"  | {text}" for text in clean(last.output).strip().splitlines()[-GATE_TAIL:])
    if view.board:
        yield ""
        yield from (f"board: {text}" for text in view.board)
    if view.notices:
        yield ""
        yield from (f"note: {notice}" for notice in view.notices)
    yield ""
    yield from _totals(view, record)
    yield from _files(folder)


def _agent(agent: AgentView, now: float) -> Iterator[str]:
    title = f" ({agent.title})" if agent.title not in ("", agent.name) else ""
    after = f", after {', '.join(agent.depends_on)}" if agent.depends_on else ""
    figures = ""
    if agent.attempt:
        figures = (
            f": {many(agent.steps, 'step')}, {many(agent.tool_calls, 'tool call')}, {count(agent.tokens)} tokens, "
            f"{clock(agent.seconds(now))}"
            + (f", attempt {agent.attempt}" if agent.attempt > 1 else "")
            + (", told to finish" if agent.told else "")
            + (f", stopped by {agent.stop}" if agent.stop else "")
        )
    yield f"  {agent.name}{title}{after}: {agent.state.value}{figures}"
    if agent.summary:
        yield f"    {agent.summary}"


def _gate(gate: GateView) -> str:
    return f"{gate.name}: {gate.command}: {gate.state}"


def _totals(view: RunView, record: Record) -> Iterator[str]:
    try:
        result = RunResult.model_validate(record.result)
    except ValidationError:
        tokens = f"{count(view.totals.prompt_tokens)} + {count(view.totals.completion_tokens)} tokens"
        yield f"so far: {view.totals.total_steps} steps, {tokens}, peak {view.totals.peak_concurrency} at once"
        return
    if view.error:
        yield f"error: {view.error}"
        yield from view.error_details
    if answer := answer_text(result):
        yield "answer:"
        yield from (f"  {text}" for text in answer.splitlines())
    yield from summary_lines(result, view)


def _files(folder: Path) -> Iterator[str]:
    for name in ("events.jsonl", "patch.diff", "result.json", "artifacts"):
        if (folder / name).exists():
            yield f"  {folder / name}"
