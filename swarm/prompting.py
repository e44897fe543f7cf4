"""The words that models are given. System prompts stand in `prompts/*.md`; this file puts the user messages together.

What siblings share comes first and what differs comes last, so that an endpoint's prefix cache serves them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files

from swarm.stages import GateReport, RunState, StageReport
from swarm.types import AgentResult, JsonObject, Plan, SubTask

GATE_OUTPUT_LIMIT = 60_000
"""Characters of a gate's output that a prompt holds; the tail is kept."""

_SUMMARY_LIMIT = 4_000

_REPORT_LIMIT = 16_000


@cache
def system_prompt(name: str) -> str:
    """The text of `prompts/NAME.md`."""
    return (files("swarm") / "prompts" / f"{name}.md").read_text(encoding="utf-8").strip()


def planner_request(state: RunState, room: int) -> str:
    """The planner's first user message; `room` is how many sub-tasks it may ask for."""
    parts = [f"# The task\n\n{state.task}"]
    parts += [_repository(state), *_gate_part(state.test, state.base_gate), _limit(room)]
    return _join(parts)


def stage_report(stage: StageReport, room: int) -> str:
    """What came back from one stage, as the planner's next user message."""
    titles = {subtask.id: subtask.title for subtask in stage.plan.subtasks}
    lines = [f"## Stage {stage.stage}: what came back", ""]
    for result in stage.results:
        fate = _fate(result, stage)
        lines.append(
            f"- {result.subtask_id} ({titles[result.subtask_id]}): {result.outcome}: {_clip(result.text)}{fate}"
        )
    parts = ["\n".join(lines)]
    if stage.gate is not None:
        parts.append(gate_report(stage.gate))
    parts.append("Plan the next stage for what is left, or answer with no sub-tasks if nothing more is to be done.")
    parts.append(_limit(room))
    return _join(parts)


def orchestrator_request(state: RunState, room: int) -> str:
    """The first user message of an orchestrator that delegates by tools; `room`: agents that it may ask for."""
    limit = f"At most {room} agents may be started altogether."
    return _join([f"# The task\n\n{state.task}", _repository(state), *_gate_part(state.test, state.base_gate), limit])


def agent_report(result: AgentResult, stage: StageReport) -> str:
    """The one message that an agent gives back to the orchestrator that started it."""
    return f"[{result.outcome}]{_fate(result, stage)}\n{_clip(result.text, _REPORT_LIMIT)}"


def gate_report(gate: GateReport) -> str:
    """The gate's verdict on a merged tree, with its output where it failed."""
    if gate.passed:
        return "The test command passed on the merged tree."
    return f"The test command failed on the merged tree.\n\n{gate_output(gate)}"


def plan_problems(problems: Iterable[str]) -> str:
    """The one message that an invalid plan is answered with."""
    return (
        "This plan cannot be run:\n" + "\n".join(f"- {p}" for p in problems) + "\nAnswer with a whole, corrected plan."
    )


def subagent_request(task: str, test: str | None, subtask: SubTask, needed: Sequence[tuple[str, AgentResult]]) -> str:
    """A sub-agent's user message. `needed` are the titles and results of the sub-tasks that it depends on."""
    parts = [f"# The whole task\n\n{task}"]
    if test:
        parts.append(f"Test command: `{test}`")
    for title, result in needed:
        parts.append(f"# Result of {result.subtask_id} ({title})\n\n{_clip(result.text)}")
    parts.append(f"# Your sub-task\n\nSub-task {subtask.id}: {subtask.title}\n\n{subtask.instructions}")
    if subtask.files:
        parts.append("Files that it is about: " + ", ".join(f"`{name}`" for name in subtask.files))
    return _join(parts)


def single_request(state: RunState) -> str:
    """The instructions of the one agent of mode `single`: the task with all that a planner would see."""
    return _join([state.task, _repository(state), *_gate_part(None, state.base_gate)])


def merge_request(task: str, parts: Sequence[tuple[str, str]], sources: Sequence[str]) -> str:
    """The aggregator's user message: headings and texts of the results, and the sources that they stand for."""
    results = [f"# Result of {heading}\n\n{text}" for heading, text in parts]
    return _join([f"# The task\n\n{task}", *results, f"The sources of these results are: {', '.join(sources)}"])


def sources_lost(lost: Sequence[str]) -> str:
    """What the aggregator is told, once, when it did not name all sources."""
    return (
        f"Your last line does not name: {', '.join(lost)}. Give the whole answer again, with what these results add to "
        "it, and the line of sources. Leave out only what truly adds nothing, and then still name it as a source."
    )


def judge_request(task: str, candidates: Sequence[tuple[str, str]], limit: int) -> str:
    """The judge's user message: answers under letters. One of more than `limit` characters is cut, and says so."""
    answers = [f"# Answer {letter}\n\n{_clip(text, limit)}" for letter, text in candidates]
    return _join([f"# The task\n\n{task}", *answers])


@cache
def ranking_format() -> JsonObject:
    """The `response_format` of a judge's ranking."""
    schema = {
        "type": "object",
        "properties": {
            "reason": {"type": "string", "description": "what decided, in one or two sentences"},
            "ranking": {"type": "array", "items": {"type": "string"}, "description": "all letters, the best first"},
        },
        "required": ["reason", "ranking"],
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": "ranking", "strict": True, "schema": schema}}


def gate_output(gate: GateReport) -> str:
    """A gate's verdict and output as a block."""
    code = "time limit reached" if gate.timed_out else f"exit code {gate.exit_code}"
    output = gate.output
    if len(output) > GATE_OUTPUT_LIMIT:
        output = f"[... {len(output) - GATE_OUTPUT_LIMIT} characters left out ...]\n" + output[-GATE_OUTPUT_LIMIT:]
    return f"Output of the test command ({code}):\n```\n{output.rstrip()}\n```"


@cache
def plan_format() -> JsonObject:
    """The `response_format` of a plan, strict: every field required, nothing else allowed."""
    schema = Plan.model_json_schema()
    # Free-form objects, which a strict format cannot say, and what goes with them: programs give these, not planners.
    schema["properties"].pop("need")
    for name in ("result_schema", "system_prompt", "kind", "group"):
        schema["$defs"]["SubTask"]["properties"].pop(name)
    for part in (schema, *schema["$defs"].values()):
        part["required"] = list(part["properties"])
        part["additionalProperties"] = False
        for field in part["properties"].values():
            field.pop("default", None)
            field.pop("title", None)
        part.pop("title", None)
    return {"type": "json_schema", "json_schema": {"name": "plan", "strict": True, "schema": schema}}


def _limit(room: int) -> str:
    return f"At most {room} sub-tasks may be asked for from here on."


def _repository(state: RunState) -> str:
    return f"# Files of the repository\n\n{state.tree}" if state.tree else ""


def _gate_part(test: str | None, gate: GateReport | None) -> list[str]:
    parts = [f"Test command: `{test}`"] if test else []
    return [*parts, gate_output(gate)] if gate is not None else parts


def _fate(result: AgentResult, stage: StageReport) -> str:
    if result.subtask_id in stage.merged.evicted:
        return f" [not merged: {stage.merged.evicted[result.subtask_id]}]"
    return " [merged]" if result.keep and result.commit else ""


def _clip(text: str, limit: int = _SUMMARY_LIMIT) -> str:
    if len(text) <= limit:
        return text
    return f"{text[:limit]}\n[... {len(text) - limit} characters left out ...]"


def _join(parts: Iterable[str]) -> str:
    return "\n\n".join(part for part in parts if part)
