"""What the rewards read: the facts of one run, folded from its log and from nothing else."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from swarm.events import AgentEnded, AgentStarted, CallFinished, Event, GateFinished, RewardGiven, RunEnded, RunStarted
from swarm.journal.parl import NOT_COUNTED, SOURCE
from swarm.journal.totals import Totals
from swarm.types import Outcome, Role, RunStatus

PERF = "r_perf"
"""The name of the component that tells how well the whole task was done."""


@dataclass(frozen=True, slots=True)
class SubAgentFacts:
    """One sub-agent that was asked for: how it ended, its steps and uses of tools, and whether it handed anything
    over."""

    trajectory_id: str
    stage: int
    outcome: Outcome
    steps: int
    tool_calls: int
    said: bool

    @property
    def valid(self) -> bool:
        """It completed with something to show that it worked for: neither empty nor without a use of a tool."""
        return self.outcome is Outcome.COMPLETED and self.said and self.tool_calls > 0


@dataclass(frozen=True, slots=True)
class StageFacts:
    """One stage: the orchestrator's steps, and those of each of its sub-agents."""

    main_steps: int
    sub_steps: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Episode:
    """One run as a trainer sees it.

    `machine_failed`: the endpoint or a sandbox ended it, not the policy; it must be left out, or outages are punished.
    `perf` are the judgements of the whole task that someone wrote into the log, by their source: not the run's own.
    `output_tokens` are the orchestrator's own.
    """

    run_id: str
    group_id: str = ""
    rollout_index: int = 0
    status: RunStatus | None = None
    agents: tuple[SubAgentFacts, ...] = ()
    stages: tuple[StageFacts, ...] = ()
    total_steps: int = 0
    longest_way: int = 0
    asked: int = 0
    useful: int = 0
    gate: bool | None = None
    perf: dict[str, float] = field(default_factory=dict)
    output_tokens: int = 0
    orchestrator_steps: int = 0
    machine_failed: bool = False

    @property
    def counted(self) -> tuple[SubAgentFacts, ...]:
        """The sub-agents that the orchestrator answers for: not those that a machine failed or that were called off."""
        return tuple(a for a in self.agents if a.outcome not in NOT_COUNTED)

    @property
    def critical_steps(self) -> int:
        """Sum over stages of the orchestrator's steps and the most of any sub-agent (K2.5 report, arXiv 2602.02276)."""
        return sum(stage.main_steps + max(stage.sub_steps, default=0) for stage in self.stages)


def read_episode(events: Iterable[Event]) -> Episode:
    """Fold a run's events, in order, into what rewards are made of. A run without an end counts as failed by the
    machine: nobody knows what it would have come to."""
    totals, read = Totals(), _Reading()
    for event in events:
        totals.observe(event)
        read.observe(event)
    stages = [totals.steps_of_stage(stage) for stage in range(1, totals.stage + 2)]
    return Episode(
        run_id=read.run_id,
        group_id=read.group_id,
        rollout_index=read.rollout_index,
        status=read.status,
        agents=tuple(read.agents(totals.subtasks)),
        stages=tuple(StageFacts(main, tuple(sub.values())) for main, sub in stages if main or sub),
        total_steps=totals.total_steps,
        longest_way=totals.critical_steps,
        asked=totals.coverage.asked,
        useful=totals.coverage.useful,
        gate=read.gate,
        perf=read.perf,
        output_tokens=read.tokens,
        orchestrator_steps=sum(main for main, _ in stages),
        machine_failed=read.status in (None, RunStatus.ERRORED, RunStatus.CANCELLED),
    )


class _Reading:
    """What `Totals` does not keep."""

    def __init__(self) -> None:
        self.run_id, self.group_id, self.rollout_index = "", "", 0
        self.status: RunStatus | None = None
        self.perf: dict[str, float] = {}
        self.tokens = 0
        self.gate: bool | None = None
        self._born: dict[str, AgentStarted] = {}
        self._ended: dict[str, AgentEnded] = {}
        self._orchestrators: set[str] = set()

    def observe(self, event: Event) -> None:
        match event:
            case RunStarted():
                self.run_id, self.group_id = event.run_id, event.group_id
                self.rollout_index = event.rollout_index
            case AgentStarted() if event.role == Role.SUBAGENT:
                self._born.setdefault(event.trajectory_id, event)
            case AgentStarted() if event.role == Role.ORCHESTRATOR:
                self._orchestrators.add(event.trajectory_id)
            case AgentEnded():
                self._ended[event.trajectory_id] = event
            case CallFinished() if event.accepted and event.trajectory_id in self._orchestrators:
                self.tokens += event.usage.completion_tokens
            case RewardGiven() if event.scope == "run" and event.name == PERF and event.source != SOURCE:
                self.perf[event.source] = event.value
            case GateFinished() if event.purpose == "verdict" and event.stage:
                self.gate = event.passed
            case RunEnded():
                self.status = event.status
            case _:
                pass

    def agents(self, planned: Collection[str]) -> Iterator[SubAgentFacts]:
        """One for each sub-task that the orchestrator asked for: the attempt that completed it, else the last. What the
        runtime started by itself, to repair a patch or to hedge, is nobody's decision."""
        chosen: dict[str, str] = {}
        for name, born in self._born.items():
            subtask_id = born.subtask.id if born.subtask else ""
            before = self._ended.get(chosen.get(subtask_id, ""))
            if subtask_id in planned and (before is None or before.outcome is not Outcome.COMPLETED):
                chosen[subtask_id] = name
        for name in chosen.values():
            end = self._ended.get(name)
            yield SubAgentFacts(
                trajectory_id=name,
                stage=self._born[name].stage,
                outcome=end.outcome if end else Outcome.CANCELLED,
                steps=end.steps if end else 0,
                tool_calls=end.tool_calls if end else 0,
                said=bool(end and (end.final_output.strip() or end.keep or end.submitted is not None)),
            )
