"""Token rows for TRL: what a `rollout_func` gives (`prompt_ids, completion_ids, logprobs, env_mask`), and the same in
one piece as its trainers take it (`input_ids, completion_mask, old_log_probs`). Sub-agents are frozen: left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from swarm.rl.export.outcome import Exported, line
from swarm.rl.reading import RunLog
from swarm.rl.rollouts import about, group_of, is_usable, reward, rows
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
                file.write(
                    line(
                        {
                            "prompt_ids": row.prompt_ids,
                            "completion_ids": row.response_ids,
                            "logprobs": row.response_logprobs,
                            "env_mask": row.response_mask,
                            "input_ids": row.tokens,
                            "completion_mask": row.mask,
                            "old_log_probs": row.logprobs,
                            "reward": reward(log, trajectory),
                            "group_id": group_of(log),
                            "model_version": row.versions[-1],
                            "model_versions": row.versions,
                            "metadata": about(log, trajectory) | {"calls": row.calls},
                        }
                    )
                )
                done.rows += 1
            done.left_out["runs without anything to train on"] += not found
    return done
