"""Sums and verdicts out of events: critical steps, coverage, and what a run may call itself."""

from __future__ import annotations

import pytest

from swarm.errors import BudgetExhausted, EndpointError, EndpointFault, PlanError, SwarmError
from swarm.events import (
    AgentEnded,
    AgentStarted,
    CallFinished,
    Event,
    Finished,
    GateFinished,
    PatchMerged,
    StageStarted,
    SubTaskSkipped,
)
from swarm.journal.totals import Totals
from swarm.result import Coverage, GateVerdict
from swarm.types import Outcome, Plan, Role, RunStatus, SubTask, Usage
from swarm.verdict import EndedBy, coverage_note, gate_verdict, judge, only_planned


def started(name: str, role: Role = Role.SUBAGENT, stage: int = 1) -> AgentStarted:
    own = SubTask(id=name, title=name, instructions="x") if role is Role.SUBAGENT else None
    return AgentStarted(trajectory_id=name, role=role, name=name, trainable=False, stage=stage, subtask=own)


def call(name: str, *, accepted: bool = True, cost: float | None = 0.5) -> CallFinished:
    usage = Usage(prompt_tokens=10, completion_tokens=1, calls=1) if accepted else Usage()
    return CallFinished(
        trajectory_id=name, call_id="c", turn=1, attempt=1, accepted=accepted, usage=usage, cost_usd=cost
    )


def ended(name: str, outcome: Outcome = Outcome.COMPLETED) -> AgentEnded:
    return AgentEnded(trajectory_id=name, outcome=outcome, stop="x", terminated=True, truncated=False)


def staged(stage: int, *names: str, replaces: tuple[str, ...] = ()) -> StageStarted:
    subtasks = tuple(SubTask(id=n, title=n, instructions="x", replaces=replaces) for n in names)
    return StageStarted(stage=stage, plan=Plan(subtasks=subtasks))


def sums(*events: Event) -> Totals:
    totals = Totals()
    for event in events:
        totals.observe(event)
    return totals


def test_critical_steps_are_main_steps_and_the_longest_sub_agent_of_each_stage() -> None:
    totals = sums(
        started("o", Role.ORCHESTRATOR),
        call("o", accepted=False, cost=None),
        call("o"),
        staged(1, "a", "b"),
        started("a"),
        started("b"),
        call("a"),
        call("b"),
        call("b"),
        call("b"),
        ended("a"),
        ended("b"),
        call("o"),
        staged(2, "c"),
        started("c", stage=2),
        call("c"),
        ended("c"),
    )
    assert totals.critical_steps == (1 + 3) + (1 + 1)
    assert (totals.total_steps, totals.n_subagents, totals.peak_concurrency) == (7, 3, 2)
    assert totals.steps_of_stage(1) == (1, {"a": 1, "b": 3})
    assert (totals.cost, totals.usage.calls) == (3.5, 7)


def attempt(number: int, stage: int = 1) -> AgentStarted:
    return started("a", stage=stage).model_copy(update={"trajectory_id": f"a#{number}", "attempt": number})


def test_attempts_one_after_the_other_add_up_and_of_two_at_once_one_counts() -> None:
    broken: list[Event] = [attempt(1), call("a#1"), call("a#1"), ended("a#1", Outcome.ERRORED)]
    again: list[Event] = [attempt(2), call("a#2"), ended("a#2")]
    assert sums(*broken, *again).steps_of_stage(1) == (0, {"a": 3})
    three: list[Event] = [attempt(1), call("a#1"), call("a#1"), call("a#1")]
    hedge: list[Event] = [attempt(2), call("a#2")]
    assert sums(*three, *hedge).critical_steps == 3
    hedge_wins = sums(*three, *hedge, ended("a#2"), ended("a#1", Outcome.CANCELLED))
    first_wins = sums(*three, *hedge, ended("a#1"), ended("a#2", Outcome.CANCELLED))
    assert (hedge_wins.critical_steps, first_wins.critical_steps) == (1, 3)
    for totals in (hedge_wins, first_wins):
        assert (totals.total_steps, totals.outcome_of) == (4, {"a": Outcome.COMPLETED})
    in_vain: list[Event] = [ended("a#1", Outcome.ERRORED), ended("a#2", Outcome.ERRORED)]
    assert sums(*three, *hedge, *in_vain, attempt(3), call("a#3")).critical_steps == 4


def test_an_unknown_price_makes_the_whole_cost_unknown() -> None:
    assert sums(started("a"), call("a"), call("a", cost=None)).cost is None


def test_coverage_counts_what_replaced_dropped_and_unmerged_mean() -> None:
    first: list[Event] = [staged(1, "a", "b", "c", "d"), *(started(n) for n in "abcd")]
    first += [ended("a"), ended("b", Outcome.FAILED), ended("c", Outcome.FAILED), ended("d")]
    assert sums(*first).coverage == Coverage(asked=4, useful=2, missing=2)
    evicted = PatchMerged(stage=1, subtask_id="d", merged=False, reason="conflict")
    assert sums(*first, evicted).coverage == Coverage(asked=4, useful=1, missing=3)
    second: list[Event] = [staged(2, "e", replaces=("b",)), started("e", stage=2), ended("e")]
    assert sums(*first, *second).coverage == Coverage(asked=4, useful=3, missing=1)
    assert sums(*first, *second, Finished(dropped=["c"])).coverage == Coverage(asked=3, useful=3, missing=0)
    failed: list[Event] = [staged(2, "e", replaces=("b",)), started("e", stage=2), ended("e", Outcome.FAILED)]
    assert sums(*first, *failed).coverage == Coverage(asked=4, useful=2, missing=2)


GREEN, RED = GateVerdict(command="t", passed=True), GateVerdict(command="t", passed=False)
GOOD: list[Event] = [staged(1, "a"), started("a"), ended("a")]
BAD: list[Event] = [staged(1, "a"), started("a"), ended("a", Outcome.FAILED)]
HALF: list[Event] = [staged(1, "a", "b"), started("a"), ended("a"), started("b"), ended("b", Outcome.FAILED)]
BROKEN: list[Event] = [staged(1, "a"), started("a"), ended("a", Outcome.ERRORED)]


@pytest.mark.parametrize(
    ("events", "fault", "by", "gate", "gated", "status", "code"),
    [
        (GOOD, None, EndedBy.NOTHING, None, False, RunStatus.COMPLETED, 0),
        (GOOD, None, EndedBy.NOTHING, GREEN, True, RunStatus.COMPLETED, 0),
        (GOOD, None, EndedBy.NOTHING, RED, True, RunStatus.PARTIAL, 1),
        (GOOD, None, EndedBy.TIME, None, True, RunStatus.PARTIAL, 1),
        (HALF, None, EndedBy.NOTHING, GREEN, True, RunStatus.PARTIAL, 1),
        (BAD, None, EndedBy.NOTHING, GREEN, True, RunStatus.FAILED, 1),
        ([], None, EndedBy.NOTHING, None, False, RunStatus.FAILED, 1),
        (BROKEN, None, EndedBy.NOTHING, None, False, RunStatus.ERRORED, 3),
        (GOOD, None, EndedBy.CALLER, None, False, RunStatus.CANCELLED, 130),
        ([], PlanError("p"), EndedBy.NOTHING, None, False, RunStatus.FAILED, 1),
        (GOOD, BudgetExhausted("b"), EndedBy.NOTHING, None, False, RunStatus.BUDGET_EXHAUSTED, 4),
        (GOOD, EndpointError(EndpointFault.CUT, "c"), EndedBy.NOTHING, None, False, RunStatus.ERRORED, 3),
    ],
)
def test_a_run_calls_itself_what_it_is(
    events: list[Event],
    fault: SwarmError | None,
    by: EndedBy,
    gate: GateVerdict | None,
    gated: bool,
    status: RunStatus,
    code: int,
) -> None:
    verdict = judge(sums(*events), fault, by, gate, gated=gated, empty=not events)
    assert verdict[:2] == (status, code)
    assert bool(verdict.reason) == (status is not RunStatus.COMPLETED)


def test_a_gates_word_counts_only_for_the_commit_that_it_saw() -> None:
    seen = GateFinished(
        stage=0, command="t", commit="c1", passed=True, exit_code=0, timed_out=False, output="", seconds=1
    )
    assert gate_verdict(sums(seen), "c1") == GREEN
    assert gate_verdict(sums(seen), "c2") is None
    assert gate_verdict(sums(), "c1") is None


def test_a_failed_attempt_that_may_be_billed_has_its_price_or_makes_the_cost_unknown() -> None:
    failed = CallFinished(trajectory_id="a", call_id="c", turn=1, attempt=1, accepted=False, model="m")
    billed = failed.model_copy(update={"estimated": True, "usage": Usage(prompt_tokens=9)})
    assert sums(failed).cost == 0.0
    assert sums(failed, billed).cost is None
    assert sums(billed.model_copy(update={"cost_usd": 0.25}), call("a")).cost == 0.75


def test_without_answer_and_patch_nothing_is_completed_and_a_no_of_the_user_cancels() -> None:
    assert judge(sums(*GOOD), None, EndedBy.NOTHING, None, gated=False, empty=True)[:2] == (RunStatus.FAILED, 1)
    for by in (EndedBy.PLAN, EndedBy.SPENDING, EndedBy.PATCH):
        assert judge(sums(*GOOD), None, by, None, gated=False) == (RunStatus.CANCELLED, 130, str(by))


def test_an_orchestrators_own_answer_is_enough_where_it_asked_for_nothing_and_no_gate_says_no() -> None:
    assert judge(sums(), None, EndedBy.NOTHING, None, gated=False)[:2] == (RunStatus.COMPLETED, 0)
    assert judge(sums(), None, EndedBy.NOTHING, GREEN, gated=True)[:2] == (RunStatus.COMPLETED, 0)
    for gate in (RED, None):
        assert judge(sums(), None, EndedBy.NOTHING, gate, gated=True).status is RunStatus.FAILED
    given_up = sums(staged(1, "a"), started("a"), ended("a", Outcome.FAILED), Finished(dropped=["a"]))
    verdict = judge(given_up, None, EndedBy.NOTHING, None, gated=False)
    assert verdict == (RunStatus.FAILED, 1, "all sub-tasks were dropped")


@pytest.mark.parametrize(
    ("events", "gate", "gated", "empty", "reason"),
    [
        (HALF, None, False, False, "1 of 2 sub-tasks gave a useful result"),
        (HALF, RED, True, False, "1 of 2 sub-tasks gave a useful result, and the test command fails on the result"),
        (GOOD, None, True, False, "the test command was not run on the result"),
        (GOOD, None, False, True, "there is neither an answer nor a patch"),
        ([], None, False, True, "nothing was asked of sub-agents, and there is neither an answer nor a patch"),
    ],
)
def test_what_is_not_completed_says_why(
    events: list[Event], gate: GateVerdict | None, gated: bool, empty: bool, reason: str
) -> None:
    assert judge(sums(*events), None, EndedBy.NOTHING, gate, gated=gated, empty=empty).reason == reason
    late = BudgetExhausted("the time is up", what="seconds")
    assert judge(sums(*events), late, EndedBy.NOTHING, gate, gated=gated, empty=empty).reason == "the time is up"


def test_outcomes_count_each_sub_task_once_and_attempts_each_try() -> None:
    three: list[Event] = [staged(1, "a", "b", "c"), started("b"), ended("b"), started("c")]
    three.append(ended("c", Outcome.CANCELLED))
    spare = SubTaskSkipped(stage=1, subtask_id="c", outcome=Outcome.SKIPPED, reason="enough others")
    hedged: list[Event] = [attempt(1), attempt(2), ended("a#2"), ended("a#1", Outcome.CANCELLED)]
    totals = sums(*three, spare, *hedged)
    assert totals.outcomes == {"completed": 2, "skipped": 1}
    assert (totals.n_subagents, totals.attempts) == (4, {"completed": 2, "cancelled": 2})
    failed: list[Event] = [attempt(1), attempt(2), ended("a#2", Outcome.FAILED), ended("a#1", Outcome.CANCELLED)]
    assert sums(*failed).outcomes == {"failed": 1}


def test_what_is_missing_is_named_with_the_reason() -> None:
    assert coverage_note(sums(*GOOD)) == ""
    evicted = PatchMerged(stage=1, subtask_id="a", merged=False, reason="conflict")
    limit = ended("c", Outcome.BUDGET_EXHAUSTED)
    some = sums(staged(1, "a", "b", "c", "d"), started("a"), ended("a"), evicted, started("c"), limit)
    assert coverage_note(sums(*HALF)) == "1 of 2 sub-tasks gave a useful result. Missing: b (failed)."
    assert coverage_note(some) == (
        "0 of 4 sub-tasks gave a useful result. "
        "Missing: a (not merged: see unmerged/a.diff), b (not run), c (budget exhausted), d (not run)."
    )
    many = sums(staged(1, *(f"t{n}" for n in range(30))))
    assert coverage_note(many).endswith("Missing: t0 to t29 (not run).")
    skips = [SubTaskSkipped(stage=1, subtask_id=f"t{n}", outcome=Outcome.SKIPPED, reason="") for n in range(0, 60, 2)]
    assert coverage_note(sums(staged(1, *(f"t{n}" for n in range(60))), *skips)).endswith("t19 (not run), and 40 more.")


def test_the_gate_has_no_word_on_the_answer_of_a_run_that_was_only_planned() -> None:
    before, begun = sums(), sums(staged(1, "a"))
    assert only_planned(begun, None, EndedBy.NOTHING, dry_run=True)
    assert only_planned(before, None, EndedBy.PLAN, dry_run=False)
    assert only_planned(before, None, EndedBy.CALLER, dry_run=False)
    assert not only_planned(before, None, EndedBy.NOTHING, dry_run=False)  # the orchestrator answered by itself
    assert not only_planned(begun, None, EndedBy.CALLER, dry_run=False)


def test_sub_tasks_that_wait_for_each_other_are_one_way() -> None:
    needs = [(f"a{n - 1}",) if n else () for n in range(10)]
    chain = [SubTask(id=f"a{n}", title="t", instructions="x", depends_on=some) for n, some in enumerate(needs)]
    beside = SubTask(id="b", title="t", instructions="x")
    events: list[Event] = [StageStarted(stage=1, plan=Plan(subtasks=(*chain, beside)))]
    for subtask in (*chain, beside):
        events += [started(subtask.id), *[call(subtask.id)] * 5, ended(subtask.id)]
    totals = sums(*events)
    assert totals.critical_steps == 50
    assert totals.steps_of_stage(1)[1] == dict.fromkeys([s.id for s in (*chain, beside)], 5)
