"""Filters of tokens and trajectories by how far the policy has moved on."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from swarm.rl.filters import IcePop, MisPo, Tis, fresh, step_of

FAR = math.log(2.5)


def test_mis_po_masks_tokens_and_trajectories() -> None:
    rollout = [[-1.0, -1.0, -1.0], [-1.0, -1.0], [-1.0, -9.0]]
    old = [[-1.0, -1.0, -1.0], [-1.0, -1.01], [-1.0, -1.0]]
    done = MisPo().of(old, rollout, [[1, 0, 1], [1, 1], [1, 0]])
    assert done.weights == ((1.0, 0.0, 1.0), (0.0, 0.0), (1.0, 0.0))  # the second moved by 0.5 % a token
    assert (done.rates.tokens, done.rates.tokens_kept) == (5, 3)
    assert done.rates.trajectories_rejected == pytest.approx(1 / 3)
    wide = MisPo(trajectory=(0.9, 1.1)).of(old, rollout, [[1, 0, 1], [1, 1], [1, 0]])
    assert wide.rates.tokens_rejected == 0
    single = MisPo(trajectory=(0.1, 10)).of([[0.0, FAR]], [[0.0, 0.0]], [[1, 1]])
    assert single.weights == ((1.0, 0.0),)


def test_weights_of_ice_pop_and_truncated_sampling() -> None:
    old, rollout, mask = [[FAR, -FAR, 0.0, 2.0]], [[0.0, 0.0, 0.0, 0.0]], [[1, 1, 1, 0]]
    assert IcePop((0.5, 5.0)).of(old, rollout, mask).weights[0] == pytest.approx((2.5, 0.0, 1.0, 0.0))
    assert Tis(2.0).of(old, rollout, mask).weights[0] == pytest.approx((2.0, 0.4, 1.0, 0.0))


def test_stale_segments() -> None:
    assert fresh([[7, 8], [8], [5, 8], []], now=8, most=1) == [True, True, False, False]


@pytest.mark.parametrize(
    ("version", "step"),
    [("41", 41), ("v41", 41), ("run/global_step_41", 41), ("ckpt-41", 41), ("kimi-k2.5", None), ("deepseek-v3", None)],
)
def test_the_step_of_a_version_as_endpoints_tell_it(version: str, step: int | None) -> None:
    assert step_of(version) == step


ROWS = st.lists(st.lists(st.tuples(st.floats(-20, 0), st.floats(-20, 0), st.booleans()), max_size=8), max_size=6)


@given(ROWS)
def test_tokens_of_the_environment_never_train(rows: list[list[tuple[float, float, bool]]]) -> None:
    old = [[token[0] for token in row] for row in rows]
    rollout = [[token[1] for token in row] for row in rows]
    mask = [[int(token[2]) for token in row] for row in rows]
    for rule in (MisPo(trajectory=(0.5, 2.0)), IcePop(), Tis()):
        done = rule.of(old, rollout, mask)
        for weights, ones in zip(done.weights, mask, strict=True):
            assert all(weight == 0 for weight, one in zip(weights, ones, strict=True) if not one)
        assert done.rates.tokens == sum(map(sum, mask)) >= done.rates.tokens_kept
    assert Tis().of(old, rollout, mask).rates.tokens_rejected == 0


@given(st.lists(st.tuples(st.floats(-3, 0), st.floats(-3, 0), st.booleans()), min_size=1, max_size=8))
def test_masks_and_weights_are_those_of_the_formulas(row: list[tuple[float, float, bool]]) -> None:
    """x_t = exp(old - rollout); MIS-PO keeps x_t in its band if their geometric mean is in the other; IcePop weighs by
    x_t inside of its band; TIS by the smaller of x_t and its cap."""
    columns = ([[each[n] for each in row]] for n in (0, 1))
    old, rollout = columns
    mask = [[int(each[2]) for each in row]]
    x = [math.exp(a - b) for a, b, _ in row]
    sampled = [ratio for ratio, (_, _, one) in zip(x, row, strict=True) if one]
    mean = math.prod(sampled) ** (1 / len(sampled)) if sampled else 0.0
    edges = (0.5, 2.0, 0.8, 1.25, 5.0)
    assume(all(abs(each - edge) > 1e-9 for each in (*x, mean) for edge in edges))
    good = 0.8 <= mean <= 1.25
    expected = [float(good and one and 0.5 <= ratio <= 2.0) for ratio, (_, _, one) in zip(x, row, strict=True)]
    assert list(MisPo((0.5, 2.0), (0.8, 1.25)).of(old, rollout, mask).weights[0]) == expected
    banded = [ratio if one and 0.5 <= ratio <= 5.0 else 0.0 for ratio, (_, _, one) in zip(x, row, strict=True)]
    assert IcePop().of(old, rollout, mask).weights[0] == pytest.approx(banded)
    capped = [min(ratio, 2.0) if one else 0.0 for ratio, (_, _, one) in zip(x, row, strict=True)]
    assert Tis().of(old, rollout, mask).weights[0] == pytest.approx(capped)


def test_rows_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="trajectory 0"):
        Tis().of([[0.0]], [[0.0, 0.0]], [[1]])
    with pytest.raises(ValueError, match="not finite"):
        Tis().of([[math.nan]], [[0.0]], [[1]])
    for wrong in ((0.0, 1.0), (2.0, 1.0)):
        with pytest.raises(ValueError, match="band"):
            MisPo(token=wrong)
