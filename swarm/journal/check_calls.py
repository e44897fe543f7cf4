"""What must hold of calls, their prompts and their tool calls, whatever happened. Memory grows with the number of
messages, not with their size."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf, isfinite

from swarm.events import (
    AgentEnded,
    AgentStarted,
    CallFinished,
    CallSent,
    Event,
    RunEnded,
    RunResumed,
    StageEnded,
    ToolFinished,
    ToolStarted,
)
from swarm.journal.check_trunk import Ids, Recall, Trunk
from swarm.journal.open_calls import calls_in, is_turn
from swarm.journal.standing import is_undone
from swarm.types import Role, ToolStatus

HIDDEN = "[redacted:"

_SOON = 1e-3
"""Seconds that two clocks may differ."""

Finding = tuple[int, str]
"""The number of a line, and what is wrong with it."""


class Calls:
    """Attempts, prompts and what may be trained on. Shown all events, in order, with their lines.
    `recall` reads a line once more."""

    def __init__(self, recall: Recall) -> None:
        self._recall = recall
        self._accepted = Ids()
        self._starts: dict[str, AgentStarted] = {}
        self._trunks: dict[str, Trunk] = {}
        self._tries = Ids()
        self._flying: dict[tuple[str, int], int] = {}

    def see(self, event: Event, line: int) -> Iterator[Finding]:
        match event:
            case AgentStarted():
                self._starts.setdefault(event.trajectory_id, event)
            case CallSent():
                last = self._tries.get(event.call_id)
                if event.attempt != last + 1 or event.call_id in self._accepted:
                    yield line, f"{event.call_id}, attempt {event.attempt} after {last}, or the call was answered"
                if not event.call_id.startswith(f"{event.trajectory_id}/"):
                    yield line, f"{event.call_id} is no call of {event.trajectory_id}"
                self._tries.add(event.call_id, max(event.attempt, last))
                self._flying[event.call_id, event.attempt] = line
            case CallFinished():
                yield from ((line, f"{event.call_id}: {text}") for text in self._finished(event, line))
            case AgentEnded() if event.trajectory_id in self._trunks:
                self._trunks[event.trajectory_id].rest()
            case RunEnded():
                yield from ((at, f"{call[0]}, attempt {call[1]}, has no end") for call, at in self._flying.items())
                self._flying.clear()
            case _:
                pass

    def _finished(self, call: CallFinished, line: int) -> Iterator[str]:
        start = self._starts.get(call.trajectory_id)
        if start is None:
            yield f"its agent {call.trajectory_id} has no start"
            return
        if self._flying.pop((call.call_id, call.attempt), None) is None:
            yield f"attempt {call.attempt} was not sent, or has ended before"
        if call.call_id in self._accepted:
            yield "a second attempt is accepted" if call.accepted else "an attempt after the accepted one"
        if call.accepted == bool(call.error):
            yield f"accepted: {call.accepted}, but its error is {call.error!r}"
        if call.accepted and call.response.get("role") != "assistant":
            yield "it is accepted, and has no answer"
        times = (call.t_sent, call.t_first_token, call.t_done)
        if not all(map(isfinite, times)) or (call.accepted and list(times) != sorted(times)):
            yield f"its times are {times}"
        if call.t_done > call.mono + _SOON or not (isfinite(call.wait_s) and call.wait_s >= 0):
            yield f"it was done at {call.t_done}, recorded at {call.mono}, and waited {call.wait_s}"
        if min(call.usage.model_dump().values()) < 0 or not 0 <= (call.cost_usd or 0.0) < inf:
            yield "its usage or its cost is below 0, or no number"
        yield from _learning(call, start.trainable)
        yield from self._prompt(call, line)
        if call.accepted:
            self._accepted.add(call.call_id)

    def _prompt(self, call: CallFinished, line: int) -> Iterator[str]:
        if (trunk := self._trunks.get(call.trajectory_id)) is None:
            trunk = self._trunks[call.trajectory_id] = Trunk(self._recall)
        if call.error == "lost":  # nobody who knew its prompt is left
            return
        aside = call.call_id.startswith(f"{call.trajectory_id}/{call.turn}-")
        if not (aside or is_turn(call)) or call.turn != trunk.turns + 1:
            yield f"it is turn {call.turn} after {trunk.turns} turns of {call.trajectory_id}"
        if call.prefix_call_id != trunk.call_id:
            yield f"its prompt begins with that of {call.prefix_call_id!r}, the call before is {trunk.call_id!r}"
            return
        if not 0 <= call.prefix_messages <= trunk.messages:
            yield f"its prompt begins with {call.prefix_messages} messages, there are {trunk.messages}"
            return
        if call.lineage_id < trunk.lineage:
            yield f"lineage {call.lineage_id} after {trunk.lineage}"
        if call.lineage_id == trunk.lineage and call.prefix_messages < trunk.messages:
            yield f"{trunk.messages - call.prefix_messages} messages are gone, and it is still lineage {trunk.lineage}"
        stained = call.redacted or trunk.stained
        if not stained and trunk.grown(call.prefix_messages, call.new_messages) != call.prompt_sha256:
            yield "the prompt that is rebuilt has another hash than the one that was sent"
        if call.accepted and not aside:
            trunk.take(call, line)
            trunk.stained = stained


def _why(call: CallFinished) -> str:
    """Why a call of one that learns cannot be trained on."""
    if not call.accepted:
        return "failed"
    if call.redacted:
        return "redacted"
    return "no_tokens" if call.token_source == "none" else "" if call.token_exact else "inexact"


def _learning(call: CallFinished, trainable: bool) -> Iterator[str]:
    if (call.untrainable == "frozen") == trainable:
        yield f"its agent is {'' if trainable else 'not '}to be trained on, and it is {call.untrainable or 'trainable'}"
    if trainable and call.untrainable != (why := _why(call)):
        yield f"it is {call.untrainable or 'trainable'}, and what it says of itself makes it {why or 'trainable'}"
    if call.token_exact and call.token_source == "none":
        yield "its tokens are exact, and there are none"
    if call.redacted and call.token_source != "none":
        yield "a secret was taken out of it, and its tokens are kept"
    if not call.untrainable:
        lacks = {
            "exact tokens": call.token_exact,
            "a policy version": bool(call.policy_version),
            "acceptance": call.accepted,
            "its whole text": not call.redacted,
        }
        yield from (f"it may be trained on, and lacks {what}" for what, there in lacks.items() if not there)


@dataclass(slots=True)
class _Asked:
    """A tool call that a turn asked for."""

    line: int
    call_id: str
    id: str
    name: str
    arguments: str


class Tools:
    """Every tool call of a turn has exactly one record. Shown all events, in order, with their lines."""

    def __init__(self) -> None:
        self._starts: dict[str, AgentStarted] = {}
        self._asked: dict[str, list[_Asked]] = {}
        self._done: dict[str, list[tuple[_Asked, ToolFinished]]] = {}  # what may be undone
        self._stage_ends: dict[int, int] = {}
        self.ids: dict[str, set[str]] = {}
        """The ids of the tool calls of each trajectory."""
        self._children: list[tuple[int, str]] = []

    def see(self, event: Event, line: int) -> Iterator[Finding]:
        match event:
            case AgentStarted():
                self._starts.setdefault(event.trajectory_id, event)
                yield from self._spawned(event, line)
            case CallFinished(accepted=True) if is_turn(event):
                for call in calls_in(event.response):
                    asked = _Asked(line, event.call_id, call.id, call.name, call.arguments)
                    self._asked.setdefault(event.trajectory_id, []).append(asked)
                    self.ids.setdefault(event.trajectory_id, set()).add(call.id)
            case ToolStarted() if self._waiting(event) is None:
                yield line, f"{event.name} ({event.tool_call_id}): {event.call_id} holds no such call without a record"
            case ToolFinished():
                yield from ((line, f"{event.name} ({event.tool_call_id}): {text}") for text in self._used(event, line))
            case AgentEnded():
                for asked in self._asked.pop(event.trajectory_id, ()):
                    yield asked.line, f"{asked.call_id}: the tool call {asked.id} ({asked.name}) has no record"
            case StageEnded():
                self._stage_ends[event.stage] = event.seq
            case RunResumed():
                self._resume(event)
            case RunEnded():
                for at, child in self._children:
                    if child not in self._starts:
                        yield at, f"the agent {child}, which a tool call started, has no start"
                self._children.clear()
            case _:
                pass

    def _spawned(self, start: AgentStarted, line: int) -> Iterator[Finding]:
        name, parent = start.trajectory_id, start.parent_trajectory_id
        if parent and parent not in self._starts:
            yield line, f"the agent {name} has the parent {parent}, which has no start"
        if start.spawned_by_tool_call_id and start.spawned_by_tool_call_id not in self.ids.get(parent, ()):
            yield (
                line,
                f"the agent {name} was started by {start.spawned_by_tool_call_id}, which no turn of {parent} holds",
            )

    def _waiting(self, start: ToolStarted) -> _Asked | None:
        for asked in self._asked.get(start.trajectory_id, ()):
            if (asked.call_id, asked.id) == (start.call_id, start.tool_call_id):
                hidden = HIDDEN in asked.arguments or HIDDEN in start.arguments
                return asked if hidden or (asked.name, asked.arguments) == (start.name, start.arguments) else None
        return None

    def _used(self, tool: ToolFinished, line: int) -> Iterator[str]:
        waiting = self._asked.get(tool.trajectory_id, [])
        found = next((each for each in waiting if (each.call_id, each.id) == (tool.call_id, tool.tool_call_id)), None)
        if found is None:
            yield f"{tool.call_id} holds no such tool call that has no record yet"
            return
        waiting.remove(found)
        start = self._starts.get(tool.trajectory_id)
        if (start is not None and start.role == Role.ORCHESTRATOR) or tool.status is ToolStatus.CANCELLED:
            kept = tool.model_copy(update={"result": tool.result[:1], "arguments": ""})
            self._done.setdefault(tool.trajectory_id, []).append((found, kept))
        hidden = tool.redacted or HIDDEN in found.arguments
        if (found.name, found.arguments) != (tool.name, tool.arguments) and not hidden:
            yield "name or arguments are not those that the model wrote"
        told = hashlib.sha256(tool.result.encode(errors="surrogatepass")).hexdigest()
        if not tool.redacted and told != tool.result_sha256:
            yield "the result has another hash"
        if not (isfinite(tool.t_start) and isfinite(tool.t_end) and tool.t_start <= tool.t_end):
            yield f"it ended at {tool.t_end}, and began at {tool.t_start}"
        if tool.t_end > tool.mono + _SOON:
            yield f"it ended at {tool.t_end}, and was recorded at {tool.mono}"
        if len(set(tool.child_trajectory_ids)) < len(tool.child_trajectory_ids):
            yield "it started one agent twice"
        if tool.status is ToolStatus.COMPLETED and tool.error:
            yield f"it is completed, and its error is {tool.error.value!r}"
        if tool.redacted and HIDDEN not in tool.result and HIDDEN not in tool.arguments:
            yield "a secret was taken out of it, and nothing shows where"
        if tool.first_seen_by and not tool.first_seen_by.startswith(f"{tool.trajectory_id}/"):
            yield f"{tool.first_seen_by} is no call of {tool.trajectory_id}"
        self._children += [(line, child) for child in tool.child_trajectory_ids]

    def _resume(self, resumed: RunResumed) -> None:
        """What was undone is asked for again."""
        end = self._stage_ends.get(resumed.stage)
        for name in resumed.again:
            for found, tool in self._done.get(name, [])[:]:
                if is_undone(tool, resumed, end, self._starts):
                    self._done[name].remove((found, tool))
                    self._asked.setdefault(name, []).append(found)
        if resumed.stage:
            self._stage_ends = {stage: seq for stage, seq in self._stage_ends.items() if stage < resumed.stage}
