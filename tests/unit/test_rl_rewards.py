"""PARL's reward as a function of a log: its closed forms, its annealing, and the baselines of a group."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.config import Rollout
from swarm.events import (
    AgentEnded,
    AgentStarted,
    CallFinished,
    Event,
    RewardGiven,
    RunEnded,
    RunStarted,
    StageStarted,
    SubTaskSkipped,
)
from swarm.journal.parl import StageClock, about_learning
from swarm.journal.totals import Totals
from swarm.rl.annealing import Annealing, Schedule
from swarm.rl.episode import Episode, StageFacts, SubAgentFacts, read_episode
from swarm.rl.rewards import (
    FINISH,
    PARALLEL,
    Parl,
    critical_penalty,
    discounted,
    finish_rate,
    finish_valid,
    parallel_capped,
    parallel_saved,
    parallel_width,
    perf_judged,
    perf_outcome,
    steps_penalty,
)
from swarm.rl.shaping import Toggle, advantages, length_rewards, overlong, toggle_budget
from swarm.types import Outcome, Plan, Role, RunStatus, SubTask, Usage


def log(ends: list[tuple[Outcome, int, int]], status: RunStatus | None = RunStatus.COMPLETED) -> list[Event]:
    """A run of one stage: for each sub-agent its end, steps, and uses of tools; the orchestrator makes two steps."""
    plan = Plan(subtasks=tuple(SubTask(id=f"s{i}", title="t", instructions="p") for i in range(len(ends))))
    main = AgentStarted(trajectory_id="main", role=Role.ORCHESTRATOR, name="main", trainable=True)

    def call(trajectory: str, turn: int) -> CallFinished:
        usage = Usage(prompt_tokens=5, completion_tokens=7, calls=1)
        return CallFinished(
            trajectory_id=trajectory, call_id=f"{trajectory}-{turn}", turn=turn, attempt=1, accepted=True, usage=usage
        )

    events: list[Event] = [
        RunStarted(task="t", task_sha256="", mode="parl", swarm_version="0", config={}, config_sha256="", group_id="g"),
        main,
        call("main", 1),
        StageStarted(stage=1, plan=plan),
    ]
    for subtask, (outcome, steps, tools) in zip(plan.subtasks, ends, strict=True):
        name = f"{subtask.id}-1"
        events.append(
            AgentStarted(trajectory_id=name, role=Role.SUBAGENT, name=name, trainable=False, stage=1, subtask=subtask)
        )
        events += [call(name, turn) for turn in range(steps)]
        events.append(
            AgentEnded(
                trajectory_id=name,
                outcome=outcome,
                stop="",
                terminated=True,
                truncated=False,
                final_output="found it" if outcome is Outcome.COMPLETED else "",
                steps=steps,
                tool_calls=tools,
            )
        )
    events.append(call("main", 2))
    if status is not None:
        events.append(RunEnded(status=status, exit_code=0, result={}))
    for event in events:
        event.run_id = "r1"
    return events


def test_the_facts_of_a_log() -> None:
    done, failed, broken = Outcome.COMPLETED, Outcome.FAILED, Outcome.ERRORED
    episode = read_episode(log([(done, 5, 3), (done, 2, 0), (failed, 4, 1), (broken, 1, 0)]))
    assert episode.critical_steps == 1 + 5 + 1  # S_main of the stage, its longest sub-agent, and the last step
    assert episode.total_steps == 2 + 12
    assert episode.output_tokens == 14 and episode.orchestrator_steps == 2
    assert len(episode.counted) == 3  # a machine that failed is nobody's decision
    assert finish_rate()(episode) == pytest.approx(2 / 3)
    assert finish_valid()(episode) == pytest.approx(1 / 3)  # one said it was done without a use of a tool
    assert parallel_capped(4)(episode) == pytest.approx(3 / 4)
    assert parallel_width(4)(episode) == pytest.approx(2 / 3)
    assert parallel_saved()(episode) == pytest.approx(1 - 7 / 14)
    assert perf_outcome()(episode) == pytest.approx(2 / 4)
    assert not episode.machine_failed


@pytest.mark.parametrize("status", [None, RunStatus.ERRORED, RunStatus.CANCELLED])
def test_what_a_machine_ended_trains_nobody(status: RunStatus | None) -> None:
    episode = read_episode(log([(Outcome.COMPLETED, 1, 1)], status))
    assert Parl().of(episode, {}).masked


def test_serial_collapse_and_spurious_parallelism() -> None:
    alone = read_episode(log([]))
    spurious = read_episode(log([(Outcome.FAILED, 1, 0)] * 10))
    swarm = read_episode(log([(Outcome.COMPLETED, 3, 2)] * 10))
    parl, weights = Parl(), Annealing().weights(0)
    by = {name: parl.of(episode, weights) for name, episode in (("a", alone), ("s", spurious), ("w", swarm))}
    assert by["a"].values[PARALLEL] == 0 and by["a"].values[FINISH] == 0
    assert by["s"].values[PARALLEL] == 1 and by["s"].values[FINISH] == 0
    assert by["w"].total > by["s"].total > by["a"].total
    late = {name: parl.of(episode, Annealing().weights(100)).total for name, episode in (("a", alone), ("s", spurious))}
    assert late["a"] == late["s"] == 0  # what is left is the outcome of the task


def test_a_missing_judgement_is_no_zero() -> None:
    episode = read_episode(log([]))
    with pytest.raises(ValueError, match="no judgement"):
        perf_judged()(episode)
    judged = RewardGiven(
        scope="run", target_id="r1", name="r_perf", value=0.25, weight=1, source="swebench", formula_version=1
    )
    assert perf_judged("swebench")(read_episode([*log([]), judged])) == 0.25


def test_records_hold_raw_values_and_weights_beside_them() -> None:
    episode = read_episode(log([(Outcome.COMPLETED, 3, 2)] * 3))
    parl = Parl(extra=(critical_penalty(4),))
    records = parl.records(episode, {PARALLEL: 0.5})
    assert [(r.name, r.value, r.weight) for r in records][:2] == [(PARALLEL, 0.3, 0.5), (FINISH, 1.0, 1.0)]
    again = read_episode([*log([(Outcome.COMPLETED, 3, 2)] * 3), *records])
    assert [r.value for r in parl.records(again, {})] == [r.value for r in records]
    with pytest.raises(ValueError, match="no component"):
        parl.of(episode, {"r_paralel": 1})


ENDS = st.lists(
    st.tuples(st.sampled_from(list(Outcome)), st.integers(0, 9), st.integers(0, 3)), max_size=14
)  # fmt: skip


@given(ENDS)
def test_components_lie_between_0_and_1_and_the_runs_own_are_the_same(ends: list[tuple[Outcome, int, int]]) -> None:
    """What a run's end tells of itself is what is made of its log."""
    events = log(ends)
    episode, totals, clock = read_episode(events), Totals(), StageClock()
    for event in events:
        totals.observe(event)
        clock.observe(event)
    for form in (parallel_capped(), parallel_width(), parallel_saved(), finish_rate(), finish_valid(), perf_outcome()):
        assert 0 <= form(episode) <= 1
    assert -1 <= critical_penalty(4)(episode) <= 0
    ended = RunEnded(status=RunStatus.COMPLETED, exit_code=0, result={"run_id": "r1"})
    about_learning(ended, clock, totals, Rollout())
    assert (ended.r_parallel, ended.r_finish) == (parallel_capped()(episode), finish_rate()(episode))
    assert episode.critical_steps <= episode.longest_way == totals.critical_steps


def test_what_was_never_begun_is_no_parallelism() -> None:
    skipped = SubTaskSkipped(stage=1, subtask_id="s1", outcome=Outcome.BUDGET_EXHAUSTED, reason="no budget")
    events = [
        event
        for event in log([(Outcome.COMPLETED, 1, 1), (Outcome.COMPLETED, 1, 1)])
        if getattr(event, "trajectory_id", "") != "s1-1"
    ]
    totals, clock = Totals(), StageClock()
    for event in (*events[:-1], skipped):
        totals.observe(event)
    ended = RunEnded(status=RunStatus.BUDGET_EXHAUSTED, exit_code=4, result={"run_id": "r1"})
    about_learning(ended, clock, totals, Rollout())
    assert (ended.r_parallel, ended.r_finish) == (0.1, 1.0)


def facts(critical: int, main: int) -> Episode:
    return Episode("r", stages=(StageFacts(main, (critical - main,)),), orchestrator_steps=main)


def test_penalties() -> None:
    assert critical_penalty(10)(facts(10, 1)) == 0
    assert critical_penalty(10)(facts(15, 1)) == pytest.approx(-0.5)
    assert critical_penalty(10, slope=2)(facts(90, 1)) == -2
    assert steps_penalty(0.25)(facts(9, 4)) == -1
    assert discounted(1.0, 3, 0.5) == [0.25, 0.5, 1.0]
    assert overlong(1.0, 301, 100, 3) == -1 and overlong(1.0, 300, 100, 3) == 1


@given(st.sampled_from(["linear", "cosine", "exponential", "step"]), st.integers(0, 50), st.integers(1, 200))
def test_weights_only_fall_and_are_gone_at_the_end(shape: str, hold: int, length: int) -> None:
    schedule = Schedule(0.3, hold + length, shape, hold)  # type: ignore[arg-type]  # drawn from its values
    weights = [schedule.at(step) for step in range(hold + length + 5)]
    assert weights[: hold + 1] == [0.3] * (hold + 1)
    assert all(0 <= after <= before for before, after in pairwise(weights))
    assert weights[hold + length :] == [0.0] * 5


def test_schedules_that_cannot_be() -> None:
    assert Schedule(0.3, 10, "constant").at(1000) == 0.3
    for start, end, hold in ((-1.0, 10, 0), (1.0, 0, 0), (1.0, 5, 5)):
        with pytest.raises(ValueError):
            Schedule(start, end, hold=hold)


def test_toggle() -> None:
    toggle = Toggle(period=5, accuracy=0.5)
    rewards, lengths = [1.0, 1.0, 0.0], [10, 100, 10]
    right = [True, True, False]
    assert toggle.of(0, rewards, right, lengths, budget=50) == [1.0, 0.0, 0.0]
    assert toggle.of(5, rewards, right, lengths, budget=50) == rewards  # an odd phase
    assert toggle.of(0, rewards, [True, False, False], lengths, budget=50) == rewards  # not yet good enough
    assert toggle_budget([10, 20, 30], 50) == 20 and toggle_budget([10, 20], 75) == 17.5
    with pytest.raises(ValueError, match="no budget"):
        toggle_budget([], 50)


def test_length_rewards_of_k15() -> None:
    assert length_rewards([10, 20, 30], [True, True, True]) == [0.5, 0.0, -0.5]
    assert length_rewards([10, 20, 30], [False, False, False]) == [0.0, 0.0, -0.5]
    assert length_rewards([7, 7], [True, False]) == [0.0, 0.0]


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=12), st.booleans())
def test_a_baseline_leaves_nothing_over(rewards: list[float], leave_one_out: bool) -> None:
    assert math.fsum(advantages(rewards, leave_one_out=leave_one_out)) == pytest.approx(0, abs=1e-9)
    hidden = advantages([*rewards, 100.0], masked=[False] * len(rewards) + [True], leave_one_out=leave_one_out)
    assert hidden == [*advantages(rewards, leave_one_out=leave_one_out), 0.0]


def test_a_group_without_spread_or_mates_teaches_nothing() -> None:
    assert advantages([1.0]) == [0.0] and advantages([1.0, 1.0], scale=True) == [0.0, 0.0]
    assert advantages([0.0, 2.0], scale=True) == [-1.0, 1.0]
    assert SubAgentFacts("s", 1, Outcome.COMPLETED, 1, 1, said=True).valid
