"""Cost previews: what past runs say about the next one."""

from __future__ import annotations

import itertools
import statistics
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.forecast.chance import Chance
from swarm.forecast.estimate import SpentSoFar, estimate
from swarm.forecast.rows import Sample, StageRow, Use, digest
from swarm.forecast.timing import PLAYED, Timing
from swarm.preview import QUANTITIES, Held, Range
from swarm.types import Plan, SubTask
from tests.unit.forecast_rows import make_plan, make_row, make_terms, width


@settings(max_examples=20, deadline=None)
@given(
    number=st.integers(1, 40),
    runs=st.integers(0, 12),
    tokens=st.none() | st.integers(1, 10**7),
    usd=st.none() | st.floats(0.001, 100),
    seconds=st.none() | st.floats(1, 10_000),
    critical=st.none() | st.integers(1, 200),
    spent=st.integers(0, 10**5),
)
def test_ranges_are_ordered_within_the_limits_and_grow_with_the_plan(
    number: int,
    runs: int,
    tokens: int | None,
    usd: float | None,
    seconds: float | None,
    critical: int | None,
    spent: int,
) -> None:
    rows = [make_row(n) for n in range(runs)]
    gone = SpentSoFar(usd=spent / 1e6, tokens=spent, calls=1, wall_s=0.5, critical_steps=1)
    limited = make_terms(budget_tokens=tokens, budget_usd=usd, timeout=seconds, max_critical_steps=critical)
    found = estimate(make_plan(number), 1, limited, gone, rows)
    caps = {"tokens": tokens, "usd": usd, "wall_s": seconds, "critical_steps": critical}
    for quantity in QUANTITIES:
        one = found.of(quantity)
        assert one is not None
        assert gone.of(quantity) <= one.low <= one.likely <= one.high
        assert one.holds(one.low)
        assert one.holds(one.likely)
        assert one.holds(one.high)
        assert one.high <= max(gone.of(quantity), caps.get(quantity) or float("inf"))
    smaller = estimate(make_plan(number), 1, make_terms(), gone, rows)
    larger = estimate(make_plan(number + 1), 1, make_terms(), gone, rows)
    for before, after in ((smaller.tokens, larger.tokens), (smaller.calls, larger.calls)):
        assert (before.low, before.likely, before.high) <= (after.low, after.likely, after.high)
    assert estimate(make_plan(number), 1, make_terms(), gone, rows) == smaller


def test_past_runs_take_the_place_of_assumptions() -> None:
    plan, terms = make_plan(6), make_terms()
    found = [estimate(plan, 1, terms, SpentSoFar(), [make_row(n) for n in range(runs)]) for runs in (0, 3, 10, 40)]
    for quantity in ("tokens", "calls", "wall_s", "usd"):
        widths = [width(one) for preview in found if (one := preview.of(quantity)) is not None]
        assert widths == sorted(widths, reverse=True), quantity
        assert widths[-1] < 2.5
    assert [preview.basis.repository for preview in found] == [0, 3, 10, 40]
    assert found[0].basis.assumed == 1
    assert found[-1].basis.assumed < 0.02
    true = sum(sample.use.tokens for n in range(40) for sample in make_row(n).samples) / 40
    assert found[-1].tokens.holds(true)


def test_runs_that_are_less_alike_count_less_and_for_less_when_others_are_there() -> None:
    plan, terms = make_plan(6), make_terms()
    own = [make_row(n, calls=20) for n in range(20)]
    foreign = [make_row(n, model="other", calls=2) for n in range(20, 60)]
    elsewhere = [make_row(n, repo="/else") for n in range(60, 65)]
    without = [make_row(n, repo="") for n in range(65, 90)]
    mixed = estimate(plan, 1, terms, SpentSoFar(), own + foreign + elsewhere + without)
    assert (mixed.basis.repository, mixed.basis.model, mixed.basis.others) == (20, 5, 40)
    alone = estimate(plan, 1, terms, SpentSoFar(), own)
    assert mixed.calls.likely == pytest.approx(alone.calls.likely, rel=0.15)
    assert estimate(plan, 1, terms, SpentSoFar(), foreign).calls.likely < alone.calls.likely / 3


def test_an_unknown_price_is_an_unknown_cost() -> None:
    found = estimate(make_plan(3), 1, make_terms(None), SpentSoFar(), [make_row(1)])
    assert found.usd is None
    assert found.unpriced == ("m",)
    assert found.tokens.low > 0


def test_limits_of_a_subagent_cut_what_past_ones_did() -> None:
    rows = [make_row(n, calls=40) for n in range(30)]
    free, few, cheap = (
        estimate(make_plan(4), 1, terms, SpentSoFar(), rows)
        for terms in (make_terms(), make_terms(max_steps=10), make_terms(agent_tokens=20_000))
    )
    assert few.calls.high <= 4 * 10 + 2
    assert few.calls_at_most == 40
    assert few.tokens.likely < free.tokens.likely / 8  # prompts grow with each call: a quarter of the calls is less
    assert few.wall_s.likely < free.wall_s.likely / 2
    assert cheap.tokens.likely < 4 * 20_000 * 1.5 + 3200


def test_later_stages_are_those_of_past_runs() -> None:
    again = (StageRow(60_000, 90.0, 12), StageRow(60_000, 5.0, 1))
    rows = [make_row(n, stages=again) for n in range(20)]
    once, twice = (estimate(make_plan(6), 1, make_terms(max_stages=stages), SpentSoFar(), rows) for stages in (1, None))
    assert twice.tokens.likely == pytest.approx(2 * once.tokens.likely, rel=0.2)
    assert twice.critical_steps.likely > once.critical_steps.likely + 8
    second = estimate(make_plan(6), 2, make_terms(), SpentSoFar(), rows)
    assert second.tokens.likely == pytest.approx(once.tokens.likely, rel=0.2)


def test_ranges_that_held_too_seldom_are_widened() -> None:
    said = Range(low=90, likely=100, high=110)
    missed = {"tokens": Held(range=said, actual=150, held=False)}
    rows = [make_row(n, support=float(n), held=missed if n > 9 else {}) for n in range(30)]
    plain = estimate(make_plan(6), 1, make_terms(), SpentSoFar(), [make_row(n) for n in range(30)])
    wide = estimate(make_plan(6), 1, make_terms(), SpentSoFar(), rows)
    assert 3 < wide.tokens.widened <= 4
    assert width(wide.tokens) > width(plain.tokens) ** 2
    assert wide.calls == plain.calls
    calibration = wide.calibration["tokens"]
    assert (calibration.previews, calibration.held, calibration.median_ratio) == (20, 0, 1.5)


def test_a_schedule_waits_for_dependencies_and_places() -> None:
    assert Timing(make_plan(4), 8).takes([1, 2, 3, 4]) == 4
    assert Timing(make_plan(4), 2).takes([1, 1, 1, 1]) == 2
    assert Timing(make_plan(3, {1: [0], 2: [1]}), 8).takes([1, 2, 3]) == 6
    chain_last = make_plan(5, {4: [3]})
    assert Timing(chain_last, 2).takes([2, 2, 2, 2, 2]) == 6  # what others wait for goes first
    grouped = Plan(
        subtasks=(
            SubTask(id="a", title="t", instructions="i", group="g"),
            SubTask(id="b", title="t", instructions="i", group="g"),
            SubTask(id="c", title="t", instructions="i", depends_on=("g",)),
        )
    )
    assert Timing(grouped, 8).takes([1, 5, 2]) == 7
    many = PLAYED + 100
    assert Timing(make_plan(many), 10).takes([1.0] * many) == pytest.approx(many / 10)


@given(each=st.lists(st.floats(0.1, 10), min_size=1, max_size=30), places=st.integers(1, 8))
def test_who_waits_for_nobody_takes_the_place_that_is_free_first(each: list[float], places: int) -> None:
    ends = [0.0] * places
    for own in each:
        ends[ends.index(min(ends))] += own
    assert Timing(make_plan(len(each)), places).takes(each) == pytest.approx(max(ends))


def test_subtasks_of_a_kind_are_like_past_ones_of_that_kind() -> None:
    small, large = Use(2, 200, 0, 20, 0), Use(50, 50_000, 0, 5_000, 0)
    samples = [Sample(digest(kind), use, 100, 1.0) for kind, use in (("a", small), ("b", large)) for _ in range(4)]
    rows = [make_row(n, samples=samples, subtasks=8) for n in range(40)]
    plan = make_plan(9)

    def likely(*kinds: str) -> float:
        subtasks = [one.model_copy(update={"kind": kind}) for one, kind in zip(plan.subtasks, kinds, strict=False)]
        found = estimate(Plan(subtasks=tuple(subtasks)), 1, make_terms(), SpentSoFar(), rows)
        return found.tokens.likely - 3200  # what the orchestrator takes

    a, b = likely("a"), likely("b")
    assert a == pytest.approx(220, rel=0.15)
    assert b == pytest.approx(55_000, rel=0.15)
    assert likely("a", "b", "a", "a", "b") == pytest.approx(3 * a + 2 * b, rel=0.1)
    assert likely(*"aaaaaaaab") == pytest.approx(8 * a + b, rel=0.1)
    assert likely("", "", "", "", "", "", "", "a", "a") == pytest.approx(4 * b + 5 * a, rel=0.3)


def test_so_many_futures_tell_as_much_as_many_more(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [
        (make_plan(number), make_terms(), [make_row(n, calls=5 + n % 7) for n in range(runs)])
        for number, runs in ((2, 3), (2, 40), (8, 20), (30, 20))
    ]
    few = [estimate(plan, 1, terms, SpentSoFar(), rows) for plan, terms, rows in cases]
    monkeypatch.setattr("swarm.forecast.estimate._DRAWS", 2000)
    for told, (plan, terms, rows) in zip(few, cases, strict=True):
        sure = estimate(plan, 1, terms, SpentSoFar(), rows)
        for quantity in QUANTITIES:
            one, other = told.of(quantity), sure.of(quantity)
            assert one is not None
            assert other is not None
            for end in ("low", "likely", "high"):
                assert getattr(one, end) == pytest.approx(getattr(other, end), rel=0.2), (quantity, end)


def test_chance_is_even_and_choices_do_not_hang_together() -> None:
    chance = Chance(233)
    columns = [chance.rows(), *(chance.choice(n) for n in range(48))]
    for column in columns:
        assert max(abs(each - (n + 0.5) / 233) for n, each in enumerate(sorted(column))) < 0.025
    for one, other in itertools.combinations(columns, 2):
        assert abs(statistics.correlation(one, other)) < 0.3
    for column in chance.noise():
        assert statistics.mean(column) == pytest.approx(0, abs=0.03)
        assert statistics.stdev(column) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(("number", "runs", "most"), [(2, 0, 5_600), (2, 200, 9_000), (100, 20, 5_000)])
def test_a_preview_takes_few_steps(number: int, runs: int, most: int) -> None:
    """It comes before the first sub-agent of each run."""
    plan, terms, rows = make_plan(number), make_terms(), [make_row(n) for n in range(runs)]
    estimate(plan, 1, terms, SpentSoFar(), rows)
    called = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal called
        called += event == "call"

    sys.setprofile(count)
    try:
        estimate(plan, 1, terms, SpentSoFar(), rows)
    finally:
        sys.setprofile(None)
    assert called < most
