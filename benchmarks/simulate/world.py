"""One simulated run: replicas, agents and a policy on a virtual clock, and what came of it."""

from __future__ import annotations

import asyncio
import gc
import random
import statistics
import time
from dataclasses import dataclass, field
from random import Random
from typing import Any

import anyio

from benchmarks.simulate.agents import Cores, Log, SimulatedExecutor, SimulatedModel, prepare
from benchmarks.simulate.policies import Policy, client
from benchmarks.simulate.replica import Hardware, Replica, Trouble
from benchmarks.simulate.workload import Workload
from swarm.events import Event
from swarm.models.admission.statistics import GovernorStatistics
from swarm.scheduling.scheduler import Scheduler, StageOutcome
from swarm.scheduling.stragglers import StragglerPolicy
from swarm.testing.simulated_loop import SimulatedLoop
from swarm.types import Plan, SubTask


@dataclass(frozen=True, slots=True)
class Scene:
    """All that a simulated run follows from. `width` is how many agents may be at work at once (0: all); `troubles` are
    those of single replicas by their number. Each call costs `cpu_s` seconds of one of the client's `cores`."""

    agents: int
    replicas: int
    policy: Policy = field(default_factory=Policy)
    workload: Workload = field(default_factory=Workload)
    hardware: Hardware = field(default_factory=Hardware)
    troubles: dict[int, tuple[Trouble, ...]] = field(default_factory=dict)
    width: int = 0
    cpu_s: float = 0.0
    cores: int = 1
    rtt_s: float = 0.002
    stragglers: StragglerPolicy = field(default_factory=StragglerPolicy)


@dataclass
class Outcome:
    """What came of a scene. `makespan_s` is virtual, `real_s` and `cpu_s` what the simulation itself took."""

    scene: Scene
    log: Log
    governors: list[GovernorStatistics]
    replicas: list[Replica]
    stage: StageOutcome
    makespan_s: float
    core_s: float
    real_s: float = 0.0
    cpu_s: float = 0.0

    @property
    def ideal_s(self) -> float:
        """No policy is faster: the longest agent alone at an idle replica with its prompts cached, or the work of all
        spread evenly over replicas that are always full."""
        scene, hardware = self.scene, self.scene.hardware
        alone = total = tokens = 0.0
        full = hardware.a + hardware.b * hardware.seats
        for number in range(scene.agents):
            turns = scene.workload.turns_of(number)
            answers = sum(turn.answer for turn in turns)
            fresh = sum(turn.prompt - max(turn.said, min(scene.workload.shared, turn.prompt)) for turn in turns)
            tools = sum(turn.tool_s for turn in turns)
            alone = max(alone, answers * (hardware.a + hardware.b) + fresh / hardware.p + tools)
            total += answers * full / hardware.seats
            tokens += fresh / hardware.p
        return max(alone, (total + tokens) / scene.replicas)

    def figures(self) -> dict[str, float]:
        """Numbers for tables; times in virtual seconds."""
        log, span = self.log, self.makespan_s
        tallies = [replica.tally for replica in self.replicas]
        ordered = sorted(log.latency) or [0.0]
        agent_s = sum(log.spent.values())
        busy = [tally.busy_s / span for tally in tallies]
        prompt = sum(tally.prompt for tally in tallies)
        return {
            "makespan_s": span,
            "calls": log.answered,
            "calls_per_s": log.answered / span,
            "latency_mean_s": statistics.fmean(ordered),
            "latency_p50_s": ordered[len(ordered) // 2],
            "latency_p99_s": ordered[int(len(ordered) * 0.99)],
            "peak_in_flight": log.peak,
            "failed_calls": sum(log.failed.values()),
            "refused_share": sum(log.failed.values()) / max(1, log.sent),
            "agents_failed": self.scene.agents - sum(r.outcome.value == "completed" for r in self.stage.results),
            "told_to_finish": log.told,
            "cached_share": sum(tally.cached for tally in tallies) / max(1, prompt),
            "replicas_busy": statistics.fmean(busy),
            "replicas_busy_least": min(busy),
            "replicas_queued": sum(tally.queued_s for tally in tallies) / span / len(tallies),
            "seats_taken": sum(tally.decode_s for tally in tallies) / span / len(tallies) / self.scene.hardware.seats,
            "core_busy": self.core_s / span / self.scene.cores,
            **{f"spent_{name.replace(' ', '_')}": seconds / agent_s for name, seconds in sorted(log.spent.items())},
            "simulated_in_s": self.real_s,
            "simulation_cpu_us_per_call": 1e6 * self.cpu_s / max(1, log.sent),
        }


class _Quiet:
    """`swarm.protocols.EventSink` that keeps nothing."""

    def emit(self, event: Event) -> None: ...

    async def flush(self) -> None: ...


def plan_of(agents: int) -> Plan:
    """Sub-tasks that need nothing of each other."""
    parts: list[Any] = [
        SubTask.model_construct(id=str(n), title="t", instructions="x", system_prompt="", depends_on=(), files=(),
                                replaces=(), result_schema=None, kind="", budget_share=0.0, group="")
        for n in range(agents)
    ]  # fmt: skip
    return Plan.model_construct(rationale="", subtasks=tuple(parts), dropped=(), need={})


def simulate(scene: Scene) -> Outcome:
    """Run a scene to its end. The same scene has the same outcome, to the last digit (but for `real_s` and `cpu_s`)."""
    loop = SimulatedLoop()
    state = random.getstate()
    random.seed(scene.workload.seed)  # the governor's jitter
    gc.collect()
    gc.freeze()
    started, cpu = time.perf_counter(), time.process_time()
    try:
        outcome: Outcome = anyio.run(_run, scene, backend_options={"loop_factory": lambda: loop})
    finally:
        random.setstate(state)
        gc.unfreeze()
    outcome.real_s, outcome.cpu_s = time.perf_counter() - started, time.process_time() - cpu
    if loop.errors:
        raise RuntimeError(f"the simulation itself failed: {loop.errors[0]}")
    return outcome


async def _run(scene: Scene) -> Outcome:
    rng, log, cores = Random(scene.workload.seed), Log(), Cores(scene.cores, scene.cpu_s)
    begun = anyio.current_time()
    log.flight(begun, 0)
    replicas = [Replica(scene.hardware, scene.troubles.get(n, ())) for n in range(scene.replicas)]
    models = [
        SimulatedModel(f"http://replica-{n}", replica, cores, log, scene.rtt_s, rng)
        for n, replica in enumerate(replicas)
    ]
    made = client(scene.policy, models, asyncio.get_running_loop().time, rng)
    for model, governor in zip(models, made.governors, strict=False):  # none, where the policy is not ours
        model.reached = governor.reached
    executor = SimulatedExecutor(made, scene.workload, log, rng)
    scheduler = Scheduler(executor, prepare, _Quiet(), scene.width or scene.agents, scene.stragglers)
    stage = await scheduler.run(plan_of(scene.agents), 1, anyio.Event())
    if stage.fault is not None:
        raise stage.fault
    governors = [each.statistics() for each in made.governors]
    return Outcome(scene, log, governors, replicas, stage, anyio.current_time() - begun, cores.worked_s)
