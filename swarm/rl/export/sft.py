"""Conversations for supervised fine-tuning: `messages` and `tools` in the form of the OpenAI API, one a line.

One for each lineage of an agent at the top (the orchestrator, or the one agent) whose run completed: the last prompt of
the lineage with its answer. Arguments of tool calls stay the strings that the model wrote.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from swarm.journal.open_calls import calls_in, is_turn
from swarm.rl.export.outcome import Exported, line
from swarm.rl.reading import RunLog, Trajectory
from swarm.rl.rollouts import GATEWAY, about, is_usable
from swarm.types import Message, RunStatus
from swarm.whole_file import whole_file

_KEPT = ("role", "content", "name", "tool_call_id", "reasoning_content")


def export(folders: Sequence[Path], out: Path) -> Exported:
    """See `swarm.rl.export.catalog`."""
    done = Exported()
    with whole_file(out) as file:
        for folder in folders:
            log = RunLog(folder)
            completed = log.ended is not None and log.ended.status is RunStatus.COMPLETED
            if not completed and log.started.mode != GATEWAY:  # whose sessions end each by itself
                done.left_out["runs that did not complete"] += 1
                continue
            for row in _rows(log, done):
                file.write(line(row))
                done.rows += 1
    return done


def _rows(log: RunLog, done: Exported) -> Iterator[dict[str, Any]]:
    for name in log.trajectories:
        trajectory = log.trajectory(name)
        if trajectory.start.parent_trajectory_id or not is_usable(log, trajectory):
            continue
        if any(call.redacted for call in trajectory.calls):
            done.left_out["conversations that held a secret"] += 1
            continue
        for messages in _lineages(trajectory):
            row: dict[str, Any] = {"messages": [_plain(each) for each in messages]}
            if trajectory.start.tools:
                row["tools"] = trajectory.start.tools
            yield row | {"metadata": about(log, trajectory)}


def _lineages(trajectory: Trajectory) -> Iterator[list[Message]]:
    last: tuple[int, list[Message]] | None = None
    for call, prompt, _ in trajectory.walk():
        if not is_turn(call):
            continue
        if last is not None and last[0] != call.lineage_id:
            yield last[1]
        last = (call.lineage_id, [*prompt, call.response])
    if last is not None:
        yield last[1]


def _plain(message: Message) -> dict[str, Any]:
    """A message without what only its provider understands."""
    plain = {key: message[key] for key in _KEPT if message.get(key) is not None}
    plain.setdefault("content", "")
    if message["role"] == "assistant" and (calls := calls_in(message)):
        plain["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in calls
        ]
    return plain
