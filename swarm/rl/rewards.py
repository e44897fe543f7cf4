"""PARL's reward, r = λ1·r_parallel + λ2·r_finish + r_perf (K2.5 report, arXiv 2602.02276), from the facts of a run.

The report publishes the shape and no closed form. Those here are ours, or from an open reproduction (OpenPARL, said so
there). Each is a pure function of an `Episode` with a name and a version: what a log says of a reward can be computed
again. Components are raw; weights stand beside them and are applied last, because they change while a policy learns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from swarm.events import RewardGiven
from swarm.rl.episode import PERF, Episode

PARALLEL = "r_parallel"
FINISH = "r_finish"
PENALTY = "step_penalty"

Form = Callable[[Episode], float]


@dataclass(frozen=True, slots=True)
class Component:
    """One named part of a reward. `source` names the closed form and its settings; a change of its arithmetic raises
    `version`."""

    name: str
    source: str
    version: int
    form: Form

    def __call__(self, episode: Episode) -> float:
        value = float(self.form(episode))
        if not math.isfinite(value):
            raise ValueError(f"{self.source} of {episode.run_id}: {value} is no reward")
        return value


def parallel_capped(cap: int = 10) -> Component:
    """min(n, cap) / cap for n sub-agents started (OpenPARL's form, with its cap). In 0..1.

    It pays for starting alone: what keeps it honest is `r_finish`, and that its weight goes to zero."""
    _positive("cap", cap)
    return Component(PARALLEL, f"capped(cap={cap})", 1, lambda episode: min(len(episode.counted), cap) / cap)


def parallel_width(cap: int = 10) -> Component:
    """As `parallel_capped`, for the widest stage in place of the sum over stages: agents that follow each other are
    no parallelism. In 0..1."""
    _positive("cap", cap)

    def width(episode: Episode) -> float:
        stages: dict[int, int] = {}
        for agent in episode.counted:
            stages[agent.stage] = stages.get(agent.stage, 0) + 1
        widest = max(stages.values(), default=0)
        return min(max(widest - 1, 0), cap - 1) / max(cap - 1, 1)

    return Component(PARALLEL, f"width(cap={cap})", 1, width)


def parallel_saved() -> Component:
    """1 - critical steps / total steps: the part of the work that ran beside other work. In 0..1; one agent after the
    other gives 0, and so does a swarm of which one agent did everything."""

    def saved(episode: Episode) -> float:
        return max(0.0, 1 - episode.critical_steps / episode.total_steps) if episode.total_steps else 0.0

    return Component(PARALLEL, "saved", 1, saved)


def finish_rate() -> Component:
    """Sub-agents that completed / those that the orchestrator answers for; 0 where there is none. In 0..1. Those that
    the machine failed are not counted: they are nobody's decision."""

    def rate(episode: Episode) -> float:
        counted = episode.counted
        return sum(a.outcome.value == "completed" for a in counted) / len(counted) if counted else 0.0

    return Component(FINISH, "completed", 1, rate)


def finish_valid() -> Component:
    """As `finish_rate`, of sub-agents that completed with something to show and used a tool (OpenPARL's "valid"): an
    agent that says "done" after nothing does not count. In 0..1."""

    def rate(episode: Episode) -> float:
        counted = episode.counted
        return sum(a.valid for a in counted) / len(counted) if counted else 0.0

    return Component(FINISH, "valid", 1, rate)


def perf_judged(source: str = "") -> Component:
    """What a judge or grader wrote into the log about the whole task; without a name, the only one there.

    Raises ValueError where there is none, or several and no name: a missing judgement is no zero."""

    def judged(episode: Episode) -> float:
        if source in episode.perf:
            return episode.perf[source]
        if not source and len(episode.perf) == 1:
            return next(iter(episode.perf.values()))
        known = ", ".join(sorted(episode.perf)) or "none"
        raise ValueError(f"{episode.run_id} has no judgement {source!r} of the task (recorded: {known})")

    return Component(PERF, f"judged({source})", 1, judged)


def perf_outcome() -> Component:
    """Where nobody judged: 1 if the gate passed, 0 if not; without a gate, the useful part of what was asked for. A
    run's answer alone proves nothing, so one that asked for nothing and has no gate counts 0. In 0..1."""

    def outcome(episode: Episode) -> float:
        if episode.gate is not None:
            return float(episode.gate)
        return episode.useful / episode.asked if episode.asked else 0.0

    return Component(PERF, "outcome", 1, outcome)


def critical_penalty(limit: int, slope: float = 1.0) -> Component:
    """0 up to `limit` critical steps, then -slope·(steps/limit - 1), at least -slope. PARL *limits* critical steps
    instead; this is for trainers that cannot cut an episode short."""
    _positive("limit", limit)
    return Component(
        PENALTY,
        f"critical(limit={limit}, slope={slope:g})",
        1,
        lambda episode: -slope * min(1.0, max(0.0, episode.critical_steps / limit - 1)),
    )


def steps_penalty(per_step: float) -> Component:
    """-per_step for each step of the orchestrator's own."""
    return Component(PENALTY, f"steps({per_step:g})", 1, lambda episode: -per_step * episode.orchestrator_steps)


@dataclass(frozen=True, slots=True)
class Reward:
    """The raw components of one run and the weights beside them. `masked`: the machine ended the run, so the reward
    says nothing about the policy and must not train it."""

    run_id: str
    values: Mapping[str, float]
    weights: Mapping[str, float] = field(default_factory=dict)
    masked: bool = False

    @property
    def total(self) -> float:
        """Σ weight·value. A component without a weight counts once."""
        return sum(self.weights.get(name, 1.0) * value for name, value in self.values.items())


@dataclass(frozen=True, slots=True)
class Parl:
    """A reward of PARL's shape: which closed form each component has. `extra` are further components, penalties say.

    `weights` of a moment of the training come from `swarm.rl.annealing`."""

    parallel: Component = field(default_factory=parallel_capped)
    finish: Component = field(default_factory=finish_valid)
    perf: Component = field(default_factory=perf_outcome)
    extra: Sequence[Component] = ()

    def components(self) -> tuple[Component, ...]:
        parts = (self.parallel, self.finish, self.perf, *self.extra)
        names = [part.name for part in parts]
        if len(set(names)) < len(names):
            raise ValueError(f"two components of one name: {', '.join(names)}")
        return parts

    def of(self, episode: Episode, weights: Mapping[str, float]) -> Reward:
        """The reward of a run under these weights. Raises ValueError for a weight of no component."""
        parts = self.components()
        if unknown := set(weights) - {part.name for part in parts}:
            raise ValueError(f"weights of no component: {', '.join(sorted(unknown))}")
        return Reward(episode.run_id, {part.name: part(episode) for part in parts}, weights, episode.machine_failed)

    def records(self, episode: Episode, weights: Mapping[str, float]) -> list[RewardGiven]:
        """The same as records for the log: append-only, raw values, weights beside them."""
        reward = self.of(episode, weights)
        return [
            RewardGiven(
                scope="run",
                target_id=episode.run_id,
                name=part.name,
                value=reward.values[part.name],
                weight=weights.get(part.name, 1.0),
                source=part.source,
                formula_version=part.version,
            )
            for part in self.components()
        ]


def discounted(value: float, steps: int, gamma: float) -> list[float]:
    """The reward of each of T steps when the end is worth `value`: value·gamma^(T-i), i = 1..T (Kimi-Researcher)."""
    return [value * gamma ** (steps - i) for i in range(1, steps + 1)]


def _positive(name: str, value: float) -> None:
    if value < 1:
        raise ValueError(f"{name} must be 1 or more, not {value}")
