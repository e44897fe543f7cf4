"""Traces of verifiers 0.4 and prime-rl: an episode a line, one trace for each agent; sub-agents are traces that are not
trainable. A node is a message with the tokens that it adds; a branch of nodes is a row, so that masks and logprobs are
those of the row: one value for each sampled token, or the episode is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from swarm import __version__
from swarm.events import CallFinished
from swarm.journal.open_calls import calls_in, is_turn
from swarm.rl.export.outcome import Exported, line
from swarm.rl.reading import Ids, RunLog, Trajectory
from swarm.rl.rollouts import about, components, group_of, is_usable
from swarm.types import Message, Outcome, RunStatus
from swarm.whole_file import whole_file


def export(folders: Sequence[Path], out: Path) -> Exported:
    """See `swarm.rl.export.catalog`."""
    done = Exported()
    with whole_file(out) as file:
        for folder in folders:
            log = RunLog(folder)
            file.write(line(_episode(log))[:-2])
            file.write(b',"traces":[')
            late = False
            for number, name in enumerate(log.trajectories):  # one at a time
                trace = _trace(log, log.trajectory(name))
                late = late or (trace["is_timeout"] and not log.parents[name])
                file.write(b"," if number else b"")
                file.write(line(trace)[:-1])
            file.write(b'],"is_timeout":%s}\n' % (b"true" if late else b"false"))
            done.rows += 1
    return done


def _episode(log: RunLog) -> dict[str, Any]:
    started, ended = log.started, log.ended
    status = ended.status if ended is not None else RunStatus.CANCELLED
    machine = status is RunStatus.ERRORED
    return {
        "id": started.run_id,
        "env": {"id": "swarm", "name": started.mode},
        "task": _task(log),
        "group": {"id": group_of(log)},
        "ok": ended is not None and not machine and status is not RunStatus.CANCELLED,
        "errors": [{"type": "MachineError", "message": ended.error}] if ended is not None and machine else [],
    }


def _task(log: RunLog) -> dict[str, Any]:
    data = {"idx": log.started.rollout_index, "prompt": log.started.task}
    return {"type": "Task", "data": data, "hash": log.started.task_sha256}


def _trace(log: RunLog, trajectory: Trajectory) -> dict[str, Any]:
    start, end = trajectory.start, trajectory.end
    nodes, calls = _graph(log, trajectory)
    usable = is_usable(log, trajectory)
    given = components(log, trajectory)
    return {
        "id": f"{log.started.run_id}/{start.trajectory_id}",
        "verifiers": {"version": f"swarm-{__version__}"},
        "task": _task(log),
        "agent": {"config": {}, "name": start.role, "trainable": start.trainable},
        "tools": [_tool(each) for each in start.tools],
        "nodes": nodes,
        "calls": calls,
        "rewards": {each.name: {"score": each.value, "weight": each.weight} for each in given},
        "metrics": {"steps": float(end.steps), "tool_calls": float(end.tool_calls)} if end is not None else {},
        "info": about(log, trajectory) | {"parent_trajectory_id": start.parent_trajectory_id},
        "is_completed": end is not None,
        "ok": usable and end is not None and end.outcome is not Outcome.CANCELLED,
        "stop_condition": end.stop if end is not None else None,
        "is_timeout": end is not None and end.outcome is Outcome.TIMED_OUT,
    }


class _Nodes:
    """The nodes of one trace, and the branch that is being made: its nodes and its tokens."""

    def __init__(self) -> None:
        self.all: list[dict[str, Any]] = []
        self.branch: list[int] = []
        self.tokens: list[int] = []

    def add(self, message: Message, when: float, ids: Sequence[int], logprobs: Sequence[float] | None = None) -> int:
        """Put a message onto the branch. The first ids of a sampled one are what opens it: they have no logprob."""
        sampled = len(logprobs) if logprobs is not None else 0
        node = {
            "parent": self.branch[-1] if self.branch else None,
            "message": _message(message),
            "sampled": logprobs is not None,
            "timestamp": when,
            "token_ids": list(ids),
            "mask": [False] * (len(ids) - sampled) + [True] * sampled,
            "logprobs": list(logprobs or ()),
        }
        self.branch.append(len(self.all))
        self.all.append(node)
        self.tokens += ids
        return self.branch[-1]


def _graph(log: RunLog, trajectory: Trajectory) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Nodes and calls. A call whose prompt goes on from the branch adds to it; any other begins a branch of its own, in
    which what was sampled before is a message like others."""
    nodes = _Nodes()
    calls: list[dict[str, Any]] = []
    clock, lineage, told = log.started.t - log.started.mono, 0, 0
    for call, prompt, ids in trajectory.walk():
        found = ids if not call.untrainable else None
        tokens = found.prompt if found else []
        fresh = call.lineage_id != lineage or not is_turn(call) or tokens[: len(nodes.tokens)] != nodes.tokens
        if fresh and nodes.branch:
            nodes.branch, nodes.tokens, told = [], [], 0
        new, when = prompt[told:], clock + call.t_sent
        tail = tokens[len(nodes.tokens) :]
        for number, message in enumerate(new):  # all ids that are new to the prompt go to the first of its messages
            nodes.add(message, when, tail if number == 0 else [])
        opening = tail if not new else []
        answer = nodes.add(call.response, clock + call.t_done, *_sampled(found, opening))
        calls.append(_call(call, answer, clock))
        told = len(prompt) + 1
        lineage = call.lineage_id
        if not is_turn(call):
            nodes.branch, nodes.tokens, told = [], [], 0
    return nodes.all, calls


def _sampled(found: Ids | None, opening: list[int]) -> tuple[list[int], list[float]]:
    if found is None:
        return [], []
    record = found.record
    return [*opening, *record.completion_ids], record.completion_logprobs


def _call(call: CallFinished, node: int, clock: float) -> dict[str, Any]:
    usage = call.usage
    reason = call.finish_reason if call.finish_reason in ("stop", "length", "tool_calls") else None
    return {
        "node": node,
        "model": call.model,
        "endpoint": "/chat/completions",
        "finish_reason": reason,
        "usage": {
            "prompt_tokens": usage.prompt_tokens - usage.cached_tokens,
            "completion_tokens": usage.completion_tokens,
            "cached_input_tokens": usage.cached_tokens,
            "reasoning_tokens": usage.reasoning_tokens,
            "cost": call.cost_usd,
        },
        "time": {"start": clock + call.t_sent, "end": clock + call.t_done},
    }


def _message(message: Message) -> dict[str, Any]:
    role = "system" if message["role"] == "developer" else message["role"]
    content = message.get("content")
    if isinstance(content, list):
        content = "\n".join(str(part.get("text") or "") for part in content)
    if role == "tool":
        return {"role": role, "tool_call_id": message.get("tool_call_id") or "", "content": content or ""}
    if role != "assistant":
        return {"role": role, "content": content or ""}
    plain: dict[str, Any] = {"role": role, "content": content}
    if reasoning := message.get("reasoning_content") or message.get("reasoning"):
        plain["reasoning_content"] = str(reasoning)
    if calls := calls_in(message):
        plain["tool_calls"] = [{"id": each.id, "name": each.name, "arguments": each.arguments} for each in calls]
    return plain


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    function = tool.get("function") or {}
    kept = ("name", "description", "parameters")
    return {"type": "function", **{key: function[key] for key in kept if key in function}}
