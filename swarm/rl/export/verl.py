"""verl's `AgentLoopOutput`, a row a line, with the `uid` of its group. Of a run the orchestrator's last row comes last,
for GRPO takes the last output of a rollout; sub-agents are frozen, and left out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from swarm.rl.export.outcome import Exported
from swarm.rl.export.row_lines import write_rows
from swarm.rl.filters import step_of
from swarm.rl.reading import RunLog, Trajectory
from swarm.rl.rollouts import about, group_of, reward
from swarm.rl.rows import Row


def export(folders: Sequence[Path], out: Path) -> Exported:
    """See `swarm.rl.export.catalog`."""
    return write_rows(folders, out, _output)


def _output(log: RunLog, trajectory: Trajectory, row: Row) -> dict[str, Any]:
    steps = [step for version in row.versions if (step := step_of(version)) is not None]
    extra: dict[str, Any] = about(log, trajectory) | {"calls": row.calls, "policy_versions": row.versions}
    if len(steps) == len(row.versions):
        extra |= {"min_global_steps": min(steps), "max_global_steps": max(steps)}
    return {
        "prompt_ids": row.prompt_ids,
        "response_ids": row.response_ids,
        "response_mask": row.response_mask,
        "response_logprobs": row.response_logprobs,
        "reward_score": reward(log, trajectory),
        "num_turns": 2 * len(row.calls),  # as verl counts: of the model, and of user or tools
        "metrics": {"generate_sequences": _seconds(trajectory), "tool_calls": _tool_seconds(trajectory)},
        "extra_fields": extra,
        "uid": group_of(log, trajectory),
    }


def _seconds(trajectory: Trajectory) -> float:
    return sum(max(0.0, call.t_done - call.t_sent) for call in trajectory.calls)


def _tool_seconds(trajectory: Trajectory) -> float:
    return sum(max(0.0, tool.t_end - tool.t_start) for tool in trajectory.tools)
