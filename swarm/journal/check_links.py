"""What must hold between agents, the tool calls that started them, and the calls that saw what came of these. Memory
grows with the number of tool calls, not with what they said."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from swarm.events import (
    AgentEnded,
    AgentStarted,
    CallFinished,
    ContextEdited,
    Event,
    GroupStarted,
    RunEnded,
    RunResumed,
    RunStarted,
    StageStarted,
    ToolFinished,
)
from swarm.journal.check_calls import HIDDEN, Finding
from swarm.journal.open_calls import calls_in, is_turn, was_used
from swarm.types import Role, SubTask, ToolStatus


@dataclass(slots=True)
class _Agent:
    """An agent as far as it has come."""

    start: AgentStarted
    line: int
    told: bool = False
    lineage: int = 0
    uses: int = 0


class Links:
    """Shown all events, in order, with their lines."""

    def __init__(self) -> None:
        self._mode = ""
        self._models: dict[str, str] = {}
        self._resumed = False
        self._agents: dict[str, _Agent] = {}
        self._asked: dict[str, SubTask] = {}
        self._edits: set[tuple[str, int]] = set()
        self._children: dict[str, tuple[int, ToolFinished]] = {}
        self._childless: dict[str, dict[str, int]] = {}
        self._results: dict[str, dict[str, set[str]]] = {}  # by the call that sees them first

    def see(self, event: Event, line: int) -> Iterator[Finding]:
        match event:
            case RunStarted():
                self._mode, self._models = event.mode, event.models
            case RunResumed():
                self._resumed = True
            case StageStarted():
                if len({each.id for each in event.plan.subtasks}) < len(event.plan.subtasks):
                    yield line, f"two sub-tasks of stage {event.stage} have one id"
                self._asked |= {each.id: each for each in event.plan.subtasks}
            case GroupStarted():
                self._asked |= {each.id: each for each in event.subtasks}
            case AgentStarted():
                yield from ((line, f"the agent {event.trajectory_id}: {text}") for text in self._started(event))
                self._agents.setdefault(event.trajectory_id, _Agent(event, line))
            case ContextEdited():
                self._edits.add((event.trajectory_id, event.lineage_id))
            case CallFinished(accepted=True) if event.trajectory_id in self._agents and is_turn(event):
                yield from ((line, f"{event.call_id}: {text}") for text in self._called(event))
            case ToolFinished():
                self._used(event, line)
            case AgentEnded():
                yield from ((line, f"the end of {event.trajectory_id}: {text}") for text in self._ended(event))
            case RunEnded():
                yield from self._spawned()
            case _:
                pass

    def _started(self, start: AgentStarted) -> Iterator[str]:
        parent = self._agents.get(start.parent_trajectory_id)
        depth = parent.start.depth + 1 if parent is not None else 0
        if start.role not in set(Role):
            yield f"there is no role {start.role!r}"
        if start.depth != depth:
            yield f"its depth is {start.depth}, that of its parent makes {depth}"
        if start.trainable and (start.role != Role.ORCHESTRATOR and self._mode != "single"):
            yield f"it is a {start.role}, which is frozen, and to be trained on"
        if start.model != self._models.get(start.role, start.model):
            yield f"its model is {start.model}, that of its role {self._models[start.role]}"
        subtask = start.subtask
        if subtask is not None and self._asked.get(subtask.id, subtask) != subtask:
            yield "its sub-task is not the one that was planned"

    def _called(self, call: CallFinished) -> Iterator[str]:
        agent = self._agents[call.trajectory_id]
        if call.model != agent.start.model and self._mode != "gateway":  # whose clients ask for what they like
            yield f"its model is {call.model}, that of its agent {agent.start.model}"
        if not agent.told:
            agent.told = True
            yield from _system(agent.start, call) if not agent.start.worker else ()  # whose prompt is its own
        edited = call.lineage_id != agent.lineage
        if edited and self._mode != "gateway" and (call.trajectory_id, call.lineage_id) not in self._edits:
            yield f"it opens lineage {call.lineage_id}, and nothing tells of a conversation that was shortened"
        agent.lineage = call.lineage_id
        # What a client behind a gateway brings along, calls and results, is its own.
        messages = call.new_messages if self._mode == "gateway" else ()
        brought = {each.id for message in messages for each in calls_in(message)}
        results = self._results.pop(call.call_id, {})
        for message in () if edited else call.new_messages:  # what a shortened conversation begins with is no news
            if message.get("role") != "tool" or message.get("tool_call_id") in brought:
                continue
            told = results.get(str(message.get("tool_call_id")))
            if told is None:
                yield f"it saw a result of {message.get('tool_call_id')}, and no record of a tool says so"
            elif _sha256(message.get("content")) not in told and not told & {""}:
                yield f"what it saw of {message.get('tool_call_id')} is not what the record of the tool tells"

    def _used(self, tool: ToolFinished, line: int) -> None:
        self._children |= dict.fromkeys(tool.child_trajectory_ids, (line, tool))
        if not tool.child_trajectory_ids and tool.status is not ToolStatus.CANCELLED:
            self._childless.setdefault(tool.trajectory_id, {})[tool.tool_call_id] = line
        if tool.first_seen_by:
            told = self._results.setdefault(tool.first_seen_by, {}).setdefault(tool.tool_call_id, set())
            told.add("" if tool.redacted else tool.result_sha256)
        if (agent := self._agents.get(tool.trajectory_id)) is not None:
            agent.uses += was_used(tool.status, tool.error, ends=tool.ends)

    def _ended(self, end: AgentEnded) -> Iterator[str]:
        agent = self._agents.get(end.trajectory_id)
        if agent is not None and end.terminated and not self._resumed and end.tool_calls != agent.uses:
            yield f"it tells {end.tool_calls} uses of tools, and there are {agent.uses}"

    def _spawned(self) -> Iterator[Finding]:
        """Both sides of a spawning tell the same."""
        for child, (line, tool) in self._children.items():
            start = self._agents[child].start if child in self._agents else None
            own = (tool.trajectory_id, tool.tool_call_id)
            if start is not None and (start.parent_trajectory_id, start.spawned_by_tool_call_id) != own:
                yield line, f"the agent {child} does not say that {tool.tool_call_id} has started it"
        for child, agent in self._agents.items():
            call = agent.start.spawned_by_tool_call_id
            at = self._childless.get(agent.start.parent_trajectory_id, {}).get(call) if call else None
            if at is not None and child not in self._children:
                yield at, f"the tool call {call} has started the agent {child}, and does not say so"
        self._children.clear()
        self._childless.clear()


def _system(start: AgentStarted, call: CallFinished) -> Iterator[str]:
    first = next((each for each in call.new_messages if each.get("role") in ("system", "developer")), {})
    text = str(first.get("content") or "")
    if HIDDEN not in text and not call.redacted and _sha256(text) != start.system_prompt_sha256:
        yield f"the system prompt has another hash than the start of {start.trajectory_id} tells"


def _sha256(text: Any) -> str:
    return hashlib.sha256(str(text).encode(errors="surrogatepass")).hexdigest()
