"""One pass over the journal of a run: what the page says of it, but for the patch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from swarm.events import (
    AgentEnded,
    AgentStarted,
    ControlUsed,
    Event,
    Finished,
    Gap,
    GateFinished,
    GateStarted,
    GroupStarted,
    PatchMerged,
    RepairsStarted,
    RunEnded,
    RunResumed,
    RunStarted,
    StageEnded,
    StageStarted,
    SubTaskSkipped,
)
from swarm.events.base import EventBase
from swarm.journal.gate_words import words
from swarm.journal.totals import Totals
from swarm.report.blobs import Blobs
from swarm.report.entries import entry
from swarm.report.graph import Asked, draw
from swarm.report.model import GateRun, Mark, RunPage, Stage
from swarm.report.talk import Systems
from swarm.report.tracks import Clock, Tracks, ms
from swarm.stages import edges
from swarm.types import Plan, Role, SubTask


class Fold:
    """Tell it every event, in order; then take the page. Unknown or disordered events lose detail and never raise."""

    def __init__(self, blobs: Blobs, systems: Systems) -> None:
        self.totals = Totals()
        self.started: RunStarted | None = None
        self.ended: RunEnded | None = None
        self.commit = ""
        self.commits: dict[str, str] = {}
        """The commit of each sub-task's own change, as far as it has one."""
        self._blobs = blobs
        self._clock = Clock()
        self._tracks = Tracks(self._clock, systems)
        self._page = RunPage(id="")
        self._plans: dict[int, Plan] = {}
        self._own: dict[str, SubTask] = {}
        self._skipped: dict[str, str] = {}
        self._stages: dict[int, Stage] = {}
        self._gates: list[GateRun] = []
        self._open_gates: list[tuple[GateRun, Mark]] = []
        self._evicted: dict[str, PatchMerged] = {}
        self._origins: dict[str, str] = {}
        self._needs: dict[int, dict[str, Sequence[str]]] = {}
        self._paused: Mark | None = None
        self._next_seq = 0

    def __repr__(self) -> str:
        return f"<Fold of {self._page.id}: {self._tracks!r}>"

    def observe(self, event: Event) -> None:
        """Take in the next event."""
        self._clock.observe(event)
        self.totals.observe(event)
        self._tracks.observe(event)
        self._sequence(event)
        handler = _HANDLERS.get(type(event))
        if handler is not None:
            handler(self, event)
        if (said := entry(event, self._clock.now, self._tracks.number)) is not None:
            self._page.entries.append(said)

    def note(self, sentence: str) -> None:
        """Say what is not whole about the run."""
        self._page.state = f"{self._page.state} {sentence}".strip()

    def author(self, name: str) -> str:
        """The sub-task, or role, of whoever signed a commit: a trajectory by its id."""
        track = self._tracks.by_id.get(name)
        return track.agent.name if track else name

    def page(self, status: str, live: bool) -> RunPage:
        """All that was told. `status` is that of the run's folder; `live`: the run is at work in another process."""
        page, totals, clock = self._page, self.totals, self._clock
        self._tracks.close(live)
        for gate_run, mark in self._open_gates:
            gate_run.reason = "" if live else "the run's process ended before it did"
            mark.end = clock.now
        if self._paused is not None:
            self._paused.end = clock.now
        agents = [track.agent for track in self._tracks.all]
        for track in self._tracks.all:
            track.agent.messages = self._blobs.add(track.talk.items)
        page.status, page.agents, page.gates = status, agents, self._gates
        page.graph = draw(self._asked(), agents, totals, self._skipped, ended=not live)
        for node in page.graph.nodes:
            told = self._evicted.get(node.id)
            if told is not None and told.merged and told.repair:
                node.why = f"merged as {told.repair} repaired it"
        page.stages = [self._stage(stage) for stage in self._stages.values()]
        self._sum(page)
        return page

    def _sum(self, page: RunPage) -> None:
        totals, ended = self.totals, self.ended
        page.coverage, page.missing = totals.coverage, totals.missing
        page.outcomes, page.attempts = dict(totals.outcomes), dict(totals.attempts)
        page.prompt_tokens, page.completion_tokens = totals.prompt_tokens, totals.completion_tokens
        page.cached_tokens, page.reasoning_tokens = totals.cached_tokens, totals.reasoning_tokens
        page.calls, page.cost_usd, page.unpriced = totals.calls, totals.cost, sorted(totals.unpriced)
        page.critical_steps, page.total_steps = totals.critical_steps, totals.total_steps
        page.n_subagents, page.peak_concurrency = totals.n_subagents, totals.peak_concurrency
        page.wall_ms = self._clock.now
        if ended is not None:
            page.exit_code, page.error, page.status = ended.exit_code, ended.error, ended.status.value
            page.answer = str(ended.result.get("answer", ""))
            page.wall_ms = ms(ended.wall_s) or page.wall_ms

    def _asked(self) -> Asked:
        return Asked(self._plans, self._needs, self._own, self._origins)

    def eviction(self, subtask_id: str) -> PatchMerged | None:
        """The last word of the merge queue on a sub-task's patch."""
        return self._evicted.get(subtask_id)

    def _stage(self, stage: Stage) -> Stage:
        main, steps = self.totals.steps_of_stage(stage.number)
        stage.main_steps, stage.longest = main, max(steps.values(), default=0)
        return stage

    # ── the fold ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _sequence(self, event: Event) -> None:
        """A hole in the numbers proves a loss."""
        if event.seq >= 0:
            if event.seq > self._next_seq:
                self.note(f"Records {self._next_seq} to {event.seq - 1} are missing from its journal.")
            self._next_seq = event.seq + 1

    def _run_started(self, event: RunStarted) -> None:
        self.started = event
        page = self._page
        page.id, page.task, page.mode, page.version = event.run_id, event.task, event.mode, event.swarm_version
        page.started, page.seed, page.head, page.dry_run = event.t, event.seed, event.git_head, event.dry_run
        page.repo = event.repo.rstrip("/").rpartition("/")[2]
        page.models, page.endpoints, page.config = event.models, event.endpoints, event.config
        self.commit = event.base_commit

    def _resumed(self, event: RunResumed) -> None:
        self.ended = None
        page = self._page
        page.config = page.config | event.config
        now = self._clock.now
        page.marks.append(Mark(kind="resumed", start=now, end=now, text="goes on in a new process"))
        if event.stage:
            again = {task.id for number, plan in self._plans.items() if number >= event.stage for task in plan.subtasks}
            self._skipped = {name: why for name, why in self._skipped.items() if name not in again}

    def _stage_started(self, event: StageStarted) -> None:
        self._plans[event.stage] = event.plan
        self._needs[event.stage] = edges(event.plan)
        self._stages.setdefault(
            event.stage,
            Stage(
                number=event.stage,
                start=self._clock.now,
                rationale=event.plan.rationale,
                planner=self._tracks.number(event.trajectory_id),
                subtasks=len(event.plan.subtasks),
            ),
        )

    def _stage_ended(self, event: StageEnded) -> None:
        if event.stage in self._stages:
            self._stages[event.stage].end = self._clock.now
        self.commit = event.commit or self.commit

    def _finished(self, event: Finished) -> None:
        self.commit = event.commit or self.commit

    def _agent_started(self, event: AgentStarted) -> None:
        if event.role == Role.SUBAGENT and event.subtask is not None:
            self._own[event.subtask.id] = event.subtask

    def _group_started(self, event: GroupStarted) -> None:
        self._own |= {task.id: task for task in event.subtasks}

    def _agent_ended(self, event: AgentEnded) -> None:
        track = self._tracks.by_id.get(event.trajectory_id)
        if track is not None and event.commit:
            self.commits[track.agent.subtask or track.agent.name] = event.commit

    def _repairs_started(self, event: RepairsStarted) -> None:
        """Repairs begin when all of the stage so far has ended."""
        self._own |= {task.id: task for task in event.subtasks}
        self._origins |= event.repairs
        needs = self._needs.setdefault(event.stage, {})
        before = list(needs)
        needs |= {task.id: before for task in event.subtasks if task.id not in needs}

    def _skip(self, event: SubTaskSkipped) -> None:
        self._skipped[event.subtask_id] = event.reason

    def _merged(self, event: PatchMerged) -> None:
        now = self._clock.now
        files = f"{len(event.files)} file{'' if len(event.files) == 1 else 's'}"
        text = f"{event.subtask_id}: {files} merged" if event.merged else f"{event.subtask_id}: {event.reason}"
        kind = "merge" if event.merged else "evicted"
        self._page.marks.append(Mark(kind=kind, start=now, end=now, text=text, ok=event.merged))
        self._evicted[event.subtask_id] = event
        self.commit = event.commit or self.commit

    def _gate_started(self, event: GateStarted) -> None:
        now = self._clock.now
        run = GateRun(
            stage=event.stage,
            purpose=event.purpose,
            command=event.command,
            attempt=event.attempt,
            commit=event.commit,
        )
        mark = Mark(kind="gate", start=now, end=now, text=_gate_name(run), ok=True)
        self._gates.append(run)
        self._page.marks.append(mark)
        self._open_gates.append((run, mark))

    def _gate_finished(self, event: GateFinished) -> None:
        same = [
            each
            for each in self._open_gates
            if (each[0].purpose, each[0].attempt, each[0].commit) == (event.purpose, event.attempt, event.commit)
        ]
        if not self._open_gates:
            return
        run, mark = chosen = (same or self._open_gates)[0]
        self._open_gates.remove(chosen)
        for name in GateRun.model_fields.keys() & GateFinished.model_fields.keys():
            setattr(run, name, getattr(event, name))
        run.reason, run.output = words(event), self._blobs.add(event.output)
        mark.end, mark.ok = self._clock.now, event.passed
        mark.text = f"{_gate_name(run)}: {'passed' if event.passed else 'failed'}"

    def _control(self, event: ControlUsed) -> None:
        now = self._clock.now
        if event.action == "pause" and self._paused is None:
            self._paused = Mark(kind="paused", start=now, end=now, text="paused")
            self._page.marks.append(self._paused)
        elif event.action == "resume" and self._paused is not None:
            self._paused.end, self._paused = now, None

    def _gap(self, event: Gap) -> None:
        self.note(f"Evidence is missing: {event.reason}.")

    def _run_ended(self, event: RunEnded) -> None:
        self.ended = event


def _gate_name(run: GateRun) -> str:
    what = {"affected": "affected tests", "search": "search for a culprit"}.get(run.purpose, "gate")
    where = "on the base" if run.stage == 0 else f"after stage {run.stage}"
    return f"{what} {where}{f', run {run.attempt}' if run.attempt > 1 else ''}"


_HANDLERS: dict[type[EventBase], Callable[[Fold, Any], None]] = {
    RunStarted: Fold._run_started,
    RunResumed: Fold._resumed,
    StageStarted: Fold._stage_started,
    StageEnded: Fold._stage_ended,
    Finished: Fold._finished,
    AgentStarted: Fold._agent_started,
    AgentEnded: Fold._agent_ended,
    GroupStarted: Fold._group_started,
    RepairsStarted: Fold._repairs_started,
    SubTaskSkipped: Fold._skip,
    PatchMerged: Fold._merged,
    GateStarted: Fold._gate_started,
    GateFinished: Fold._gate_finished,
    ControlUsed: Fold._control,
    Gap: Fold._gap,
    RunEnded: Fold._run_ended,
}
