"""The scheduler beside the stage on paper: attempts end in every way and order, agents are stopped, the run is paused,
made narrower, ended; and its process dies and another goes on from what was recorded."""

from __future__ import annotations

from collections import Counter

import anyio
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from swarm.events import AgentEnded, ControlUsed, RunStarted, StageStarted, SubTaskSkipped
from swarm.journal.past import Past
from swarm.scheduling.controls import Controls
from swarm.scheduling.scheduler import SPARE, Scheduler, StageOutcome
from swarm.scheduling.stragglers import StragglerPolicy
from swarm.types import Outcome, Plan, SubTask
from tests.effort import examples
from tests.models.paper_stage import End, Paper, PaperStage
from tests.models.stage_world import ENDS, MANNERS, Live, Record, World
from tests.simulated_loop import Simulation, by_bytes


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    subtasks: list[SubTask] = []
    plain: list[str] = []  # of which members of groups may depend, so that there is no circle
    for n in range(draw(st.integers(1, 7))):
        group = draw(st.sampled_from(["", "", "g0", "g1"]))
        there = plain if group else [each.id for each in subtasks] + [each.group for each in subtasks if each.group]
        needs = draw(st.sets(st.sampled_from(there), max_size=3)) if there else set()
        subtasks.append(SubTask(id=f"t{n}", title="t", instructions="x", depends_on=tuple(sorted(needs)), group=group))
        plain += [f"t{n}"] if not group and needs <= set(plain) else []
    sizes = Counter(each.group for each in subtasks if each.group)
    need = {group: draw(st.integers(1, sizes[group])) for group in sorted(sizes) if draw(st.booleans())}
    return Plan(subtasks=tuple(subtasks), need=need)


class Stages(RuleBasedStateMachine):
    @initialize(
        plan=plans(),
        order=st.binary(max_size=12),
        width=st.integers(1, 4),
        hedge=st.booleans(),
        manners=st.lists(st.sampled_from(MANNERS), min_size=1, max_size=3),
        unprepared=st.dictionaries(
            st.tuples(st.sampled_from(["t0", "t1", "t3"]), st.integers(1, 2)),
            st.sampled_from(["unpaid", "sandbox", "disk"]),
            max_size=2,
        ),
    )
    def begin(
        self,
        plan: Plan,
        order: bytes,
        width: int,
        hedge: bool,
        manners: list[str],
        unprepared: dict[tuple[str, int], str],
    ) -> None:
        self.plan, self.order, self.width, self.lives = plan, by_bytes(order), width, 1
        self.policy = StragglerPolicy(factor=1.0, quantile=0.5, enough=1, least_s=1.0, hedge=hedge)
        self.sim = Simulation(self.order)
        self.world = World(self._paper(), manners, unprepared, Record(self.sim.loop.time))
        config = {"max_steps": 9}
        self.world.emit(RunStarted(task="t", task_sha256="", mode="plan", swarm_version="1", config=config,
                                   config_sha256="", models={}, endpoints={}))  # fmt: skip
        self.world.emit(StageStarted(stage=1, plan=plan))
        self._start(Past())

    def _paper(self) -> PaperStage:
        papers = {each.id: Paper(frozenset(each.depends_on), each.group) for each in self.plan.subtasks}
        return PaperStage(papers, self.plan.need)

    def _start(self, past: Past) -> None:
        self.paper = self.world.paper
        self.before = len(self.world.events)
        self.turns = past.turns(1)
        stopped = {each.agent for each in self.world.events if isinstance(each, ControlUsed) and not each.soft}
        for turn in self.turns:
            if turn.trajectory_id in stopped:
                self.paper.subtasks[turn.subtask_id].stopped.add(int(turn.trajectory_id.partition("#")[2] or 1))
        self.allowed, self.running = max(self.width, len(self.turns)), 0  # those of before are gone through at once
        self.outcome: StageOutcome | None = None
        self.stopped = self.paused = False
        self.controls, self.stop = self.sim.do(Controls), self.sim.do(anyio.Event)
        self.scheduler = self.sim.do(
            lambda: Scheduler(self.world, self.world.prepare, self.world, self.width, self.policy, self.controls)
        )
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
            assert not self.paused or self.before > 2, "it begins though it is paused"
        self.running = running

    @property
    def working(self) -> list[Live]:
        return list(self.world.live.values())

    @precondition(lambda self: self.working)
    @rule(data=st.data(), how=st.sampled_from([*[end for end in ENDS if end != "wrong key"], "completed", "completed"]))
    def end(self, data: st.DataObject, how: str) -> None:
        """An attempt comes to its end, or one that was cancelled has cleaned up."""
        live = data.draw(st.sampled_from(self.working))
        live.end = live.end or how
        self.sim.do(live.go.set)

    @precondition(lambda self: self.working and self.lives == 1)
    @rule(data=st.data(), sure=st.integers(0, 3))
    def wrong_key(self, data: st.DataObject, sure: int) -> None:
        if not sure:
            live = data.draw(st.sampled_from(self.working))
            live.end = live.end or "wrong key"
            self.sim.do(live.go.set)

    @rule(count=st.integers(1, 6))
    def run_a_little(self, count: int) -> None:
        self.sim.steps(count)

    @rule(seconds=st.sampled_from([0.0, 0.0, 0.5, 3.0]))
    def settle(self, seconds: float) -> None:
        self.sim.settle(seconds)
        self._is_as_on_paper()

    def _is_as_on_paper(self) -> None:
        s = self.scheduler.statistics()
        self.allowed = max(self.width, s.running)
        if self.outcome is not None:
            assert self.paper.over or self.stopped or self.world.fatal
            return
        if self.world.fatal or self.stopped:
            assert self.working, "it is to end, and does not"
            return
        assert not self.paper.over or self.working, "it is over, and does not end"
        assert s.done == sum(each.result is not None for each in self.paper.subtasks.values())
        assert s.running == len(self.working) == sum(len(each.working) for each in self.paper.subtasks.values())
        if not self.paused and s.running < self.width:
            assert not self.paper.ready(), "a place is free, and what could use it waits"
        for live in self.working:
            if not live.leaving:
                assert live.spec.steering.held is self.paused

    @rule()
    def pause(self) -> None:
        self.sim.do(self.controls.pause)
        self.paused = True

    @rule()
    def resume(self) -> None:
        self.sim.do(self.controls.resume)
        self.paused = False

    @rule(count=st.integers(1, 4))
    def concurrency(self, count: int) -> None:
        self.width = count
        self.allowed = max(self.allowed, count)
        self.sim.do(lambda: self.controls.set_concurrency(count))
        self.allowed = max(count, self.running)

    @precondition(lambda self: self.outcome is None and not self.stopped)
    @rule(data=st.data(), soft=st.booleans(), by_task=st.booleans())
    def stop_agent(self, data: st.DataObject, soft: bool, by_task: bool) -> None:
        """An attempt, or a sub-task that waits; all that was begun has a name by then."""
        self.settle(0.0)
        waiting = [name for name, each in self.paper.subtasks.items() if each.result is None and not each.working]
        names = waiting if by_task else list(self.world.live)
        if self.outcome is not None or not names:
            return
        name = data.draw(st.sampled_from(names))
        self.world.emit(ControlUsed(action="stop_agent", agent=name, soft=soft))
        if by_task:
            self.paper.decide(name, End("cancelled"))
        elif not soft:
            spec = self.world.live[name].spec
            self.paper.subtasks[spec.subtask.id].stopped.add(spec.attempt)
        self.sim.do(lambda: self.controls.stop_agent(name, soft=soft))

    @precondition(lambda self: self.outcome is None)
    @rule(sure=st.integers(0, 4))
    def end_the_run(self, sure: int) -> None:
        if not sure:
            self.stopped = True
            self.sim.do(self.stop.set)

    @precondition(lambda self: self.lives < 3 and not self.stopped and not self.world.fatal and self.outcome is None)
    @rule()
    def die_and_go_on(self) -> None:
        """The process is gone between two callbacks; another reads what was recorded."""
        had = self.paper
        self.world.dead = True
        self.sim.abandon()
        self.lives += 1
        self.sim = Simulation(self.order)
        world, record = self.world, Record(self.sim.loop.time, self.world.events)
        self.world = World(self._paper(), world.manners, world.unprepared, record)
        self._start(self.world.go_on())
        self.sim.settle()
        for name, each in had.subtasks.items():
            if each.result is not None and each.result.outcome in ("completed", "failed"):
                assert self.paper.subtasks[name].result == each.result, "what was over is over"
        self._is_as_on_paper()

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        self.sim.do(self.controls.resume)
        self.paused = False
        for _ in range(60):
            self.sim.settle(2.0)
            if self.outcome is not None:
                break
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
        ended = {event.trajectory_id.partition("#")[0] for event in self.world.events if isinstance(event, AgentEnded)}
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
            assert result.subtask_id in told or result.subtask_id in ended, "nothing is recorded of it"
        assert all(count == 1 for count in Counter(self.world.arrived).values())


Stages.TestCase.settings = settings(max_examples=examples(60), stateful_step_count=25)
TestStages = Stages.TestCase


@pytest.mark.parametrize("how", ["overloaded", "sandbox"])
@pytest.mark.parametrize("lives", [2, 3])
def test_a_subtask_that_could_not_be_paid_again_stays_so(how: str, lives: int) -> None:
    stages = Stages()
    plan = Plan(subtasks=tuple(SubTask(id=name, title="t", instructions="x") for name in ("t0", "t1")))
    stages.begin(plan=plan, order=b"", width=2, hedge=False, manners=["at once"], unprepared={("t0", 2): "unpaid"})
    stages.settle(0.0)
    live = stages.world.live["t0"]
    live.end = how
    stages.sim.do(live.go.set)
    stages.settle(0.0)
    for _ in range(1, lives):
        stages.die_and_go_on()
    stages.teardown()
    assert stages.outcome is not None
    assert stages.outcome.results[0].outcome is Outcome.BUDGET_EXHAUSTED
    assert sum(isinstance(event, SubTaskSkipped) for event in stages.world.events) == 1
