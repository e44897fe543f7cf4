"""One run as trainers want it: who learns, what it is worth, and whether it can be used at all."""

from __future__ import annotations

from collections.abc import Iterator

from swarm.config import Rollout
from swarm.events import AgentEnded, RewardGiven, RunStarted
from swarm.rl.reading import RunLog, Trajectory
from swarm.rl.rows import Row, rows_of
from swarm.types import Outcome, RunStatus

GATEWAY = "gateway"
"""The mode of a run that is a record of agents that nobody knows."""

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
    """The components of the reward of a trajectory: its own; and the run's, unless it is a part of another's work."""
    of_run = [] if trajectory.start.parent_trajectory_id else log.rewards("run", log.started.run_id)
    return [*of_run, *log.rewards("trajectory", trajectory.start.trajectory_id)]


def reward(log: RunLog, trajectory: Trajectory) -> float:
    """Their sum, each with its weight."""
    return sum(given.value * given.weight for given in components(log, trajectory))


def is_usable(log: RunLog, trajectory: Trajectory) -> bool:
    """Whether it came to an end for which the policy answers: not the machine, nor whoever stopped it. Sessions behind
    a gateway end each by itself, whatever becomes of the gateway."""
    over = log.started.mode == GATEWAY or (log.ended is not None and log.ended.status not in _MACHINE)
    return over and trajectory.end is not None and trajectory.end.outcome is not Outcome.ERRORED


def status_of(log: RunLog, trajectory: Trajectory) -> str:
    """`completed`, `truncated` (a limit), `failed` (the machine) or `aborted` (no end)."""
    end: AgentEnded | None = trajectory.end
    stopped = log.ended is None or log.ended.status is RunStatus.CANCELLED
    if end is None or (stopped and log.started.mode != GATEWAY):
        return "aborted"
    if not is_usable(log, trajectory):
        return "failed"
    return "truncated" if end.truncated else "completed"


def about(log: RunLog, trajectory: Trajectory) -> dict[str, object]:
    """Where something comes from, for the formats that have a place for it."""
    return {
        "run_id": log.started.run_id,
        "trajectory_id": trajectory.start.trajectory_id,
        "group_id": group_of(log, trajectory),
        "rollout_index": log.started.rollout_index,
        "status": status_of(log, trajectory),
        **{name: getattr(log.started, name) for name in Rollout().policy},
        "rewards": {each.name: {"value": each.value, "weight": each.weight} for each in components(log, trajectory)},
    }


def group_of(log: RunLog, trajectory: Trajectory | None = None) -> str:
    """Runs of the same prompt share it: as the trainer named it, else by the task. What a session behind a gateway is
    about nobody knows: it is a group by itself."""
    if log.started.mode == GATEWAY and trajectory is not None:
        return f"{log.started.run_id}/{trajectory.start.trajectory_id}"
    return group_named(log.started)


def group_named(started: RunStarted) -> str:
    """The group of a run, by its start."""
    return started.group_id or started.task_sha256[:16]
