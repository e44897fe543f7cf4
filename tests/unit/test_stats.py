"""The arithmetic of comparing: published values, and what must hold whatever comes in."""

from __future__ import annotations

import itertools
import math
import random
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.evals.stats import (
    Interval,
    bootstrap,
    holm,
    mcnemar,
    pass_all,
    pass_at,
    quantile,
    share,
    sign_flips,
    wilson,
)

shares = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
drawn = st.integers(1, 9).flatmap(lambda n: st.tuples(st.integers(1, n), st.just(n), st.integers(0, n)))
few = settings(max_examples=50, deadline=None)


def test_published_values() -> None:
    for (successes, trials), (low, high) in {
        (15, 148): (0.0624, 0.1605),  # R. G. Newcombe, Statistics in Medicine 17 (1998), table I, method 3
        (81, 263): (0.2553, 0.3662),
        (0, 20): (0.0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }.items():
        found = wilson(successes, trials)
        assert found.low == pytest.approx(low, abs=5e-5)
        assert found.high == pytest.approx(high, abs=5e-5)
    assert mcnemar(0, 0) == 1
    assert mcnemar(1, 9) == pytest.approx(0.021484375)  # binom.test(1, 10) in R
    assert mcnemar(5, 5) == 1
    assert quantile([1, 2, 3, 4], 0.9) == pytest.approx(3.7)
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert [pass_at(1, 10, 3), pass_all(1, 10, 3)] == pytest.approx([0.3, 0.3])


@given(shares)
@few
def test_wilson_solves_its_own_equation(share: tuple[int, int]) -> None:
    """Its bounds are the shares from which the one seen is just 1.96 of *their* standard errors away."""
    successes, trials = share
    found = wilson(successes, trials)
    assert found.low is not None
    assert found.high is not None
    assert 0 <= found.low <= found.value <= found.high <= 1
    for bound in (found.low, found.high):
        if 1e-9 < bound < 1 - 1e-9:
            error = math.sqrt(bound * (1 - bound) / trials)
            assert abs(found.value - bound) == pytest.approx(1.959964 * error, rel=1e-4)


@given(drawn)
@few
def test_pass_at_and_pass_all_are_what_drawing_k_would_give(case: tuple[int, int, int]) -> None:
    k, samples, correct = case
    draws = list(itertools.combinations([True] * correct + [False] * (samples - correct), k))
    assert pass_at(k, samples, correct) == pytest.approx(fmean(map(any, draws)))
    assert pass_all(k, samples, correct) == pytest.approx(fmean(map(all, draws)))


@given(st.lists(st.sampled_from([-1.0, -0.5, -0.25, 0.0, 0.5, 1.0]), max_size=9))
@few
def test_flipping_signs_is_what_all_patterns_give(pairs: list[float]) -> None:
    sums = [
        abs(sum(s * p for s, p in zip(signs, pairs, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(pairs))
    ]
    assert sign_flips(pairs) == pytest.approx(fmean(each >= abs(sum(pairs)) - 1e-9 for each in sums))


def test_flipping_signs_by_draws_comes_near_and_is_never_nothing() -> None:
    chance = random.Random(3)
    pairs = [chance.gauss(0.4, 1) for _ in range(60)]
    z = fmean(pairs) / math.sqrt(fmean(each * each for each in pairs) / 60)
    assert sign_flips(pairs) == sign_flips(pairs) == pytest.approx(math.erfc(abs(z) / math.sqrt(2)), abs=0.02)
    assert 0 < sign_flips([1.0 + index / 100 for index in range(40)]) < 0.001


@given(st.lists(st.floats(-100, 100), min_size=6, max_size=30))
@few
def test_a_bootstrap_holds_its_mean_within_what_it_was_given(values: list[float]) -> None:
    found = bootstrap(values)
    assert found == bootstrap(values)
    if found.low is None:  # all alike
        assert max(values) - min(values) <= 1e-7
        return
    assert found.high is not None
    assert min(values) - 1e-9 <= found.low <= found.value <= found.high <= max(values) + 1e-9


def test_a_bootstrap_is_as_wide_as_theory_says_and_clusters_widen_it() -> None:
    chance = random.Random(5)
    values = [chance.gauss(10, 2) for _ in range(200)]
    found = bootstrap(values)
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.low == pytest.approx(2 * 1.96 * 2 / math.sqrt(200), rel=0.15)
    assert bootstrap([1.0]).low is None


def test_too_little_known_has_no_interval_and_sure_shares_have_wilsons() -> None:
    assert bootstrap([0.25] * 25).low is bootstrap([1.0, -2.0, 3.0, 4.0, 5.0]).low is None
    assert share([[True, True]] * 25) == wilson(25, 25)
    assert share([[False, False]] * 3) == wilson(0, 3)
    assert share([[True, False], [True, True]]) == Interval(0.75)
    assert share([[True, False], [True, True]] * 5).low is not None


def test_flipping_signs_does_not_depend_on_the_unit() -> None:
    dollars = [1e-10, 2e-10, -0.5e-10, 3e-10, 1.5e-10]
    assert sign_flips(dollars) == sign_flips([each * 1e12 for each in dollars]) < 1


def test_the_test_holds_its_level() -> None:
    """Arms that do not differ are told apart in 5 % of the cases and no more."""
    chance = random.Random(11)
    found = sum(sign_flips([chance.choice((-0.5, 0.0, 0.5, 1.0, -1.0)) for _ in range(10)]) <= 0.05 for _ in range(400))
    assert found <= 400 * 0.05 + 3 * math.sqrt(400 * 0.05 * 0.95)


def test_nonsense_is_refused() -> None:
    for call in (
        lambda: wilson(2, 1),
        lambda: wilson(0, 0),
        lambda: pass_at(3, 2, 1),
        lambda: pass_all(1, 2, 3),
        lambda: bootstrap([]),
        lambda: quantile([], 0.5),
    ):
        with pytest.raises(ValueError, match=r"share|say nothing|nothing to average|no values"):
            call()
