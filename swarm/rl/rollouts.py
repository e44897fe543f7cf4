"""One run as trainers want it: who learns, what it is worth, and whether it can be used at all."""

from __future__ import annotations

from collections.abc import Iterator

from swarm.events import AgentEnded, RewardGiven
from swarm.rl.reading import RunLog, Trajectory
from swarm.rl.rows import Row, rows_of
from swarm.types import Outcome, RunStatus

_MACHINE = (RunStatus.ERRORED, RunStatus.CANCELLED)


def learners(log: RunLog) -> Iterator[Trajectory]:
    """The trajectories that are to be trained on, one after the other. Sub-agents are frozen: they are none."""
    for name in log.trajectories:
        trajectory = log.trajectory(name)
        if trajectory.start.trainable:
            yield trajectory


def rows(log: RunLog) -> Iterator[tuple[Trajectory, Row]]:
    """All rows of a run; the orchestrator's last one comes last."""
    for trajectory in learners(log):
        found = sorted(rows_of(trajectory), key=lambda row: row.lineage_id)
        yield from ((trajectory, row) for row in found)


def components(log: RunLog, trajectory: Trajectory) -> list[RewardGiven]:
    """The components of the reward of a trajectory: its own, and the run's."""
    return [
        *log.rewards("run", log.started.run_id),
        *log.rewards("trajectory", trajectory.start.trajectory_id),
    ]


def reward(log: RunLog, trajectory: Trajectory) -> float:
    """Their sum, each with its weight."""
    return sum(given.value * given.weight for given in components(log, trajectory))


def is_usable(log: RunLog, trajectory: Trajectory) -> bool:
    """Whether it came to an end for which the policy answers: not the machine, nor whoever stopped it."""
    over = log.ended is not None and log.ended.status not in _MACHINE
    return over and trajectory.end is not None and trajectory.end.outcome is not Outcome.ERRORED


def status_of(log: RunLog, trajectory: Trajectory) -> str:
    """`completed`, `truncated` (a limit), `failed` (the machine) or `aborted` (no end)."""
    end: AgentEnded | None = trajectory.end
    if log.ended is None or end is None or log.ended.status is RunStatus.CANCELLED:
        return "aborted"
    if not is_usable(log, trajectory):
        return "failed"
    return "truncated" if end.truncated else "completed"


def about(log: RunLog, trajectory: Trajectory) -> dict[str, object]:
    """Where something comes from, for the formats that have a place for it."""
    return {
        "run_id": log.started.run_id,
        "trajectory_id": trajectory.start.trajectory_id,
        "group_id": group_of(log),
        "rollout_index": log.started.rollout_index,
        "status": status_of(log, trajectory),
        "rewards": {each.name: {"value": each.value, "weight": each.weight} for each in components(log, trajectory)},
    }


def group_of(log: RunLog) -> str:
    """Runs of the same prompt share it: as the trainer named it, else by the task."""
    return log.started.group_id or log.started.task_sha256[:16]
