"""The pure parts of the evaluation runner: what is selected, which arms there are, seeds, names of folders, counts."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.config import RunConfig
from swarm.errors import UsageError
from swarm.evals.records import TrialResult
from swarm.evals.runner.arms import ways
from swarm.evals.runner.places import folder_name
from swarm.evals.runner.selection import Selection, seed_of, select
from swarm.evals.runner.tally import Progress, count, failures
from swarm.evals.stats import wilson
from swarm.evals.suite import Instance

TEN = [Instance(f"org__pack-{n}", "do it", {"repo": "org/even" if n % 2 == 0 else "org/odd"}) for n in range(10)]


def ids(**wanted: object) -> list[int]:
    return [int(each.id.rpartition("-")[2]) for each in select(TEN, Selection(**wanted))]  # type: ignore[arg-type]  # the options of each case


def test_instances_are_selected_in_the_order_of_the_data() -> None:
    assert ids() == list(range(10))
    assert ids(ids=("org__pack-7", "org__pack-2")) == [2, 7]
    assert ids(pattern="pack-[3-5]$") == [3, 4, 5]
    assert ids(pattern="even", part="1:3") == [2, 4]
    assert ids(part="-3:", limit=2) == [7, 8]
    drawn = ids(shuffle=3)
    assert (sorted(drawn), drawn) == (list(range(10)), ids(shuffle=3))
    assert ids(shuffle=3, part="0:4") == drawn[:4]
    assert drawn != list(range(10)) != ids(shuffle=4) != drawn


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (Selection(ids=("nobody",)), "do not hold nobody"),
        (Selection(pattern="("), "--filter '\\('"),
        (Selection(part="1-5"), "--slice '1-5'"),
        (Selection(part="50:"), "none of 10 instances"),
    ],
)
def test_a_selection_that_cannot_be_is_refused(wanted: Selection, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        select(TEN, wanted)
    with pytest.raises(UsageError, match="more than once"):
        select([*TEN, TEN[0]], Selection())


def test_arms_are_the_product_and_single_is_there_once_a_model() -> None:
    found = ways(RunConfig(model="m"), ("single", "plan", "parl"), ("A/x", "B"), (1, 16))
    assert [way.name for way in found] == [
        f"{name}@{model}" for model in ("A/x", "B") for name in ("single", "plan-1", "plan-16", "parl-1", "parl-16")
    ]
    last = found[-1]
    assert (last.arm.agents, last.config.concurrency, last.config.model) == (16, 16, "B")
    assert [way.arm.agents for way in found[:3]] == [1, 1, 16]
    sized = ways(RunConfig(model="m"), ("plan",), (), (4, 100))
    assert [(each.config.concurrency, each.config.max_agents) for each in sized] == [(4, 64), (100, 100)]
    assert [way.name for way in ways(RunConfig(mode="parl", max_agents=5))] == ["parl"]
    with pytest.raises(UsageError, match="plan-4 is there twice"):
        ways(RunConfig(), ("plan",), (), (4, 4))
    with pytest.raises(UsageError, match="needs mode parl"):
        ways(RunConfig(mode="parl", max_depth=2), ("single", "parl"))


def test_a_seed_is_the_trials_own_and_the_same_in_all_arms() -> None:
    seeds = {seed_of(7, name, epoch) for name in ("a", "b") for epoch in (1, 2)}
    assert len(seeds) == 4
    assert all(seed is not None and 0 <= seed < 1 << 31 for seed in seeds)
    assert seed_of(None, "a", 1) is None
    assert seed_of(8, "a", 1) not in seeds


@settings(max_examples=60, deadline=None)
@given(st.text(min_size=1, max_size=300), st.text(min_size=1, max_size=300))
def test_others_names_give_others_folders(one: str, other: str) -> None:
    folders = folder_name(one), folder_name(other)
    assert (folders[0] == folders[1]) is (one == other)
    for folder in folders:
        assert folder not in (".", "..", "")
        assert "/" not in folder
        assert len(folder.encode()) < 200


def line(name: str, resolved: bool | None, **more: object) -> TrialResult:
    return TrialResult.model_validate({"instance_id": name, "arm": "a", "resolved": resolved, **more})


def test_what_is_counted() -> None:
    lines = [
        line("a", True, score=1.0, status="completed", cost_usd=0.5, prompt_tokens=10, calls=2),
        line("b", False, status="completed", cost_usd=0.25, details={"kind": "tests fail"}),
        line("c", False, status="partial", cost_usd=0.25),
        line("d", None, error="no image"),
    ]
    found = count(6, lines)
    assert (found.graded, found.resolved, found.errored, found.left) == (3, 1, 1, 2)
    assert (found.cost_usd, found.prompt_tokens, found.score) == (1.0, 10, 1 / 3)
    assert failures(lines) == {"tests fail": 1, "partial": 1, "machine": 1}
    assert count(6, [*lines, line("e", True, status="completed")]).cost_usd is None
    aside = line("e", None, set_aside_tokens=7, set_aside_usd=0.5)
    assert (count(6, [*lines, aside]).tokens, count(6, [*lines, aside]).cost_usd) == (17, 1.5)
    twice = [line(name, name == "a", epoch=epoch) for name in "ab" for epoch in (1, 2, 3)]
    assert count(6, twice).rate == wilson(1, 2), "the instance is what is counted"
    assert count(2, [lines[0], lines[1].model_copy(update={"arm": "b"})]).rate is None
    assert (count(3, []).rate, count(3, []).left) == (None, 3)
    progress = Progress(tuple(each.key for each in lines), 100.0, {each.key: each for each in lines[:3]}, done=2)
    assert progress.per_hour(110.0) == 720
    assert progress.left_s(110.0) == 5.0
