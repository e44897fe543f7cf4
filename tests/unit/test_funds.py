"""Who of a run may use how much: shares, what is kept back, what can be paid, and what is said of it."""

from __future__ import annotations

import math

import pytest

from swarm.agents.conversation import Conversation
from swarm.agents.landing import Landing
from swarm.agents.line import Line
from swarm.budgets.budget import Terms
from swarm.budgets.funds import SHORT, Funds, attempt_budget
from swarm.budgets.levels import Limits, Room
from swarm.budgets.shares import stage_budget, subtask_budget
from swarm.budgets.sizes import ASSUMED, LEAST, Sizes
from swarm.config import Price
from swarm.errors import BudgetExhausted
from swarm.events import (
    AgentEnded,
    AgentStarted,
    AgentTold,
    CallFinished,
    CallSent,
    ControlUsed,
    Event,
    LimitReached,
    StageStarted,
)
from swarm.models.pricing import cost
from swarm.scheduling.stragglers import FINISH, FINISH_WORK
from swarm.steering import Steering
from swarm.testing import RecordingSink, ScriptedModel, tool_call
from swarm.types import AgentLimits, AgentSpec, Outcome, Plan, Role, SubTask, Usage

pytestmark = pytest.mark.anyio

KEPT = Terms(part=0.1, steps=1, time=0.1)


def plan(*ids: str, **shares: float) -> Plan:
    return Plan(subtasks=tuple(SubTask(id=i, title=i, instructions=i, budget_share=shares.get(i, 0.0)) for i in ids))


def spec(name: str, stage: int = 1, limits: AgentLimits | None = None) -> AgentSpec:
    task = SubTask(id=name, title=name, instructions=name)
    return AgentSpec(name, task, stage, 1, 1, "", "", None, limits or AgentLimits())


def started(name: str, role: Role = Role.SUBAGENT, stage: int = 1) -> AgentStarted:
    task = SubTask(id=name, title=name, instructions=name) if role is Role.SUBAGENT else None
    return AgentStarted(trajectory_id=name, role=role, name=name, trainable=False, stage=stage, subtask=task)


def ended(name: str, outcome: Outcome = Outcome.COMPLETED) -> AgentEnded:
    return AgentEnded(trajectory_id=name, outcome=outcome, stop="", terminated=True, truncated=False)


def rooms(funds: Funds, *names: str) -> list[float]:
    top = stage_budget(funds.work, 1)
    return [subtask_budget(top, name).room().tokens for name in names]


# ── sizes ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_bound_is_generous_where_there_is_plenty_and_learnt_where_there_is_little() -> None:
    sizes = Sizes()
    assert sizes.needs(100, Room(), None).max_tokens is None
    assert sizes.needs(100, Room(10**6, math.inf, 10**6), None).max_tokens == ASSUMED
    for _ in range(20):
        sizes.observe(200)
    assert sizes.needs(100, Room(10**6, math.inf, 10**6), None).max_tokens == ASSUMED
    assert sizes.needs(100, Room(20_000, math.inf, 20_000), None).max_tokens == 300
    assert sizes.needs(100, Room(250, math.inf, 250), None).max_tokens == 150
    assert sizes.needs(100, Room(120, math.inf, 120), None).tokens == 100 + LEAST  # which will be refused


def test_answers_that_are_cut_off_make_the_bound_grow() -> None:
    sizes = Sizes()
    sizes.observe(ASSUMED, cut=True)
    assert sizes.needs(100, Room(10**7, math.inf, 10**7), None).max_tokens == 2 * ASSUMED


@pytest.mark.parametrize("reasoning", [None, 9.0])
def test_dollars_bound_an_answer_as_well(reasoning: float | None) -> None:
    price = Price(prompt=1, completion=4, reasoning=reasoning, above={1000: Price(prompt=2, completion=8)})
    for prompt in (100, 900, 5000):
        needs = Sizes().needs(prompt, Room(usd=0.02, free_usd=0.02), price)
        assert needs.max_tokens is not None
        used = Usage(prompt_tokens=prompt, completion_tokens=needs.max_tokens, reasoning_tokens=needs.max_tokens)
        dearest = cost(price, used)
        assert dearest is not None
        assert dearest <= needs.usd <= 0.02


# ── shares ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_shares_are_of_what_is_left_for_the_stage_and_what_is_left_of_them_is_handed_on() -> None:
    funds = Funds(Limits(tokens=1000), RecordingSink(), KEPT)
    funds.orchestrator.book(100, 0, 1)
    funds.begin_stage(1, plan("a", "b", "c", a=0.5, b=0.25))
    assert rooms(funds, "a", "b", "c") == [400, 200, 200]
    a = subtask_budget(stage_budget(funds.work, 1), "a")
    funds.observe(started("a"))
    a.book(300, 0, 1)
    with pytest.raises(BudgetExhausted, match="sub-task a is used up: 300 of 400") as refused:
        await a.reserve(101, 0)
    assert refused.value.stop == "max_tokens"
    funds.observe(ended("a"))
    assert rooms(funds, "a", "b", "c") == [0, 250, 250]
    funds.allow(2000, None)
    assert rooms(funds, "b", "c") == [1400, 1400]


@pytest.mark.parametrize(
    ("shares", "tokens"),
    [({"a": 0.9, "b": 0.9}, [500, 500, 0]), ({"a": 0.1, "b": 0.1, "c": 0.2}, [250, 250, 500])],
)
async def test_shares_that_do_not_add_up_are_taken_in_proportion(shares: dict[str, float], tokens: list[int]) -> None:
    funds = Funds(Limits(tokens=1000), RecordingSink())
    funds.begin_stage(1, plan("a", "b", "c", **shares))
    assert rooms(funds, "a", "b", "c") == tokens


async def test_without_a_limit_a_share_is_none() -> None:
    funds = Funds(Limits(steps=9), RecordingSink())
    funds.begin_stage(1, plan("a", "b", a=0.5))
    assert rooms(funds, "a", "b") == [math.inf, math.inf]


# ── what can be paid ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_sub_task_that_cannot_be_paid_beside_those_at_work_is_not_started() -> None:
    funds = Funds(Limits(tokens=1000), RecordingSink(), KEPT)
    names = [f"t{n}" for n in range(6)]
    funds.begin_stage(1, plan(*names))
    for name in names[:3]:
        funds.afford(1, name)
        funds.observe(started(name))
        subtask_budget(stage_budget(funds.work, 1), name).book(200, 0, 1)
        funds.observe(ended(name))
    funds.afford(1, "t3")
    funds.observe(started("t3"))
    with pytest.raises(BudgetExhausted, match="may need 400 tokens, and 300 are left"):
        funds.afford(1, "t4")


async def test_as_long_as_nothing_is_known_sub_tasks_start_until_a_call_is_refused() -> None:
    funds = Funds(Limits(tokens=1000), RecordingSink())
    funds.begin_stage(1, plan("a", "b"))
    budget = attempt_budget(funds.work, spec("a"))
    (await budget.reserve(900, 0)).settle(900, 0)
    funds.afford(1, "b")
    with pytest.raises(BudgetExhausted):
        await budget.reserve(200, 0)
    with pytest.raises(BudgetExhausted, match="nothing new is started"):
        funds.afford(1, "b")
    funds.allow(5000, None)
    funds.afford(1, "b")


async def test_what_is_reached_is_said_once_each() -> None:
    sink = RecordingSink()
    funds = Funds(Limits(tokens=1000), sink, KEPT, 0.8)
    funds.begin_stage(1, plan("a"))
    budget = attempt_budget(funds.work, spec("a"))
    for _ in range(2):
        assert funds.closing(1) == ""
        (await budget.reserve(350, 0)).settle(350, 0)
    (await budget.reserve(50, 0)).settle(50, 0)
    with pytest.raises(BudgetExhausted):
        await budget.reserve(200, 0)
    assert funds.closing(1) == "750 of 900 tokens that sub-agents may use are used: no further ones can be started"
    assert funds.closing(1)
    (await funds.aggregator.reserve(200, 0)).settle(300, 0)  # more than was asked for
    said = [(event.level, event.used, event.limit) for event in sink.of(LimitReached)]
    assert said == [("soft", 750, 900), ("hard", 750, 900), ("closed", 750, 900), ("over", 1050, 1000)]
    with pytest.raises(BudgetExhausted):
        await funds.orchestrator.reserve(1, 0)


async def test_the_steps_of_a_run_are_its_critical_steps() -> None:
    funds = Funds(Limits(steps=5), RecordingSink(), KEPT)
    (await funds.orchestrator.reserve(0, 0)).settle(0, 0)
    assert funds.begin_stage(1, plan("a", "b")) == 3
    a, b = (attempt_budget(funds.work, spec(name)) for name in "ab")
    for budget in (a, b, a, b, a):
        (await budget.reserve(0, 0)).settle(0, 0)
    assert funds.closing(1).startswith("4 of 4 steps")
    with pytest.raises(BudgetExhausted, match="critical steps"):
        funds.begin_stage(2, plan("c"))
    (await funds.orchestrator.reserve(0, 0)).settle(0, 0)  # the last word
    assert funds.run.used.steps == 5


# ── a run that is gone on with ──────────────────────────────────────────────────────────────────────────────────────


def call(who: str, number: int, tokens: int, *, accepted: bool = True) -> list[Event]:
    call_id = f"{who}/{number}"
    sent = CallSent(trajectory_id=who, call_id=call_id, attempt=1, tokens=500, usd=0.5)
    usage = Usage(prompt_tokens=tokens, calls=int(accepted))
    done = CallFinished(
        trajectory_id=who, call_id=call_id, turn=number, attempt=1, accepted=accepted, usage=usage, cost_usd=0.01
    )
    done.estimated = not accepted
    return [sent, done]


async def test_what_was_used_is_booked_from_the_record_and_what_was_decided_stands() -> None:
    events: list[Event] = [
        started("orchestrator", Role.ORCHESTRATOR, 0),
        *call("orchestrator", 1, 100),
        StageStarted(stage=1, plan=plan("a", "b", a=0.5)),
        started("a"),
        *call("a", 1, 200),
        *call("a", 2, 100, accepted=False),
        *call("a", 3, 100),
        started("b"),
        *call("b", 1, 50)[:1],  # in flight when it died
        ControlUsed(action="budget", tokens=4000),
        LimitReached(level="closed", what="tokens", used=1400, limit=1500, stage=1),
    ]
    sink = RecordingSink()
    funds = Funds(Limits(tokens=2000, usd=9.0), sink, KEPT, 0.8)
    funds.restore(events)
    assert (funds.run.used.tokens, funds.run.used.steps) == (100 + 200 + 500 + 100 + 500, 3)
    assert funds.run.used.usd == pytest.approx(0.03 + 0.5 + 0.5)
    assert funds.run.limits.tokens == 4000
    assert funds.run.held.tokens == 0
    assert funds.closing(1).startswith("1400 of 1500 tokens")
    assert not sink.events
    funds.begin_stage(1, plan("a", "b", a=0.5))  # gone through again
    funds.run.book(4000, 0, 0)
    funds.afford(1, "a")
    with pytest.raises(BudgetExhausted):
        funds.afford(1, "c")
    funds.allow(50_000, None)  # gone on with, and more to go on with
    assert funds.closing(1) == ""
    funds.afford(1, "c")


async def test_a_stage_that_is_gone_through_again_has_the_critical_steps_that_it_had() -> None:
    events: list[Event] = [
        started("orchestrator", Role.ORCHESTRATOR, 0),
        *call("orchestrator", 1, 100),
        StageStarted(stage=1, plan=plan("a", "b")),
    ]
    fresh = Funds(Limits(steps=9), RecordingSink(), KEPT)
    fresh.restore(events[:-1])
    had = fresh.begin_stage(1, plan("a", "b"))
    for number in (1, 2, 3, 4):
        events += [*([started("a")] if number == 1 else []), *call("a", number, 10)]
    again = Funds(Limits(steps=9), RecordingSink(), KEPT)
    again.restore(events)
    assert again.begin_stage(1, plan("a", "b")) == had == 7
    a = attempt_budget(again.work, spec("a"))
    for _ in range(3):
        (await a.reserve(0, 0)).settle(0, 0)
    with pytest.raises(BudgetExhausted, match="8 of 9 steps, with 1 kept back"):
        await a.reserve(0, 0)


async def test_for_the_end_is_kept_what_the_orchestrator_will_be_told() -> None:
    for limit, wanted in ((10_000, 10_000 - (2_000 + SHORT + 1_000)), (100_000, 90_000), (6_000, 5_400)):
        funds = Funds(Limits(tokens=limit), RecordingSink(), KEPT)
        assert funds.work.room().tokens == limit * 0.9
        told = [started("orchestrator", Role.ORCHESTRATOR, 0), *call("orchestrator", 1, 2_000), started("a")]
        funds.restore([*told, ended("a").model_copy(update={"final_output": "x" * 3_000})])
        assert funds.work.room().tokens == wanted - 2_000  # those are used
    alone = Funds(Limits(tokens=10_000), RecordingSink())  # nothing is kept by one that has no end to pay
    alone.restore([started("orchestrator", Role.ORCHESTRATOR, 0), *call("orchestrator", 1, 2_000)])
    assert alone.work.room().tokens == 8_000


# ── the soft landing ────────────────────────────────────────────────────────────────────────────────────────────────


async def talk(
    limits: Limits, max_steps: int, steps: int, said: str = "", others: int = 0
) -> tuple[list[str | None], RecordingSink]:
    """What an agent is told before each of its calls, up to one that is refused; so many others are at work."""
    sink, steering = RecordingSink(), Steering()
    funds = Funds(limits, sink, KEPT, 0.8)
    for n in range(others):
        funds.observe(started(f"other-{n}"))
    budget = attempt_budget(funds.work, spec("a", limits=AgentLimits(max_steps)))
    line = Line(ScriptedModel([tool_call("look")] * steps), budget, sink)
    conversation = Conversation(line, "a", Role.SUBAGENT, [{"role": "user", "content": said or "go"}])
    steering.advice = Landing(conversation, steering, max_steps, FINISH_WORK)
    heard: list[str | None] = []
    for _ in range(steps):
        texts = await steering.before_call()
        heard.append(texts[0] if texts else None)
        try:
            await conversation.ask()
        except BudgetExhausted:
            break
        conversation.say({"role": "tool", "tool_call_id": "call-look", "content": "x"})
    return heard, sink


async def test_an_agent_is_told_once_when_few_of_its_calls_are_left() -> None:
    heard, sink = await talk(Limits(), 10, 10)
    assert heard == [None] * 8 + [f"You have 2 model calls left. {FINISH_WORK}", None]
    (told,) = sink.of(AgentTold)
    assert (told.reason, told.limit, told.scope) == ("budget", "8 of 10 steps", "a")
    assert [text for text in (await talk(Limits(), 3, 3))[0] if text] == [f"You have 1 model call left. {FINISH_WORK}"]


async def test_an_agent_is_told_once_when_the_budget_of_the_run_is_nearly_used_up() -> None:
    heard, sink = await talk(Limits(tokens=9_000), 100, 30)
    (at,) = [n for n, text in enumerate(heard) if text]
    assert heard[at] == f"The budget for this is nearly used up. {FINISH_WORK}"
    assert len(heard) - at > 2  # time to hear it, and to do something about it
    (told,) = sink.of(AgentTold)
    used, _, limit, what = told.limit.split()
    assert (limit, what, told.what, told.scope) == ("8100", "tokens", "tokens", "run")
    alone = float(used)
    assert alone > 0.5 * 8100
    _, sink = await talk(Limits(tokens=9_000), 100, 30, others=30)
    assert float(sink.of(AgentTold)[0].limit.split()[0]) < alone  # the same room has to do for all


async def test_who_was_told_to_finish_already_is_not_told_again() -> None:
    heard, sink = await talk(Limits(), 10, 10, said=FINISH)
    assert heard == [None] * 10
    assert not sink.of(AgentTold)


async def test_a_sub_task_may_take_the_steps_that_the_way_to_it_has_left() -> None:
    needs = {"a": (), "b": ("a",), "c": ("b",), "d": ()}
    subtasks = (SubTask(id=i, title=i, instructions=i, depends_on=some) for i, some in needs.items())
    funds = Funds(Limits(steps=7), RecordingSink(), KEPT)
    assert funds.begin_stage(1, Plan(subtasks=tuple(subtasks))) == 6
    assert funds.afford(1, "a") == 6
    for name, taken in (("a", 4), ("b", 2)):
        for _ in range(taken):
            (await attempt_budget(funds.work, spec(name)).reserve(0, 0)).settle(0, 0)
        assert funds.afford(1, "d") == 6
    with pytest.raises(BudgetExhausted, match="all 7 critical steps are used on the way to it") as late:
        funds.afford(1, "c")
    assert late.value.what == "steps"
    with pytest.raises(BudgetExhausted):
        await attempt_budget(funds.work, spec("b")).reserve(0, 0)
    (await attempt_budget(funds.work, spec("d")).reserve(0, 0)).release()
