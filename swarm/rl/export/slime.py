"""slime's samples, as `--load-debug-rollout-data` reads them: `{"rollout_id", "samples"}`, saved by torch.

All runs go into one file; with `{rollout_id}` in its name each group of runs goes into one of its own, so that no more
than a group is held at once. Rows that cannot be used are in it with `remove_sample`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import Any

from swarm.errors import UsageError
from swarm.rl.export.outcome import Exported
from swarm.rl.reading import RunLog, Trajectory
from swarm.rl.rollouts import about, group_of, is_usable, reward, rows, status_of
from swarm.rl.rows import Row
from swarm.whole_file import whole_file

_HOLE = "{rollout_id}"


def export(folders: Sequence[Path], out: Path) -> Exported:
    try:
        torch: Any = import_module("torch")
    except ImportError:
        raise UsageError("slime's files are written by torch, which is not here", remedy="pip install torch") from None
    done = Exported()
    logs = [(group_of(RunLog(folder)), folder) for folder in folders]
    groups = {name: number for number, name in enumerate(dict.fromkeys(name for name, _ in logs))}
    logs.sort(key=lambda each: groups[each[0]])
    apart = _HOLE in out.name
    for number, of_one in groupby(logs, key=lambda each: groups[each[0]] if apart else 0):
        samples: list[dict[str, Any]] = []
        for name, folder in of_one:
            for sample in _samples(RunLog(folder), groups[name], done):
                samples.append(sample | {"index": done.rows})
                done.rows += 1
        with whole_file(out.with_name(out.name.replace(_HOLE, str(number)))) as file:
            torch.save({"rollout_id": number, "samples": samples}, file)
    return done


def _samples(log: RunLog, group: int, done: Exported) -> Iterator[dict[str, Any]]:
    found = False
    for trajectory, row in rows(log):
        found = True
        yield _sample(log, trajectory, row, group)
    done.left_out["runs without anything to train on"] += not found


def _sample(log: RunLog, trajectory: Trajectory, row: Row, group: int) -> dict[str, Any]:
    _, prompt, _ = next(trajectory.walk())
    answer = next(call for call in reversed(trajectory.calls) if call.call_id == row.calls[-1])
    return {
        "group_index": group,
        "rollout_id": log.started.rollout_index,
        "prompt": prompt,
        "tokens": row.tokens,
        "response": str(answer.response.get("content") or ""),
        "response_length": len(row.response_ids),
        "label": None,
        "reward": reward(log, trajectory),
        "loss_mask": row.response_mask,
        "rollout_log_probs": row.response_logprobs,
        "weight_versions": row.versions,
        "status": status_of(log, trajectory),
        "remove_sample": not is_usable(log, trajectory),
        "metadata": about(log, trajectory) | {"calls": row.calls},
        "session_id": f"{log.started.run_id}/{row.trajectory_id}",
    }
