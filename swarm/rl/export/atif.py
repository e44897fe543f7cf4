"""The Agent Trajectory Interchange Format v1.8: one document a run, its sub-agents embedded.

A step is a message of the system or the user, or a model's answer with what its tools said. A result is shown with the
call that asked for it, however late it came: `extra.first_seen_by` names the call that it was first told to. What ATIF
has no place for (rewards, group, versions) stands in `extra`. One run goes into the file `out`; several, and the
sessions of a gateway, go into the folder `out`, one file each. A document is written piece by piece.

`metrics.prompt_token_ids` is by its definition the whole prompt with all history: ATIF has no form for what is new in
it alone, and names no step that it goes on from. So a conversation of n turns takes n^2 of them; verifiers' and verl's
forms do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from pydantic_core import from_json, to_json

from swarm import __version__
from swarm.events import CallFinished, ToolFinished
from swarm.journal.open_calls import calls_in, is_turn
from swarm.rl.export.outcome import Exported
from swarm.rl.reading import Ids, RunLog, Trajectory
from swarm.rl.rollouts import about
from swarm.types import Message
from swarm.whole_file import whole_file

SCHEMA = "ATIF-v1.8"


def export(folders: Sequence[Path], out: Path) -> Exported:
    """See `swarm.rl.export.catalog`."""
    done = Exported()
    for folder in folders:
        log = RunLog(folder)
        roots = [name for name in log.trajectories if not log.parents.get(name)]
        done.left_out["runs in which no agent began"] += not roots
        for number, root in enumerate(roots, start=1):
            target = out
            if len(folders) > 1 or len(roots) > 1 or out.is_dir():
                out.mkdir(parents=True, exist_ok=True)
                target = out / (f"{folder.name}.json" if len(roots) == 1 else f"{folder.name}-{number}.json")
            with whole_file(target) as file:
                _write(log, root, file)
            done.rows += 1
    return done


def _write(log: RunLog, root: str, file: BinaryIO) -> None:
    """An agent at the top, and embedded in it, one at a time, all that came of it."""
    own = {root}
    for name in log.trajectories:  # none begins before its parent
        if log.parents.get(name) in own:
            own.add(name)
    others = [name for name in log.trajectories if name in own and name != root]
    _write_one(log, log.trajectory(root), file)
    if others:
        file.write(b',"subagent_trajectories":[')
        for number, name in enumerate(others):
            file.write(b"," if number else b"")
            _write_one(log, log.trajectory(name), file)
            file.write(b"}")
        file.write(b"]")
    file.write(b"}\n")


def _write_one(log: RunLog, trajectory: Trajectory, file: BinaryIO) -> None:
    """A document without its last brace, step by step."""
    file.write(to_json(_document(log, trajectory))[:-1])
    file.write(b',"steps":[')
    number = 0
    for number, step in enumerate(_steps(log, trajectory), 1):
        file.write(b"," if number > 1 else b"")
        file.write(to_json({"step_id": number} | step))
    if not number:
        file.write(to_json({"step_id": 1, "source": "system", "message": "the agent made no call"}))
    file.write(b"]")


def _document(log: RunLog, trajectory: Trajectory) -> dict[str, Any]:
    """All of a document but its steps."""
    start, end = trajectory.start, trajectory.end
    agent: dict[str, Any] = {"name": start.name or "agent", "version": __version__}
    if start.model:
        agent["model_name"] = start.model
    if start.tools:
        agent["tool_definitions"] = start.tools
    agent["extra"] = {"role": start.role, "trainable": start.trainable, "depth": start.depth, "stage": start.stage}
    usage = [call.usage for call in trajectory.calls]
    costs = [call.cost_usd for call in trajectory.calls]
    totals: dict[str, Any] = {
        "total_prompt_tokens": sum(each.prompt_tokens for each in usage),
        "total_completion_tokens": sum(each.completion_tokens for each in usage),
        "total_cached_tokens": sum(each.cached_tokens for each in usage),
        "total_steps": len(usage),
    }
    if None not in costs:
        totals["total_cost_usd"] = sum(cost or 0.0 for cost in costs)
    extra: dict[str, Any] = about(log, trajectory) | {"task_sha256": log.started.task_sha256, "mode": log.started.mode}
    if start.parent_trajectory_id:
        extra |= {"parent_trajectory_id": start.parent_trajectory_id}
        extra |= {"spawned_by_tool_call_id": start.spawned_by_tool_call_id}
    if end is not None:
        extra |= {"outcome": end.outcome, "stop": end.stop}
        extra |= {"terminated": end.terminated, "truncated": end.truncated}
    return {
        "schema_version": SCHEMA,
        "session_id": log.started.run_id,
        "trajectory_id": start.trajectory_id,
        "agent": agent,
        "final_metrics": totals,
        "extra": extra,
    }


def _steps(log: RunLog, trajectory: Trajectory) -> Iterator[dict[str, Any]]:
    """One for each message that was new to a prompt, and one for each answer. The answers of tools are told with the
    step that asked for them; messages that a shortened conversation begins with again are copied context."""
    used: dict[str, list[ToolFinished]] = {}
    for tool in trajectory.tools:
        used.setdefault(tool.call_id, []).append(tool)
    clock = log.started.t - log.started.mono
    lineage = 0
    for call, _, ids in trajectory.walk():
        when = _time(clock + call.t_sent)
        copied = call.lineage_id != lineage
        lineage = call.lineage_id if is_turn(call) else lineage
        for message in call.new_messages:
            if message["role"] not in ("tool", "assistant"):
                source = "system" if message["role"] in ("system", "developer") else "user"
                step = {"timestamp": when, "source": source, "message": _text(message)}
                yield step | ({"is_copied_context": True} if copied else {})
        yield _answer(call, used.get(call.call_id, []), _time(clock + call.t_done), ids)


def _answer(call: CallFinished, used: list[ToolFinished], when: str, ids: Ids | None) -> dict[str, Any]:
    metrics: dict[str, Any] = {
        "prompt_tokens": call.usage.prompt_tokens,
        "completion_tokens": call.usage.completion_tokens,
        "cached_tokens": call.usage.cached_tokens,
    }
    if call.cost_usd is not None:
        metrics["cost_usd"] = call.cost_usd
    if ids is not None:
        prompt, record = ids
        metrics |= {"prompt_token_ids": prompt, "completion_token_ids": record.completion_ids}
        metrics |= {"logprobs": record.completion_logprobs}
    step: dict[str, Any] = {
        "timestamp": when,
        "source": "agent",
        "model_name": call.model,
        "message": _text(call.response) if call.read_as is None else call.read_as,
        "metrics": metrics,
        "llm_call_count": 1,
        "extra": {
            "call_id": call.call_id,
            "lineage_id": call.lineage_id,
            "policy_version": call.policy_version,
            "finish_reason": call.finish_reason,
            "untrainable": call.untrainable,
        },
    }
    if reasoning := call.response.get("reasoning_content") or call.response.get("reasoning"):
        step["reasoning_content"] = str(reasoning)
    calls = calls_in(call.response)
    if calls:
        step["tool_calls"] = [
            {"tool_call_id": each.id, "function_name": each.name, **_arguments(each.arguments)} for each in calls
        ]
    results = [_result(tool) for tool in used if tool.tool_call_id in {each.id for each in calls}]
    return step | ({"observation": {"results": results}} if results else {})


def _result(tool: ToolFinished) -> dict[str, Any]:
    result: dict[str, Any] = {"source_call_id": tool.tool_call_id, "content": tool.result}
    if tool.child_trajectory_ids:
        result["subagent_trajectory_ref"] = [{"trajectory_id": child} for child in tool.child_trajectory_ids]
    extra: dict[str, Any] = {"status": tool.status, "first_seen_by": tool.first_seen_by}
    if tool.exit_code is not None:
        extra["exit_code"] = tool.exit_code
    return result | {"extra": extra}


def _arguments(raw: str) -> dict[str, Any]:
    """An object; what is none stands raw beside an empty one."""
    try:
        value = from_json(raw or "{}", allow_inf_nan=False)
    except ValueError:
        value = None
    return {"arguments": value} if isinstance(value, dict) else {"arguments": {}, "extra": {"raw_arguments": raw}}


def _text(message: Message) -> str:
    content = message.get("content")
    if isinstance(content, list):
        parts = ((part.get("text"), (part.get("image_url") or {}).get("url")) for part in content)
        return "\n".join(str(text or address or "") for text, address in parts)
    return str(content or "")


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
