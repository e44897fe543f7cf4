"""What a run may use, and who of it may use how much: the budget tree from the run to the attempt at a sub-task.

    run ─┬─ orchestrator                       its calls are steps of the critical path
         ├─ aggregator                         its calls are not
         └─ work ── stage ── sub-task ── attempt ── group of its own ── sub-task ── ...

`work` leaves a part of every limit for what comes after it: merging, the gate, the orchestrator's last word. Of the
steps of a stage those of the longest way through its sub-tasks count, so that the steps of the run are its critical
steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import anyio

from swarm.budgets.budget import PLAIN, Budget, Terms
from swarm.budgets.levels import Amount, Gauge, Limits, figure
from swarm.budgets.shares import Shares, stage_budget, steps_before, subtask_budget
from swarm.errors import EVALUATION, BudgetExhausted
from swarm.events import (
    AgentEnded,
    AgentStarted,
    CallFinished,
    CallSent,
    ControlUsed,
    Event,
    GroupStarted,
    LimitReached,
    RepairsStarted,
    StageStarted,
    SubTaskSkipped,
)
from swarm.protocols import EventSink
from swarm.scheduling.ordering import ENOUGH, quantile
from swarm.types import AgentSpec, Outcome, Plan, Role

SHORT = 256
"""Tokens of an answer that is kept for the end."""

_CHARACTERS = 3
"""Of a result for a token of the prompt that it will be in: fewer than there usually are."""


class _Agent(NamedTuple):
    """What is kept of a trajectory."""

    role: Role
    stage: int
    subtask_id: str | None


class Funds:
    """The funds of one run. `kept` is what sub-agents leave for the end, `soft` the part of what may be used after
    which everybody is asked to come to an end, `purse` what pays this run together with others. Feed `observe` the
    events of the run."""

    def __init__(
        self, limits: Limits, sink: EventSink, kept: Terms = PLAIN, soft: float = 1.0, purse: Budget | None = None
    ) -> None:
        began = anyio.current_time()
        self._sink = sink
        self.run = Budget(limits, clock=lambda: anyio.current_time() - began, soft=soft)
        self.run.listener = self._look
        self.run.purse = purse
        self.orchestrator = self.run.part("orchestrator")
        self.aggregator = self.run.part("aggregator", terms=Terms(counted=False))
        self.work = self.run.part("work", terms=kept)
        self._said: set[tuple[str, str, int]] = set()
        self._agents: dict[str, _Agent] = {}
        self._shares: dict[int, Shares] = {}
        self._leads: dict[str, tuple[str, int]] = {}  # who leads a sub-task's group, and which of its groups it is
        self._took: list[Amount] = []  # by sub-tasks that were completed
        self._at_work: dict[str, Budget] = {}
        self._room: dict[int, float] = {}  # critical steps at the beginning of each stage
        self._past: set[str | int] = set()  # sub-tasks and stages that had begun before this process
        self._closed: dict[int, Gauge] = {}
        self._foreseen, self._rate = 0, 0.0  # tokens of the call after the sub-agents, and dollars for each

    def __repr__(self) -> str:
        return f"<Funds {', '.join(map(str, self.run.gauges())) or 'without limit'}>"

    def of(self, role: Role) -> Budget:
        """The budget that a role's calls are paid from; of sub-agents the one that theirs are below."""
        return {Role.ORCHESTRATOR: self.orchestrator, Role.AGGREGATOR: self.aggregator, Role.SUBAGENT: self.work}[role]

    # ── what there is room for ──────────────────────────────────────────────────────────────────────────────────────

    def begin_stage(self, stage: int, plan: Plan) -> float:
        """Give the sub-tasks of a stage their shares; the critical steps that may be taken one after the other, by
        those that wait for each other together (infinite: any number).

        Raises:
            BudgetExhausted: there is none left.
        """
        if stage not in self._past:
            self._share_out(stage, plan)
        steps = next((gauge.left for gauge in self.work.gauges() if gauge.what == "steps"), math.inf)
        steps += stage_budget(self.work, stage).used.steps  # of a stage that is gone through again
        if steps < 1 and stage not in self._past:
            raise BudgetExhausted(f"all {self.run.limits.steps} critical steps are used", what="steps")
        self._room[stage] = max(1.0, steps)
        return self._room[stage]

    def afford(self, stage: int, subtask_id: str) -> float:
        """Whether an attempt at a sub-task may start, and the critical steps that it may take: those that the stage had
        at its beginning without what came before it. As long as nobody knows what one takes it may until a call was
        refused; then, where what is left pays it beside those at work.

        Raises:
            BudgetExhausted: it may not.
        """
        before, end = steps_before(stage_budget(self.work, stage), subtask_id)
        room = self._room.get(stage, math.inf)
        if subtask_id not in self._past:
            self._pays(stage, subtask_id)
            if room - end < 1:
                whole = f"all {self.run.limits.steps} critical steps are used on the way to it"
                raise BudgetExhausted(f"{whole}: it is not started", what="steps")
        return max(1.0, room - before)

    def _pays(self, stage: int, subtask_id: str) -> None:
        """Raise where what is left of tokens, dollars and time does not pay a sub-task."""
        if not self.run.limits.any:
            return
        node, known = subtask_budget(stage_budget(self.work, stage), subtask_id), len(self._took) >= ENOUGH
        for gauge in node.gauges():
            refused = not known and gauge.scope == "run" and ("hard", gauge.what, 0) in self._said
            if refused or gauge.left <= 0 or (gauge.what == "seconds" and gauge.past(node.soft)):
                raise BudgetExhausted(f"{_use(gauge)}: nothing new is started", what=gauge.what)
        if not known:
            return
        usual = Amount(int(_median([each.tokens for each in self._took])), _median([each.usd for each in self._took]))
        wanted = Amount(usual.tokens, usual.usd)
        for other in self._at_work.values():
            wanted.add(max(0, usual.tokens - other.used.tokens), max(0.0, usual.usd - other.used.usd))
        room = node.room(own=True)
        for what, needed, left in (("tokens", wanted.tokens, room.tokens), ("dollars", wanted.usd, room.usd)):
            if needed > left:
                text = f"it and those at work may need {figure(needed)} {what}, and {figure(left)} are left"
                raise BudgetExhausted(f"{text}: nothing new is started", what=what)

    def closing(self, stage: int) -> str:
        """Why nothing further can be started after a stage; empty while it can."""
        if stage + 1 in self._past:
            return ""
        gauge = self._closed.get(stage) or next((g for g in self.work.gauges() if _closes(g, self.run.soft)), None)
        if gauge is None:
            return ""
        self._say("closed", gauge, stage)
        return f"{_use(gauge)}: no further ones can be started"

    def allow(self, tokens: int | None, usd: float | None, steps: int | None = None) -> None:
        """From now on the run may use so much altogether; None: as it was."""
        was = self.run.limits
        tokens, usd = was.tokens if tokens is None else tokens, was.usd if usd is None else usd
        steps = was.steps if steps is None else steps
        self._said.clear()
        self._closed.clear()
        for shares in self._shares.values():
            shares.lift()
        self.run.allow(Limits(tokens, usd, steps, was.seconds))

    # ── what happens ────────────────────────────────────────────────────────────────────────────────────────────────

    def observe(self, event: Event) -> None:
        """Learn what sub-tasks take, and hand on what is left of the share of one that has ended."""
        match event:
            case AgentStarted():
                subtask_id = event.subtask.id if event.subtask is not None else None
                self._agents[event.trajectory_id] = _Agent(Role(event.role), event.stage, subtask_id)
                if event.subtask is not None:
                    self._at_work[event.trajectory_id] = self._node_of(event.trajectory_id)
                    self.work.users = max(1, len(self._at_work))
            case AgentEnded():
                node, started = self._at_work.pop(event.trajectory_id, None), self._agents.get(event.trajectory_id)
                self.work.users = max(1, len(self._at_work))
                self._keep(math.ceil(len(event.final_output) / _CHARACTERS))
                if node is None or started is None or started.subtask_id is None:
                    return
                if event.outcome is Outcome.COMPLETED:
                    self._took.append(Amount(node.used.tokens, node.used.usd))
                if event.outcome is not Outcome.ERRORED and started.stage in self._shares:
                    self._shares[started.stage].end(started.subtask_id)
            case CallFinished(accepted=True) if self._is_of_orchestrator(event.trajectory_id):
                self._foresee(event)
            case GroupStarted():
                self._leads |= {subtask.id: (event.trajectory_id, event.group) for subtask in event.subtasks}
            case SubTaskSkipped():
                if event.stage in self._shares:
                    self._shares[event.stage].end(event.subtask_id)
            case RepairsStarted():
                if event.stage in self._shares:
                    self._shares[event.stage].then([subtask.id for subtask in event.subtasks])
            case _:
                pass

    def restore(self, events: Iterable[Event]) -> None:
        """Book what a run has used that this process goes on with: its records, all and in order. A call in flight when
        it died counts with what was set aside for it. The time limit begins anew."""
        sent: dict[tuple[str, int], CallSent] = {}
        for event in events:
            self.observe(event)
            match event:
                case StageStarted():
                    self._past.add(event.stage)
                    self._share_out(event.stage, event.plan)
                case AgentStarted() if event.subtask is not None:
                    self._past.add(event.subtask.id)
                case LimitReached(level="closed") if event.what != "seconds":
                    self._closed[event.stage] = Gauge("run", event.what, event.used, event.limit)
                    self._said.add(("closed", event.what, event.stage))
                case ControlUsed(action="budget"):
                    self.allow(event.tokens, event.usd)
                case CallSent():
                    sent[event.call_id, event.attempt] = event
                case CallFinished():
                    aside = sent.pop((event.call_id, event.attempt), None)
                    tokens, usd = event.usage.total_tokens, event.cost_usd or 0.0
                    if event.estimated and aside is not None:
                        tokens, usd = max(tokens, aside.tokens), max(usd, aside.usd)
                    self._node_of(event.trajectory_id).book(tokens, usd, int(event.accepted))
                case _:
                    pass
        for lost in sent.values():
            self._node_of(lost.trajectory_id).book(lost.tokens, lost.usd, 0)
        self._at_work.clear()

    def _look(self, refused: Gauge | None) -> None:
        """Something was settled, or refused: say what there is to be said of the run's limits."""
        if refused is not None:
            if refused.scope in (self.run.name, EVALUATION):
                self._say("hard", refused)
            return
        if not self.run.limits.any:
            return
        for gauge in self.work.gauges():
            if gauge.what != "steps" and gauge.past(self.run.soft):
                self._say("soft", gauge)
        for gauge in self.run.gauges():
            if gauge.used > gauge.limit and gauge.what != "seconds":
                self._say("over", gauge)

    def _say(self, level: Literal["soft", "hard", "over", "closed"], gauge: Gauge, stage: int = 0) -> None:
        scope: Literal["run", "evaluation"] = EVALUATION if gauge.scope == EVALUATION else "run"
        key = (level if scope == "run" else scope, gauge.what, stage)
        if key not in self._said:
            self._said.add(key)
            used, limit = gauge.used, gauge.limit
            self._sink.emit(
                LimitReached(level=level, what=gauge.what, used=used, limit=limit, stage=stage, scope=scope)
            )

    def _is_of_orchestrator(self, trajectory_id: str) -> bool:
        started = self._agents.get(trajectory_id)
        return started is not None and started.role is Role.ORCHESTRATOR

    def _foresee(self, last: CallFinished) -> None:
        """What comes after the sub-agents takes as a prompt what the orchestrator's last call was, and what has come
        of them since."""
        if (whole := last.usage.total_tokens) and self.work.terms.part:
            self._rate, self._foreseen = (last.cost_usd or 0.0) / whole, whole + SHORT
            self._keep(0)

    def _keep(self, more: int) -> None:
        if self._foreseen:
            self._foreseen += more
            self.work.agree(replace(self.work.terms, tokens=self._foreseen, usd=self._foreseen * self._rate))

    # ── the tree ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _share_out(self, stage: int, plan: Plan) -> None:
        self._shares[stage] = Shares(stage_budget(self.work, stage), plan, self.work.room(own=True))

    def _node_of(self, trajectory_id: str) -> Budget:
        started = self._agents.get(trajectory_id)
        if started is None:
            return self.run
        if started.subtask_id is None:
            return self.of(started.role)
        work, lead = self.work, self._leads.get(started.subtask_id)
        if lead is not None:
            work = group_budget(self._node_of(lead[0]), lead[1])
        return subtask_budget(stage_budget(work, started.stage), started.subtask_id)


def group_budget(lead: Budget, number: int) -> Budget:
    """The budget that the sub-agents of a sub-agent's n-th group are paid from: below that of whoever leads them."""
    return lead.part(f"group {number}")


def attempt_budget(work: Budget, spec: AgentSpec, used: int = 0) -> Budget:
    """The budget of one attempt at a sub-task, below that which sub-agents are paid from. `used`: tokens that it used
    before, which are booked above already. It ends when the run's time for sub-agents does."""
    left = [gauge.limit - gauge.used for gauge in work.gauges() if gauge.what == "seconds"]
    clock = spec.steering.clock
    clock.end_at(anyio.current_time() + min(left, default=math.inf))
    subtask = subtask_budget(stage_budget(work, spec.stage), spec.subtask.id)
    limits = Limits(tokens=spec.limits.max_tokens, seconds=spec.limits.timeout)
    budget = subtask.child(limits, spec.trajectory_id, clock=clock.read)
    budget.used.tokens = used
    return budget


def _use(gauge: Gauge) -> str:
    """What sub-agents may use, and that it is used: a budget that was made smaller may be less than what was."""
    used, limit = figure(gauge.used), figure(gauge.limit)
    if gauge.used > gauge.limit and gauge.what != "seconds":
        return f"{used} {gauge.what} are used, more than the {limit} that sub-agents may use"
    return f"{gauge} that sub-agents may use are used"


def _closes(gauge: Gauge, soft: float) -> bool:
    return gauge.left < 1 if gauge.what == "steps" else gauge.past(soft)


def _median(values: Sequence[float]) -> float:
    return quantile(sorted(values), 0.5)
