"""What runs show of a policy, read from their logs: how well it does, and how it delegates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from examples.parl.vocabulary import DONE
from examples.parl.world import CHAIN, WIDE, part_found, told
from swarm.rl.episode import PERF, read_episode
from swarm.rl.reading import events_of
from swarm.rl.rollout import Rolled


@dataclass(frozen=True, slots=True)
class Seen:
    """One run. `found` is the part of the task, before anything is paid; `agents` the sub-agents that it started."""

    kind: str
    perf: float
    found: float
    answered: bool
    agents: int
    completed: int
    critical_steps: int
    total_steps: int


def see(rolled: Rolled) -> Seen | None:
    """One run's figures; None where the machine failed it."""
    if rolled.machine_failed or rolled.folder is None or rolled.result is None:
        return None
    events = list(events_of(rolled.folder))
    episode = read_episode(events)
    perf = next(given.value for given in rolled.rewards if given.name == PERF)
    return Seen(
        rolled.task.kind,
        perf,
        part_found(rolled.task, told(events)),
        rolled.result.answer.startswith(DONE),
        len(episode.counted),
        sum(each.outcome.value == "completed" for each in episode.counted),
        episode.critical_steps,
        episode.total_steps,
    )


def summary(runs: Sequence[Seen]) -> dict[str, float]:
    """The means of some runs, of wide tasks and of chains apart."""
    wide, chain = ([run for run in runs if run.kind == kind] for kind in (WIDE, CHAIN))
    agents = sum(run.agents for run in runs)
    return {
        "runs": len(runs),
        "perf": _mean(run.perf for run in runs),
        "found": _mean(run.found if run.answered else 0.0 for run in runs),
        "answered": _mean(run.answered for run in runs),
        "wide_perf": _mean(run.perf for run in wide),
        "chain_perf": _mean(run.perf for run in chain),
        "wide_found": _mean(run.found if run.answered else 0.0 for run in wide),
        "chain_found": _mean(run.found if run.answered else 0.0 for run in chain),
        "wide_delegated": _mean(run.agents > 0 for run in wide),
        "chain_delegated": _mean(run.agents > 0 for run in chain),
        "wide_agents": _mean(run.agents for run in wide),
        "chain_agents": _mean(run.agents for run in chain),
        "finish_rate": sum(run.completed for run in runs) / agents if agents else 0.0,
        "critical_steps": _mean(run.critical_steps for run in runs),
        "total_steps": _mean(run.total_steps for run in runs),
    }


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return round(fmean(found), 4) if found else 0.0
