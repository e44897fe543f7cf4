"""The user messages that models are given, put together; system prompts stand in `prompts/*.md`.

What siblings share comes first and what differs comes last, so that an endpoint's prefix cache serves them all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

from swarm.journal.artifacts import LONG_RESULT, cut, opened_by
from swarm.journal.gate_words import words
from swarm.prompts.guidance import Guidance
from swarm.stages import GateReport, Merged, RunState, StageReport
from swarm.types import AgentResult, JsonObject, Outcome, SubTask

GATE_OUTPUT_LIMIT = 60_000
"""Characters of a gate's output that a prompt holds; the tail is kept."""

_SUMMARY_LIMIT = 4_000

_LEAST_SUMMARY = 300

_INSIDE = re.compile(r"\n(?=[^\n])")

_ENDS = r"\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029"
_MARKS = r"[ \t\x1f\xa0\xad\u1680\u2000-\u200f\u202f\u205f\u2060\u3000\ufeff*_~`]*+"
"""What may stand before a word, or between, and it is read as the same: blanks, seen or not, and Markdown's marks."""

_OURS = re.compile(
    rf"(?:^|(?<=[{_ENDS}]))(?={_MARKS}(?:"
    rf"#+{_MARKS}(?:Result of |Answer [A-Z]\b(?! [a-z])|The (?:whole )?task\b|Your sub-task\b|Files of the repo)"
    rf"|#+{_MARKS}Attached documents\b"
    rf"|#+{_MARKS}Stage \d++: *what came back|(?:#+{_MARKS})?Sub-task [\w.-]+:|The test command (?:passed|failed) on"
    rf"|Test command:|- [\w.#-]{{1,80}} \([^{_ENDS}]*\): (?:{'|'.join(Outcome)})\b"
    r"|Output of the test command|At most \d+ (?:sub-tasks|agents) may|The sources of these results are:"
    r"|The agents told each other:|The user had agents work on|Plan the next stage))",
    re.MULTILINE | re.IGNORECASE,
)
"""The beginnings of lines by which what we say is told from what agents say."""

_BACKTICKS = re.compile(r"`{3,}")

_SUMMARIES_LIMIT = 120_000
"""Characters that the summaries of a stage have together, as long as each has its least."""

_REPORT_LIMIT = 16_000

_BOARD_LIMIT = 6_000


def planner_request(state: RunState, room: int, stages: int) -> str:
    """The planner's first user message; `room` is how many sub-tasks it may ask for, in so many stages."""
    parts = [f"# The task\n\n{state.task}", state.guidance]
    parts += [_repository(state), *_gate_part(state.test, state.base_gate), _limit(room, stages)]
    return _join(parts)


def stage_report(stage: StageReport, room: int, stages: int) -> str:
    """What came back from one stage, as the planner's next user message; `room` and `stages` are what is left."""
    titles = {subtask.id: subtask.title for subtask in stage.plan.subtasks}
    completed = sum(result.outcome is Outcome.COMPLETED for result in stage.results)
    limit = _share(_SUMMARY_LIMIT, len(stage.results), _LEAST_SUMMARY)
    lines = [f"## Stage {stage.stage}: what came back", "", f"{completed} of {len(stage.results)} completed.", ""]
    for result in stage.results:
        text = _INSIDE.sub("\n  ", digest(result, limit))
        lines.append(
            f"- {result.subtask_id} ({titles[result.subtask_id]}): {result.outcome}{fate(result, stage.merged)}: {text}"
        )
    parts = ["\n".join(lines)]
    if stage.posted:
        parts.append(board_report(stage.posted))
    if stage.gate is not None:
        parts.append(gate_report(stage.gate))
    parts.append("Plan the next stage for what is left, or answer with no sub-tasks if nothing more is to be done.")
    parts.append(_limit(room, stages))
    return _join(parts)


def orchestrator_request(state: RunState, room: int) -> str:
    """The first user message of an orchestrator that delegates by tools; `room`: agents that it may ask for."""
    limit = f"At most {room} agents may be started altogether."
    task = f"# The task\n\n{state.task}"
    return _join([task, state.guidance, _repository(state), *_gate_part(state.test, state.base_gate), limit])


def agent_report(result: AgentResult, stage: StageReport) -> str:
    """The one message that an agent gives back to the orchestrator that started it."""
    limit = _share(_REPORT_LIMIT, len(stage.results), LONG_RESULT)
    return f"[{result.outcome}]{fate(result, stage.merged)}\n{digest(result, limit)}"


def added_report(results: Sequence[AgentResult], stage: StageReport) -> str:
    """What came of sub-tasks that the user added to those the orchestrator asked for."""
    added = {subtask.id: subtask for subtask in stage.plan.subtasks}
    parts = [
        f"## {result.subtask_id}: {added[result.subtask_id].title}\n\n"
        f"Asked: {_clip(added[result.subtask_id].instructions)}\n\nAnswer: {agent_report(result, stage)}"
        for result in results
    ]
    return _join(["The user had agents work on more than you asked for, at the same time:", *parts])


def digest(result: AgentResult, limit: int) -> str:
    """What came of a sub-task in at most about `limit` characters; of a longer text its beginning and its end, and the
    artifact that holds it all."""
    where = opened_by(result.artifact) if result.artifact else ""
    return cut(material(result.text), limit, where)


def material(text: str) -> str:
    """What an agent says, as it is quoted to a model: a line that could pass for one of ours is marked as its own."""
    return _OURS.sub("> ", text)


def board_report(posted: Sequence[str]) -> str:
    """What the agents of a stage told each other."""
    kept: list[str] = []
    for text in posted:
        if sum(map(len, kept)) + len(text) > _BOARD_LIMIT:
            break
        kept.append(text)
    rest = [f"[... {len(posted) - len(kept)} more ...]"] if len(kept) < len(posted) else []
    return "\n".join(["The agents told each other:", *(f"- {text}" for text in kept), *rest])


def gate_report(gate: GateReport) -> str:
    """The gate's verdict on a merged tree, with its output where it failed."""
    told = f" ({words(gate)})" if words(gate) else ""
    if gate.passed:
        return f"The test command passed on the merged tree{told}."
    return f"The test command failed on the merged tree{told}.\n\n{gate_output(gate)}"


def plan_problems(problems: Iterable[str]) -> str:
    """The one message that an invalid plan is answered with."""
    return (
        "This plan cannot be run:\n" + "\n".join(f"- {p}" for p in problems) + "\nAnswer with a whole, corrected plan."
    )


def subagent_request(
    task: str,
    test: str | None,
    subtask: SubTask,
    needed: Sequence[tuple[str, AgentResult]],
    guidance: Guidance | None = None,
    fates: Mapping[str, str] = {},
) -> str:
    """A sub-agent's user message. `needed` are the titles and results of the sub-tasks that it depends on; `fates` say
    of some of these what became of their changes."""
    guidance = guidance or Guidance()
    parts = [f"# The whole task\n\n{task}", guidance.shared]
    if test:
        parts.append(f"Test command: `{test}`")
    limit = _share(_SUMMARY_LIMIT, len(needed), LONG_RESULT)
    for title, result in needed:
        became = f"{fates[result.subtask_id].strip()}\n\n" if fates.get(result.subtask_id) else ""
        parts.append(f"# Result of {result.subtask_id} ({title})\n\n{became}{digest(result, limit)}")
    parts.append(f"# Your sub-task\n\nSub-task {subtask.id}: {subtask.title}\n\n{subtask.instructions}")
    if subtask.files:
        parts.append(f"Yours to write, and nobody else's meanwhile: {', '.join(f'`{name}`' for name in subtask.files)}")
    return _join([*parts, guidance.nearest(subtask.files)])


def single_request(state: RunState) -> str:
    """The instructions of the one agent of mode `single`: the task with all that a planner would see."""
    task = f"# The task\n\n{state.task}"
    return _join([task, state.guidance, _repository(state), *_gate_part(state.test, state.base_gate)])


def merge_request(task: str, parts: Sequence[tuple[str, str]], sources: Sequence[str]) -> str:
    """The aggregator's user message: headings and texts of the results, and the sources that they stand for."""
    results = [f"# Result of {heading}\n\n{material(text)}" for heading, text in parts]
    return _join([f"# The task\n\n{task}", *results, f"The sources of these results are: {', '.join(sources)}"])


def sources_lost(lost: Sequence[str]) -> str:
    """What the aggregator is told, once, when it did not name all sources."""
    return (
        f"Your last line does not name: {', '.join(lost)}. Give the whole answer again, with what these results add to "
        "it, and the line of sources. Leave out only what truly adds nothing, and then still name it as a source."
    )


def judge_request(task: str, candidates: Sequence[tuple[str, str]], limit: int) -> str:
    """The judge's user message: answers under letters. One of more than `limit` characters is cut, and says so."""
    answers = [f"# Answer {letter}\n\n{_clip(material(text), limit)}" for letter, text in candidates]
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
    fence = "`" * max(3, 1 + max(map(len, _BACKTICKS.findall(output)), default=0))
    return f"Output of the test command ({code}):\n{fence}\n{output.rstrip()}\n{fence}"


def _limit(room: int, stages: int) -> str:
    left = "in this stage, which is the last" if stages == 1 else f"from here on, in at most {stages} stages"
    return f"At most {room} sub-tasks may be asked for {left}."


def _repository(state: RunState) -> str:
    return f"# Files of the repository\n\n{state.tree}" if state.tree else ""


def _gate_part(test: str | None, gate: GateReport | None) -> list[str]:
    parts = [f"Test command: `{test}`"] if test else []
    return [*parts, gate_output(gate)] if gate is not None else parts


def fate(result: AgentResult, merged: Merged) -> str:
    """What became of a result's changes, to be put behind its outcome; "" where it has none."""
    if result.subtask_id in merged.evicted:
        return f" [not merged: {merged.evicted[result.subtask_id]}]"
    if result.subtask_id in merged.passed_over:
        return " [not used: another of its group was better]"
    if not (result.keep and result.commit):
        return ""
    if repaired := merged.repaired.get(result.subtask_id):
        return f" [merged after it was repaired {repaired}]"
    return " [merged]" if result.outcome is Outcome.COMPLETED else " [partly done, and merged]"


def _share(most: int, number: int, floor: int) -> int:
    """Characters for each of so many results."""
    return max(floor, min(most, _SUMMARIES_LIMIT // max(1, number)))


def _clip(text: str, limit: int = _SUMMARY_LIMIT) -> str:
    if len(text) <= limit:
        return text
    return f"{text[:limit]}\n[... {len(text) - limit} characters left out ...]"


def _join(parts: Iterable[str]) -> str:
    return "\n\n".join(part for part in parts if part)
