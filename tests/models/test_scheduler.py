"""The scheduler beside the stage on paper: attempts end in every way and order, agents are stopped, the run is paused,
made narrower, ended; and its process dies and another goes on from what was recorded."""

from __future__ import annotations

from collections import Counter

import anyio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from swarm.events import AgentEnded, ControlUsed, RunStarted, StageStarted, SubTaskSkipped
from swarm.journal.past import Past
from swarm.scheduling.controls import Controls
from swarm.scheduling.scheduler import SPARE, Scheduler, StageOutcome
from swarm.scheduling.stragglers import StragglerPolicy
from swarm.testing.simulated_loop import Simulation, by_bytes
from swarm.types import Outcome, Plan
from tests.effort import examples
from tests.models.drawn_plans import hows, plans, scripts
from tests.models.paper_late import LEAST_S, PaperLate
from tests.models.paper_stage import End, Paper, PaperStage
from tests.models.stage_world import Live, Record, Script, World


class Stages(RuleBasedStateMachine):
    @initialize(
        plan=plans(),
        order=st.binary(max_size=12),
        width=st.sampled_from([1, 2, 3, 3, 4]),
        hedge=st.sampled_from([True, True, False]),
        script=scripts,
        paused=st.sampled_from([False] * 7 + [True]),
        told=st.sampled_from([None, None, 2]),
    )
    def begin(
        self,
        plan: Plan,
        order: bytes,
        width: int,
        hedge: bool,
        script: Script,
        paused: bool = False,
        told: int | None = None,
    ) -> None:
        """`paused`, `told`: how the controls were used before."""
        self.plan, self.order, self.width, self.lives = plan, by_bytes(order), width, 1
        self.policy = StragglerPolicy(factor=1.0, quantile=0.5, enough=1, least_s=LEAST_S, hedge=hedge)
        self.sim = Simulation(self.order)
        self.world = World(self._paper(), self._late(), script, Record(self.sim.loop.time))
        config = {"max_steps": 9}
        self.world.emit(RunStarted(task="t", task_sha256="", mode="plan", swarm_version="1", config=config,
                                   config_sha256="", models={}, endpoints={}))  # fmt: skip
        self.world.emit(StageStarted(stage=1, plan=plan))
        self._start(Past(), paused=paused, told=told)

    def _paper(self) -> PaperStage:
        papers = {each.id: Paper(frozenset(each.depends_on), each.group) for each in self.plan.subtasks}
        return PaperStage(papers, self.plan.need)

    def _late(self) -> PaperLate:
        return PaperLate(self.policy.hedge, self.sim.now)

    def _start(self, past: Past, *, paused: bool = False, told: int | None = None) -> None:
        self.paper = self.world.paper
        self.turns = past.turns(1)
        stopped = {each.agent for each in self.world.events if isinstance(each, ControlUsed) and not each.soft}
        for turn in self.turns:
            if turn.trajectory_id in stopped:
                self.paper.subtasks[turn.subtask_id].stopped.add(int(turn.trajectory_id.partition("#")[2] or 1))
        self.allowed, self.running = max(self.width, len(self.turns)), 0  # those of before are gone through at once
        self.unprepared = 0
        self.outcome: StageOutcome | None = None
        self.stopped, self.paused, self.begins_at_once = False, paused, bool(self.turns)
        self.controls, self.stop = self.sim.do(Controls), self.sim.do(anyio.Event)
        if paused:
            self.sim.do(self.controls.pause)
        if told is not None:
            self.sim.do(lambda: self.controls.set_concurrency(told))
        self.scheduler = self.sim.do(
            lambda: Scheduler(self.world, self.world.prepare, self.world, self.width, self.policy, self.controls)
        )
        self.width = self.width if told is None else told
        self.allowed = max(self.width, len(self.turns))
        self.world.running = lambda: self.scheduler.statistics().running
        self.ready = self.paper.ready()
        self.sim.loop.watch = self._watch
        self.sim.start(self._run)

    async def _run(self) -> None:
        arrived = self.world.arrived
        self.outcome = await self.scheduler.run(
            self.plan, 1, self.stop, self.turns, lambda result: arrived.append(result.subtask_id)
        )

    def _watch(self) -> None:
        running = self.scheduler.statistics().running
        if running > self.running:
            assert running <= self.allowed, "more at once than there are places"
            assert not self.paused or self.begins_at_once, "it begins though it is paused"
            count, all_known = running - self.running, self.unprepared == 0 and not self.begins_at_once
            self.world.next = set(sorted(self.ready, key=self.paper.turn)[:count]) if all_known else None
        self.running, self.ready, self.unprepared = running, self.paper.ready(), running - self.paper.working

    @property
    def working(self) -> list[Live]:
        return list(self.world.live.values())

    @property
    def beside(self) -> list[Live]:
        """Attempts beside others."""
        return [live for live in self.working if len(self.paper.subtasks[live.spec.subtask.id].working) > 1]

    @precondition(lambda self: self.working)
    @rule(data=st.data(), how=hows)
    def end(self, data: st.DataObject, how: str) -> None:
        """An attempt comes to its end, or one that was cancelled has cleaned up."""
        live = data.draw(st.sampled_from([*self.beside, *self.working]))
        live.end = live.end or how
        self.sim.do(live.go.set)

    @precondition(lambda self: self.working)
    @rule(
        ends=st.lists(
            st.tuples(st.integers(0, 11), hows, st.sampled_from([0.0, 0.0, 0.0, 3.0])), min_size=1, max_size=5
        )
    )
    def work(self, ends: list[tuple[int, str, float]]) -> None:
        """One after the other comes to its end, time passes, and others begin."""
        for at, how, seconds in ends:
            for go in list(self.world.preparing.values()) if at % 2 else ():
                self.sim.do(go.set)
            choice = [*self.beside, *self.working]
            if choice:
                live = choice[at % len(choice)]
                live.end = live.end or how
                self.sim.do(live.go.set)
            self.settle(seconds)

    @precondition(lambda self: self.beside)
    @rule(at=st.integers(0, 5), how=hows, end=st.booleans())
    def one_of_two_ends(self, at: int, how: str, end: bool) -> None:
        """And perhaps the run does."""
        live = self.beside[at % len(self.beside)]
        live.end = live.end or how
        self.sim.do(live.go.set)
        self.settle(0.0)
        if end:
            self.end_the_run()

    @precondition(lambda self: self.world.preparing)
    @rule(data=st.data())
    def prepared(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.world.preparing)))
        self.sim.do(self.world.preparing[key].set)

    @precondition(lambda self: self.outcome is None and not self.stopped and not self.world.fatal)
    @rule(what=st.sampled_from(["", "die", "die", "wrong key", "end"]), at=st.integers(0, 5), narrow=st.booleans())
    def meet_trouble(self, what: str, at: int, narrow: bool) -> None:
        if what == "wrong key" and self.working and self.lives == 1:
            if narrow:
                self.concurrency(1)
            live = self.working[at % len(self.working)]
            live.end = live.end or "wrong key"
            self.sim.do(live.go.set)
        elif what == "die" and self.lives < 3:
            self.die_and_go_on()
        elif what == "end" and at < 2:
            self.end_the_run()

    @rule(count=st.integers(1, 6))
    def run_a_little(self, count: int) -> None:
        self.sim.steps(count)

    @rule(seconds=st.sampled_from([0.0, 0.0, 0.5, 3.0, 3.0]))
    def settle(self, seconds: float) -> None:
        self.sim.settle(seconds)
        self._is_as_on_paper()
        self._is_told()

    def _is_as_on_paper(self) -> None:
        assert not self.world.unwanted, "they are cancelled, and nobody wanted that"
        s = self.scheduler.statistics()
        self.allowed = max(self.width, s.running)
        if self.outcome is not None:
            assert self.paper.over or self.stopped or self.world.fatal
            return
        if self.world.fatal or self.stopped:
            assert self.working or self.world.preparing, "it is to end, and does not"
            assert all(live.leaving for live in self.working), "it is to end, and an attempt goes on"
            return
        assert not self.paper.over or self.working or self.world.preparing, "it is over, and does not end"
        assert s.done == sum(each.result is not None for each in self.paper.subtasks.values())
        assert s.running == len(self.working) + len(self.world.preparing) == self.paper.working
        if not self.paused and s.running < self.width:
            assert not self.paper.ready(), "a place is free, and what could use it waits"
            for name in self.world.late.wanted:
                each = self.paper.subtasks[name]
                assert each.result or len(each.working) != 1, "a place is free, and there is no second attempt"
        for live in self.working:
            if not live.leaving:
                assert live.spec.steering.held is self.paused
                assert self.paper.subtasks[live.spec.subtask.id].result is None, "it goes on though it is over"

    def _is_told(self) -> None:
        """Who is late knows it, and what was decided is recorded."""
        if self.outcome is not None or self.world.fatal or self.stopped:
            return
        recorded = self._recorded()
        for name, each in self.paper.subtasks.items():
            assert each.result is None or each.working or name in recorded, "nothing is recorded of it"
        for live in self.working:
            attempt, told = (live.spec.subtask.id, live.spec.attempt), bool(live.spec.steering._texts)
            assert told is (attempt in self.world.late.told), "what it is told, and was told, is another"
            if not self.paused and self.paper.subtasks[attempt[0]].result is None:
                assert not self.world.late.is_forgotten(attempt, self.sim.now), "it is late, and nobody tells it"

    def _recorded(self) -> set[str]:
        events = self.world.events
        ended = {event.trajectory_id.partition("#")[0] for event in events if isinstance(event, AgentEnded)}
        return ended | {event.subtask_id for event in events if isinstance(event, SubTaskSkipped)}

    @rule(action=st.sampled_from(["pause", "resume", "resume", "wider or narrower"]), count=st.integers(1, 4))
    def steer(self, action: str, count: int) -> None:
        if action == "pause":
            self.sim.do(self.controls.pause)
        elif action == "resume":
            self.sim.do(self.controls.resume)
        else:
            self.concurrency(count)
            return
        self.paused = action == "pause"
        self.world.late.since = self.sim.now

    def concurrency(self, count: int) -> None:
        self.width = count
        self.allowed = max(self.allowed, count)
        self.sim.do(lambda: self.controls.set_concurrency(count))
        self.allowed = max(count, self.running)

    @precondition(lambda self: self.outcome is None and not self.stopped)
    @rule(data=st.data(), soft=st.booleans(), by_task=st.booleans())
    def stop_agent(self, data: st.DataObject, soft: bool, by_task: bool) -> None:
        """An attempt by its name, or by that of the sub-task while it has none; or a sub-task that waits."""
        self.settle(0.0)
        waiting = [name for name, each in self.paper.subtasks.items() if each.result is None and not each.working]
        unnamed = [name for name, _ in sorted(self.world.preparing) if name not in self.world.live]
        names = [*waiting, *unnamed] if by_task else list(self.world.live)
        if self.outcome is None and names:
            self.stop_one(data.draw(st.sampled_from(names)), soft=soft)

    def stop_one(self, name: str, *, soft: bool) -> None:
        self.world.emit(ControlUsed(action="stop_agent", agent=name, soft=soft))
        live = self.world.live.get(name)
        each = self.paper.subtasks[live.spec.subtask.id if live else name]
        if live is None and not each.working:
            self.paper.decide(name, End("cancelled"))
        elif live is None:
            each.stopped.add(min(number for task, number in self.world.preparing if task == name))
        elif not soft:
            each.stopped.add(live.spec.attempt)
        self.sim.do(lambda: self.controls.stop_agent(name, soft=soft))
        if live is not None:
            self.sim.settle()
            told = (live.spec.subtask.id, live.spec.attempt) in self.world.late.told
            assert told if soft else name not in self.world.live or live.leaving

    def end_the_run(self) -> None:
        self.stopped = self.world.ending = True
        self.sim.do(self.stop.set)

    def die_and_go_on(self, *, paused: bool = False) -> None:
        """The process is gone between two callbacks; another reads what was recorded."""
        had = self.paper
        self.world.dead = True
        self.sim.abandon()
        self.lives += 1
        self.sim = Simulation(self.order)
        record = Record(self.sim.loop.time, self.world.events)
        self.world = World(self._paper(), self._late(), self.world.script, record)
        self._start(self.world.go_on(), paused=paused)
        self.sim.settle()
        for name, each in had.subtasks.items():
            if each.result is not None and each.result.outcome in ("completed", "failed"):
                assert self.paper.subtasks[name].result == each.result, "what was over is over"
        self._is_as_on_paper()

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        self.sim.do(self.controls.resume)
        self.paused, self.world.late.since = False, self.sim.now
        self.settle(0.0)
        for _ in range(60):
            self.sim.settle(2.0)
            if self.outcome is not None:
                break
            for go in list(self.world.preparing.values()):
                self.sim.do(go.set)
            for live in self.working:
                live.end = live.end or "completed"
                self.sim.do(live.go.set)
        assert self.outcome is not None, f"it does not end: {self.scheduler!r}"
        self._all_have_one_result(self.outcome)
        self.sim.close()

    def _all_have_one_result(self, outcome: StageOutcome) -> None:
        assert [result.subtask_id for result in outcome.results] == [each.id for each in self.plan.subtasks]
        assert not self.world.live
        assert self.scheduler.statistics() == (0, len(self.plan.subtasks), 0)
        assert (outcome.fault is not None) is self.world.fatal
        told = Counter(event.subtask_id for event in self.world.events if isinstance(event, SubTaskSkipped))
        if self.lives == 1:
            assert all(count == 1 for count in told.values())
        recorded = self._recorded()
        for result in outcome.results:
            paper = self.paper.subtasks[result.subtask_id]
            wanted = paper.result or End("cancelled")
            if (self.stopped or self.world.fatal) and wanted.outcome != "completed":
                ends = {"cancelled", "skipped", wanted.outcome, *(lost.outcome for lost in paper.lost)}
                assert result.outcome.value in ends
                kept = any(lost.keep for lost in paper.lost) and result.stop != SPARE
                assert result.keep or not kept, "work is lost that was worth keeping"
            else:
                assert (result.outcome, result.keep) == (Outcome(wanted.outcome), wanted.keep)
            assert result.subtask_id in recorded, "nothing is recorded of it"
            assert not result.trajectory_id or result.subtask_id not in told or self.lives > 1, "it is recorded twice"
            if result.subtask_id == self.world.wrong and paper.result is None:
                assert result.outcome is Outcome.ERRORED, "what ended all is not told"
        assert all(count == 1 for count in Counter(self.world.arrived).values())
        if not (self.stopped or self.world.fatal):
            assert set(self.world.arrived) == {name for name, each in self.paper.subtasks.items() if each.by_agent}


Stages.TestCase.settings = settings(max_examples=examples(80), stateful_step_count=25)
TestStages = Stages.TestCase
