"""Rollouts: k runs of each task, hundreds at once, paused and gone on with as a training wants them.

rollouts = Rollouts(swarm, Path("rollouts"), Bounds(k=8, batch_fraction=0.9), verify)
async with rollouts.iteration(tasks, weights=Rollout(lambda1=0.3, anneal_step=7)) as done:
    async for rollout in done:
        ...
"""

from swarm.rl.rollout.batch import Bounds, Rolled
from swarm.rl.rollout.driver import Rollouts, RolloutStatistics

__all__ = ["Bounds", "Rolled", "RolloutStatistics", "Rollouts"]
