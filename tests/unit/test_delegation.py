"""Delegation, the headcount of a run, and the places in which agents work."""

from __future__ import annotations

import json
from collections.abc import Sequence

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.budgets.headcount import Headcount
from swarm.events import GroupStarted, StageStarted
from swarm.orchestrators.delegation import Delegation, Refused
from swarm.scheduling.controls import Controls
from swarm.scheduling.plan_graph import problems
from swarm.scheduling.scheduler import Scheduler
from swarm.scheduling.width import Loan, Width
from swarm.testing import RecordingSink
from swarm.types import AgentLimits, AgentResult, AgentSpec, Outcome, Plan, SubTask

pytestmark = pytest.mark.anyio
NONE: frozenset[str] = frozenset()


def created(name: str = "scout", prompt: str = "You look.") -> str:
    return json.dumps({"name": name, "system_prompt": prompt})


def assigned(prompt: str = "look", agent: str = "scout") -> str:
    return json.dumps({"agent": agent, "prompt": prompt})


@given(
    st.lists(
        st.one_of(
            st.builds(created, st.text(max_size=120), st.text(max_size=9)),
            st.builds(assigned, st.text(max_size=9), st.text(max_size=120)),
            st.sampled_from([created(), assigned(), "", "{", "[]", "null", '{"agent": 3}', '{"name": "x", "y": 1}']),
            st.text(max_size=20),
        ),
        max_size=40,
    ),
    st.integers(1, 4),
)
def test_whatever_a_model_writes_is_a_sub_task_or_an_answer(calls: list[str], most: int) -> None:
    headcount = Headcount(most)
    tellers = [Delegation(headcount), Delegation(headcount, "scout-1"), Delegation(headcount, "scout-1#2")]
    asked: list[SubTask] = []
    for at, arguments in enumerate(calls):
        for follow in (tellers[at % 3].create, lambda text, at=at: tellers[at % 3].assign(text, NONE)):
            try:
                made = follow(arguments)
            except Refused as refused:
                assert 0 < len(str(refused)) < 6_000
            else:
                asked += [made] if isinstance(made, SubTask) else []
    assert len(asked) <= most
    assert len({subtask.id for subtask in asked}) == len(asked)
    assert not any(problems(Plan(subtasks=(subtask,))) for subtask in asked)  # ids are allowed, and nobody else's


@pytest.mark.parametrize(
    "name", ["gate", "Aggregator", "orchestrator", "judge 1", "ahead", "", "…", "x" * 100, "a.b#2"]
)
def test_ids_are_nobodys_and_leave_room_for_descendants(name: str) -> None:
    delegation = Delegation(Headcount(100_000))
    if not name:
        with pytest.raises(Refused, match="empty"):
            delegation.create(created(name))
        return
    delegation.create(created(name))
    deepest = delegation.assign(assigned(agent=name), NONE)
    assert not problems(Plan(subtasks=(deepest,)))
    assert not deepest.id.startswith(("gate", "aggregator", "orchestrator", "judge", "ahead"))
    for _ in range(3):  # the deepest that a configuration allows, each a second attempt
        delegation = Delegation(Headcount(100_000), f"{deepest.id}#2")
        delegation.create(created())
        for _ in range(9):
            deepest = delegation.assign(assigned(), NONE)
    assert deepest.id.endswith("_.2.9")


def test_the_headcount_is_the_same_when_it_is_fed_again() -> None:
    tasks = [SubTask(id=name, title="t", instructions="t") for name in ("a-1", "a-2", "a-1.1")]
    headcount = Headcount(3)
    for event in (
        StageStarted(stage=1, plan=Plan(subtasks=tuple(tasks[:2]))),
        GroupStarted(trajectory_id="a-1", stage=1, group=1, subtasks=tasks[2:]),
        GroupStarted(trajectory_id="a-1", stage=1, group=1, subtasks=tasks[2:]),
    ):
        headcount.observe(event)
    assert (headcount.room, headcount.allows("a-1.1"), headcount.allows("a-3")) == (0, True, False)
    again = Delegation(headcount, "a-1")
    again.create(created())
    assert again.assign(assigned(), NONE).id == "a-1.1"  # asked for before the crash: it is no new one
    with pytest.raises(Refused, match="all 3 agents of the run were used"):
        again.assign(assigned(), NONE)


class Forest:
    """Agents that start groups of their own, as a tree of numbers says, in the places of one `Width`."""

    def __init__(self, width: Width, controls: Controls | None = None) -> None:
        self.width = width
        self.controls = controls or Controls()
        self.working: set[str] = set()
        self.most = 0
        self.ended: list[str] = []

    def expect(self, count: int, commit: str | None) -> None: ...

    async def run(self, spec: AgentSpec) -> AgentResult:
        await self._work(spec.trajectory_id)
        for _ in range(2):
            children = json.loads(spec.instructions)
            if children:
                self.working.discard(spec.trajectory_id)
                async with self.width.lent() as loan:
                    await self.grow(children, f"{spec.trajectory_id}.", loan)
                await self._work(spec.trajectory_id)
            spec = AgentSpec(**{name: getattr(spec, name) for name in AgentSpec.__slots__} | {"instructions": "[]"})
        self.working.discard(spec.trajectory_id)
        self.ended.append(spec.trajectory_id)
        return AgentResult(spec.subtask.id, spec.trajectory_id, Outcome.COMPLETED, "", "answered")

    async def _work(self, name: str) -> None:
        self.working.add(name)
        self.most = max(self.most, len(self.working))
        assert len(self.working) <= self.width.taken <= self.width.count
        for _ in range(3):
            await anyio.lowlevel.checkpoint()

    async def grow(self, tree: Sequence[object], prefix: str = "n", loan: Loan | None = None) -> None:
        tasks = [
            SubTask(id=f"{prefix}{at}", title="t", instructions=json.dumps(children))
            for at, children in enumerate(tree)
        ]
        scheduler = Scheduler(self, self._prepare, RecordingSink(), loan or self.width, None, self.controls)
        outcome = await scheduler.run(Plan(subtasks=tuple(tasks)), 1, anyio.Event())
        assert [result.outcome for result in outcome.results] == [Outcome.COMPLETED] * len(tasks)

    async def _prepare(self, subtask: SubTask, attempt: int, needed: Sequence[AgentResult]) -> AgentSpec:
        return AgentSpec(subtask.id, subtask, 1, attempt, 0, "", subtask.instructions, None, AgentLimits())


LEAF: st.SearchStrategy[list[object]] = st.just([])
TREES = st.recursive(LEAF, lambda inner: st.lists(inner, max_size=4), max_leaves=25)


@given(tree=TREES, count=st.integers(1, 3))
def test_a_forest_never_stands_still_and_never_has_more_at_work(tree: list[object], count: int) -> None:
    forest = Forest(Width(count))

    async def grow() -> None:
        with anyio.fail_after(300):
            await forest.grow(tree)

    anyio.run(grow)
    assert forest.most <= count
    assert forest.width.taken == 0
    assert repr(forest.width) == f"<Width 0 of {count} taken, 0 lent>"


async def test_children_go_before_their_leads_siblings_and_leads_before_both() -> None:
    forest = Forest(Width(1))
    await forest.grow([[[], []], []])
    assert forest.ended == ["n0.0", "n0.1", "n0", "n1"]


async def test_a_lead_that_is_cancelled_leaves_no_place_behind() -> None:
    width = Width(1)
    for wait_for in ("children", "place"):
        async with anyio.create_task_group() as group:
            inside, lent = anyio.Event(), anyio.Event()

            async def lead(inside: anyio.Event = inside, lent: anyio.Event = lent, why: str = wait_for) -> None:
                width.take()
                try:
                    async with width.lent():
                        if why == "place":
                            width.take()  # somebody else is quicker
                        lent.set()
                        if why == "children":
                            await inside.wait()
                finally:
                    width.give()

            group.start_soon(lead)
            await lent.wait()
            await anyio.wait_all_tasks_blocked()
            assert width.taken == (1 if wait_for == "place" else 0)
            group.cancel_scope.cancel()
        if wait_for == "place":
            width.give()
        assert (width.taken, width.free) == (0, True)


async def test_places_that_are_added_are_used_at_once_and_those_taken_away_later() -> None:
    width = Width(1)
    width.take()
    back = anyio.Event()

    async def lead() -> None:
        async with width.lent():
            width.take()
        back.set()

    async with anyio.create_task_group() as group:
        group.start_soon(lead)
        await anyio.wait_all_tasks_blocked()
        assert not back.is_set()
        width.count = 2
        await back.wait()
    width.count = 1
    assert (width.taken, width.free) == (2, False)
