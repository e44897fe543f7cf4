"""`swarm.tuning`: what it sets it sets back."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from swarm.tuning import YOUNG, quiet_collector


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    frozen, thresholds = gc.get_freeze_count(), gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    if frozen:
        gc.freeze()


@pytest.mark.parametrize("frozen", [False, True])
def test_the_collector_is_quiet_until_the_end_of_the_block(frozen: bool) -> None:
    gc.unfreeze()
    if frozen:
        gc.freeze()
    before, count = gc.get_threshold(), gc.get_freeze_count()
    with pytest.raises(ValueError, match="x"), quiet_collector():
        assert gc.get_freeze_count() > 1000
        assert gc.get_threshold()[0] == max(YOUNG, before[0])
        raise ValueError("x")
    assert gc.get_threshold() == before
    assert (gc.get_freeze_count() > 0) is (count > 0) is frozen


def test_a_collector_that_was_turned_off_stays_off() -> None:
    gc.set_threshold(0, 10, 10)
    with quiet_collector():
        assert gc.get_threshold()[0] == 0
