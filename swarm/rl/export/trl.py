"""Token rows for TRL: what a `rollout_func` gives (`prompt_ids, completion_ids, logprobs, env_mask`), and the same in
one piece as its trainers take it (`input_ids, completion_mask, old_log_probs`). `model_version` is a number, as there;
null where the endpoint tells none. Sub-agents are frozen: left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from swarm.rl.export.outcome import Exported
from swarm.rl.export.row_lines import write_rows
from swarm.rl.filters import step_of
from swarm.rl.reading import RunLog, Trajectory
from swarm.rl.rollouts import about, group_of, reward
from swarm.rl.rows import Row


def export(folders: Sequence[Path], out: Path) -> Exported:
    """See `swarm.rl.export.catalog`."""
    return write_rows(folders, out, _row)


def _row(log: RunLog, trajectory: Trajectory, row: Row) -> dict[str, object]:
    return {
        "prompt_ids": row.prompt_ids,
        "completion_ids": row.response_ids,
        "logprobs": row.response_logprobs,
        "env_mask": row.response_mask,
        "input_ids": row.tokens,
        "completion_mask": row.mask,
        "old_log_probs": row.logprobs,
        "reward": reward(log, trajectory),
        "group_id": group_of(log, trajectory),
        "rollout_id": f"{log.started.run_id}/{row.trajectory_id}",
        "model_version": step_of(row.versions[-1]),
        "model_versions": row.versions,
        "metadata": about(log, trajectory) | {"calls": row.calls},
    }
