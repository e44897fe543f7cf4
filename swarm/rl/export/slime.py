"""slime's samples, as `--load-debug-rollout-data` reads them: `{"rollout_id", "samples"}`, saved by torch.

All runs go into one file, which torch.save makes in memory; with `{rollout_id}` in its name each group of runs goes
into one of its own, so that no more than a group is held at once. `rollout_id` of a sample is a number of its run, by
which slime knows the rows of one rollout: it is not that of another run, of whatever group. Rows that cannot be used
are in it with `remove_sample`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import Any

from swarm.errors import UsageError
from swarm.rl.export.outcome import Exported
from swarm.rl.reading import RunLog, Trajectory, started_of
from swarm.rl.rollouts import about, group_named, is_usable, reward, rows, status_of
from swarm.rl.rows import Row
from swarm.whole_file import whole_file

_HOLE = "{rollout_id}"


def export(folders: Sequence[Path], out: Path) -> Exported:
    """See `swarm.rl.export.catalog`."""
    try:
        torch: Any = import_module("torch")
    except ImportError:
        raise UsageError("slime's files are written by torch, which is not here", remedy="pip install torch") from None
    done = Exported()
    groups: dict[str, int] = {}
    numbered = list(enumerate(folders))
    of = {number: groups.setdefault(_named(folder), len(groups)) for number, folder in numbered}
    numbered.sort(key=lambda each: of[each[0]])
    apart = _HOLE in out.name
    for number, of_one in groupby(numbered, key=lambda each: of[each[0]] if apart else 0):
        samples: list[dict[str, Any]] = []
        for rollout, folder in of_one:
            for sample in _samples(RunLog(folder), done):
                samples.append({"group_index": of[rollout], "index": done.rows, "rollout_id": rollout} | sample)
                done.rows += 1
        with whole_file(out.with_name(out.name.replace(_HOLE, str(number)))) as file:
            torch.save({"rollout_id": number, "samples": samples}, file)
    return done


def _named(folder: Path) -> str:
    """The group of a run, by its first lines."""
    return group_named(started_of(folder))


def _samples(log: RunLog, done: Exported) -> Iterator[dict[str, Any]]:
    found = False
    for trajectory, row in rows(log):
        found = True
        yield _sample(log, trajectory, row)
    done.left_out["runs without anything to train on"] += not found


def _sample(log: RunLog, trajectory: Trajectory, row: Row) -> dict[str, Any]:
    answer = next(call for call in reversed(trajectory.calls) if call.call_id == row.calls[-1])
    return {
        "prompt": row.messages,
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
