"""`swarm.loading`: the garbage collector rests while modules are loaded, and is as it was afterwards."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator

import pytest

from swarm import loading
from swarm.loading import lightly


@pytest.fixture
def frozen() -> Iterator[None]:
    count = gc.get_freeze_count()
    yield
    if not count:
        gc.unfreeze()


@pytest.mark.usefixtures("frozen")
def test_the_collector_rests_inside_and_works_on_after(monkeypatch: pytest.MonkeyPatch) -> None:
    collected: list[str] = []

    def told(phase: str, info: dict[str, int]) -> None:
        collected.append(phase)

    gc.unfreeze()
    monkeypatch.setattr(loading, "_MANY", 0)
    gc.callbacks.append(told)
    try:
        with lightly():
            kept = [[n] for n in range(100_000)]
        assert collected == []
        assert gc.isenabled()
        assert gc.get_count()[0] < 10_000, "what was made is not young any more"
        assert gc.get_freeze_count() == 0
    finally:
        gc.callbacks.remove(told)
    assert len(kept) == 100_000


@pytest.mark.usefixtures("frozen")
def test_where_nothing_is_loaded_garbage_is_found_as_ever() -> None:
    """A service opens such blocks with each run."""
    gc.unfreeze()
    gc.collect()
    young = [[n] for n in range(500)]
    before = gc.get_count()[0]
    for _ in range(3):
        with lightly():
            pass
    assert gc.get_count()[0] >= before > 100, "they stay young"
    assert len(young) == 500


def test_the_collector_works_on_where_the_ways_of_importing_were_changed_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    with lightly():
        sys.meta_path = sys.meta_path[1:]
    assert gc.isenabled()


@pytest.mark.usefixtures("frozen")
def test_a_collector_that_somebody_set_is_left_as_it_is() -> None:
    gc.freeze()
    count = gc.get_freeze_count()
    with lightly():
        pass
    assert gc.get_freeze_count() == count > 0
    gc.disable()
    try:
        with lightly():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
