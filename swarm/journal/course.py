"""How far a run has come, out of its journal: its stages, who began and who ended, and which of these ends stand.

What ended only because the run did is void when the run goes on. A `RunResumed` record says so, for all who read on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from swarm.events import (
    AgentEnded,
    AgentStarted,
    CallFinished,
    ControlUsed,
    Event,
    Finished,
    LimitReached,
    RunEnded,
    RunResumed,
    RunStarted,
    StageEnded,
    StageStarted,
    SubTaskSkipped,
)
from swarm.stages import spare
from swarm.steering import NO_TIME
from swarm.types import JsonObject, Outcome, Role, RunStatus

OUT_OF_TIME = "the time limit of the run"
"""What a run was ended by, as it is recorded, when its time was up."""

FATAL = "EndpointError"
"""The `stop` of a trajectory that met a fault of the endpoint which ends the run."""

_CUT_SHORT = (RunStatus.CANCELLED, RunStatus.ERRORED, RunStatus.BUDGET_EXHAUSTED)
_NOT_REACHED = (Outcome.CANCELLED, Outcome.BUDGET_EXHAUSTED, Outcome.TIMED_OUT, Outcome.ERRORED)


class Turn(NamedTuple):
    """An attempt began, or ended: the first, or `attempt`. `seconds` is how long it has been at work, `told` that it
    was asked to finish, `stopped` that someone ended it, `unheard` what its model was not told any more. Without a
    trajectory it was never begun, with an outcome and for a reason."""

    subtask_id: str
    trajectory_id: str
    ended: bool
    seconds: float = 0.0
    told: bool = False
    stopped: bool = False
    attempt: int = 1
    unheard: tuple[str, ...] = ()
    outcome: Outcome = Outcome.COMPLETED
    reason: str = ""


class Course:
    """Fed with all events of the journal, in order."""

    def __init__(self) -> None:
        self.started: RunStarted | None = None
        self.ended: RunEnded | None = None
        self.finished: Finished | None = None
        self.plans: dict[int, StageStarted] = {}
        self.starts: dict[str, AgentStarted] = {}
        self.ends: dict[str, AgentEnded] = {}
        """Those that stand."""
        self.given: JsonObject = {}
        """Keys of the configuration that were given when it was resumed."""
        self.concurrency: int | None = None
        """Where someone changed it while the run went on."""
        self.resumes = 0
        self._stage_ends: dict[int, int] = {}
        self._skips: dict[str, SubTaskSkipped] = {}
        self._stopped: set[str] = set()  # agents that someone ended
        self._late = False  # the time of the run was used up
        self._more_steps = 0  # that a sub-agent may make now, where limits of steps were raised
        self._met: dict[str, None] = {}  # limits of the run
        self._decided = -1  # when an orchestrator was answered last
        self._generation: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<Course: {len(self.plans)} stages, {len(self.ends)} of {len(self.starts)} trajectories ended>"

    def turns(self, stage: int) -> list[tuple[int, Turn]]:
        """The beginnings and ends of the attempts of a stage, with when they happened."""
        turns: list[tuple[int, Turn]] = []
        for trajectory_id, start in self.starts.items():
            if start.stage != stage or start.role != Role.SUBAGENT or start.subtask is None:
                continue
            turn = Turn(start.subtask.id, trajectory_id, ended=False)
            turn = turn._replace(stopped=trajectory_id in self._stopped, attempt=start.attempt)
            turns.append((start.seq, turn))
            if (end := self.ends.get(trajectory_id)) is not None:
                turns.append((end.seq, turn._replace(ended=True)))
        for name, skip in self._skips.items():
            if skip.stage == stage and skip.outcome in _NOT_REACHED:
                turns.append((skip.seq, Turn(name, "", True, outcome=skip.outcome, reason=skip.reason)))
        return sorted(turns)

    def name_for(self, name: str) -> str:
        """The name of a trajectory, or the next one where it stands for results that have changed since."""
        number = self._generation.get(name, 0)
        return f"{name}~{number + 1}" if number else name

    def widen(self, config: Mapping[str, Any]) -> None:
        """The run goes on with this configuration: what its steps have ended may do more where they are more now."""
        was = (self.started.config if self.started else {}) | self.given
        now, before = config.get("max_steps") or 0, was.get("max_steps") or 0
        critical = (config.get("max_critical_steps") or math.inf) > (was.get("max_critical_steps") or math.inf)
        self._more_steps = now if now > before or critical else 0

    @property
    def met(self) -> list[str]:
        """The limits that the run met since it went on last: tokens, dollars, steps, seconds."""
        return [*self._met, *(["seconds"] if self._late and "seconds" not in self._met else [])]

    # ── what is void ────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def over(self) -> bool:
        """Whether the run came to its end, and nothing of it ended for a reason that may have passed."""
        if self.ended is None:
            return False
        if self.ended.status in _CUT_SHORT and not self._made_do:
            return False
        void = (each for each in self._void() if not self._made_do or self.starts[each].role != Role.ORCHESTRATOR)
        return next(void, None) is None and not self._void_skips()

    @property
    def reopens_agents(self) -> bool:
        """Whether sub-agents whose end stands would work again, were the run gone on with as it was widened."""
        return any(self.starts[each].role == Role.SUBAGENT for each in self._void())

    @property
    def _made_do(self) -> bool:
        """Whether the machine failed all sub-tasks and nothing else, and the orchestrator was told of it and finished:
        gone on with, the run would come to the same."""
        if self.ended is None or self.ended.status is not RunStatus.ERRORED or self.finished is None:
            return False
        outcomes = set(self.ended.result.get("outcomes") or ())
        return not self.ended.fault and bool(outcomes) and outcomes <= {Outcome.ERRORED, Outcome.SKIPPED}

    def reopened(self, version: str) -> RunResumed:
        """The record with which the run goes on; observe it before anything else."""
        void = set(self._void())
        missed = {self.starts[each].stage for each in void if self.starts[each].role == Role.SUBAGENT}
        missed |= {skip.stage for skip in self._void_skips()}
        superseded = {
            each
            for each, start in self.starts.items()
            if missed and start.role == Role.AGGREGATOR and start.stage >= min(missed) and self._is_last(each)
        }
        again = [each for each in self.starts if each not in self.ends or each in void]
        stages = [stage for stage in (self._open_stage(), *missed) if stage]  # nothing may have been decided since
        return RunResumed(
            swarm_version=version,
            began_with=self.started.swarm_version if self.started else "",
            again=[each for each in again if each not in superseded],
            superseded=sorted(superseded),
            stage=min(stages) if stages and (missed or self.ended is not None) else 0,
        )

    def _open_stage(self) -> int:
        """The last stage, unless something was decided upon what came of it."""
        stage = max(self.plans, default=0)
        return stage if self._decided < self._stage_ends.get(stage, self._decided + 1) else 0

    def _void(self) -> list[str]:
        stage = self._open_stage()
        done = {name for each, end in self.ends.items() if end.outcome is Outcome.COMPLETED for name in self._of(each)}
        if stage:
            plan = self.plans[stage].plan
            needless = spare(plan, done & {subtask.id for subtask in plan.subtasks})
            done |= {subtask.id for subtask in plan.subtasks if subtask.id in needless and subtask.group in plan.need}
        return [each for each, end in self.ends.items() if self._is_void(each, end, stage, done)]

    def _is_void(self, trajectory_id: str, end: AgentEnded, stage: int, done: set[str]) -> bool:
        start, over = self.starts[trajectory_id], self.ended is not None
        if start.role == Role.ORCHESTRATOR:
            cut = self.ended is not None and self.ended.status in _CUT_SHORT
            return cut or self._was_limited or end.outcome in (Outcome.CANCELLED, Outcome.ERRORED)
        names = self._of(trajectory_id)
        unpaid = end.stop == "budget" or self._is_late(end) or self._has_more_steps(start, end)
        unpaid = unpaid and not done.intersection(names)
        broken = self._is_broken(start, end) and not done.intersection(names)
        if (unpaid or broken) and start.role == Role.SUBAGENT and self._was_given_up(start.stage, names):
            return True
        if start.stage != stage or stage == 0:
            return False
        if start.role == Role.AGGREGATOR:
            return end.outcome in (Outcome.CANCELLED, Outcome.ERRORED) and self._is_last(trajectory_id)
        if end.outcome is Outcome.CANCELLED:
            return trajectory_id not in self._stopped and not done.intersection(names)
        if unpaid:
            return over
        return end.outcome is Outcome.ERRORED and (end.stop == FATAL or (over and self._is_latest_attempt(start)))

    def _void_skips(self) -> list[SubTaskSkipped]:
        stage = self._open_stage() if self.ended is not None else 0
        return [
            skip
            for name, skip in self._skips.items()
            if skip.outcome in _NOT_REACHED
            and name not in self._stopped
            and (0 < skip.stage == stage or self._was_given_up(skip.stage, [name]))
        ]

    def _was_given_up(self, stage: int, names: Iterable[str]) -> bool:
        """Whether the run has ended at a limit or by the machine, and nobody has taken over these sub-tasks of a stage
        that was planned. An orchestrator that delegates by tools was told of it, and went on from there."""
        planned = self.started is not None and self.started.mode == "plan"
        broken = self.ended is not None and self.ended.status is RunStatus.ERRORED
        if not planned or not (self._was_limited or broken):
            return False
        later = [started.plan for number, started in self.plans.items() if number > stage]
        gone = {name for plan in later for name in plan.dropped}
        gone |= {name for plan in later for subtask in plan.subtasks for name in subtask.replaces}
        return not gone.intersection(names)

    @property
    def _was_limited(self) -> bool:
        """Whether the run has ended without all that was asked for, at a limit that may be another one now."""
        if self.ended is None:
            return False
        short = self.ended.status in (RunStatus.PARTIAL, RunStatus.FAILED) and (self._late or self._more_steps > 0)
        return short or self.ended.status is RunStatus.BUDGET_EXHAUSTED

    def _is_late(self, end: AgentEnded) -> bool:
        """Whether an attempt was ended by the time of the run. By its own it is over, as one that failed."""
        start = self.starts[end.trajectory_id]
        if end.outcome is not Outcome.TIMED_OUT:
            return False
        return start.timeout_s is None or end.final_output.startswith((NO_TIME, "the budget of the run "))

    def _has_more_steps(self, start: AgentStarted, end: AgentEnded) -> bool:
        """Whether an attempt that used up its steps may make more now."""
        cut = end.stop == "max_steps" and start.max_steps < self._more_steps
        return cut and self.ended is not None and self._is_latest_attempt(start)

    def _is_broken(self, start: AgentStarted, end: AgentEnded) -> bool:
        """Whether the machine failed the last attempt, and with it all of the run: it may be mended now."""
        run = self.ended is not None and self.ended.status is RunStatus.ERRORED
        return run and end.outcome is Outcome.ERRORED and self._is_latest_attempt(start)

    def _of(self, trajectory_id: str) -> tuple[str, ...]:
        """The sub-task of a trajectory, by its id."""
        subtask = self.starts[trajectory_id].subtask
        return (subtask.id,) if subtask is not None else ()

    def _is_latest_attempt(self, start: AgentStarted) -> bool:
        own = self._of(start.trajectory_id)
        return not any(self._of(name) == own and each.attempt > start.attempt for name, each in self.starts.items())

    def _is_last(self, trajectory_id: str) -> bool:
        """Whether nothing has taken the place of an aggregator's trajectory."""
        return self.name_for(trajectory_id.partition("~")[0]) == trajectory_id

    # ── the fold ────────────────────────────────────────────────────────────────────────────────────────────────────

    def observe(self, event: Event) -> None:
        """Take in the next event."""
        match event:
            case RunStarted():
                self.started = event
            case RunEnded():
                self.ended = event
                self._late = self._late or event.error == OUT_OF_TIME
            case LimitReached(scope="run") if event.level != "soft":
                self._met[event.what] = None
                self._late = self._late or (event.what == "seconds" and event.level != "over")
            case RunResumed():
                self._resume(event)
            case StageStarted():
                self.plans[event.stage] = event
            case StageEnded():
                self._stage_ends[event.stage] = event.seq
            case Finished():
                self.finished = event
            case AgentStarted():
                self.starts.setdefault(event.trajectory_id, event)
            case AgentEnded() if event.trajectory_id in self.starts:
                self.ends[event.trajectory_id] = event
                self._late = self._late or self._is_late(event)
            case SubTaskSkipped():
                self._skips[event.subtask_id] = event
                self._late = self._late or event.outcome is Outcome.TIMED_OUT
            case CallFinished(accepted=True):
                start = self.starts.get(event.trajectory_id)
                if start is not None and start.role == Role.ORCHESTRATOR:
                    self._decided = event.seq
            case ControlUsed(action="concurrency"):
                self.concurrency = event.concurrency
            case ControlUsed(action="stop_agent", soft=False):
                self._stopped.add(event.agent)
            case _:
                pass

    def stage_end(self, stage: int) -> int | None:
        """When a stage ended, if that stands."""
        return self._stage_ends.get(stage)

    def _resume(self, event: RunResumed) -> None:
        self.resumes += 1
        self._late, self._more_steps = False, 0
        self._met.clear()
        self.given |= event.config
        if "concurrency" in event.config:
            self.concurrency = None
        if self.ended is not None:
            self.ended = self.finished = None
        for trajectory_id in event.again:
            self.ends.pop(trajectory_id, None)
        for name in (each.partition("~")[0] for each in event.superseded):
            self._generation[name] = self._generation.get(name, 0) + 1
        if event.stage:
            self._stage_ends = {stage: seq for stage, seq in self._stage_ends.items() if stage < event.stage}
            stay = {name for name, skip in self._skips.items() if skip.stage < event.stage or name in self._stopped}
            self._skips = {name: skip for name, skip in self._skips.items() if name in stay}
