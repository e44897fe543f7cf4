"""`swarm.tuning`: what it sets it sets back."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from swarm.cli.evals.foreground import foreground
from swarm.errors import MachineError
from swarm.tuning import YOUNG, has_fast_loop, quiet_collector


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


def test_arrow_takes_its_memory_from_the_c_library_unless_somebody_says_otherwise() -> None:
    pytest.importorskip("pyarrow", reason="run by tests/interop/test_arrow.py")
    told = "import os; os.environ.pop(NAME, 0); {}; from swarm.tuning import spare_arrow as s; s(); import pyarrow as a"
    for said, backend in (("0", "system"), ("os.environ[NAME] = 'mimalloc'", "mimalloc")):
        code = f"NAME = 'ARROW_DEFAULT_MEMORY_POOL'; {told.format(said)}; print(a.default_memory_pool().backend_name)"
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert found.stdout.strip() == backend


def test_an_evaluation_runs_as_a_run_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the fast event loop where there is one, with a quiet collector, and Arrow's memory from the C library."""
    monkeypatch.setenv("ARROW_DEFAULT_MEMORY_POOL", "")  # put back at the end as it was
    monkeypatch.delenv("ARROW_DEFAULT_MEMORY_POOL")
    found: list[object] = []

    async def work(halt: Any, observe: Any) -> Any:
        found.append(type(asyncio.get_running_loop()).__module__.partition(".")[0])
        found.append(gc.get_threshold()[0])
        raise MachineError("seen")

    with pytest.raises(MachineError, match="seen"):
        foreground(work, json=True)
    assert found == ["uvloop" if has_fast_loop() else "asyncio", YOUNG]
    assert os.environ["ARROW_DEFAULT_MEMORY_POOL"] == "system"
