"""verl's `AgentLoopOutput`, a row a line, with the `uid` of its group. Of a run the orchestrator's last row comes last,
for GRPO takes the last output of a rollout; sub-agents are frozen, and left out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from swarm.rl.export.outcome import Exported, line
from swarm.rl.reading import RunLog, Trajectory
from swarm.rl.rollouts import about, group_of, is_usable, reward, rows
from swarm.rl.rows import Row
from swarm.whole_file import whole_file


def export(folders: Sequence[Path], out: Path) -> Exported:
    done = Exported()
    with whole_file(out) as file:
        for folder in folders:
            log = RunLog(folder)
            found = False
            for trajectory, row in rows(log):
                found = True
                if not is_usable(log, trajectory):
                    done.left_out["rows that the machine ended"] += 1
                    continue
                file.write(line(_output(log, trajectory, row)))
                done.rows += 1
            done.left_out["runs without anything to train on"] += not found
    return done


def _output(log: RunLog, trajectory: Trajectory, row: Row) -> dict[str, Any]:
    steps = [int(version) for version in row.versions if version.isdecimal()]
    extra: dict[str, Any] = about(log, trajectory) | {"calls": row.calls, "policy_versions": row.versions}
    if len(steps) == len(row.versions):
        extra |= {"min_global_steps": min(steps), "max_global_steps": max(steps)}
    return {
        "prompt_ids": row.prompt_ids,
        "response_ids": row.response_ids,
        "response_mask": row.response_mask,
        "response_logprobs": row.response_logprobs,
        "reward_score": reward(log, trajectory),
        "num_turns": len(row.calls),
        "metrics": {"generate_sequences": _seconds(trajectory), "tool_calls": _tool_seconds(trajectory)},
        "extra_fields": extra,
        "uid": group_of(log),
    }


def _seconds(trajectory: Trajectory) -> float:
    return sum(max(0.0, call.t_done - call.t_sent) for call in trajectory.calls)


def _tool_seconds(trajectory: Trajectory) -> float:
    return sum(max(0.0, tool.t_end - tool.t_start) for tool in trajectory.tools)
