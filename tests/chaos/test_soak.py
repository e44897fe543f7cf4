"""A soak, as short as it can be and still tell: flat where nothing leaks, and not where something does.

The long one is `python -m tests.soak` (see docs/soak.md); `make chaos` makes one of a minute.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from swarm import RunResult
from tests.soak.drive import Load, Tally, soak
from tests.soak.kinds import KINDS, Draw, plainly
from tests.soak.place import Place, open_place
from tests.soak.verdict import leaks, read_samples

LONG = "SWARM_CHAOS" in os.environ


async def briefly(draw: Draw) -> list[RunResult]:
    """The least of runs."""
    config = draw.config.model_copy(update={"mode": "single", "test": None})
    return await plainly(replace(draw, config=config, repo=None))


SHORT = Load(seconds=0, lap_s=60, sandboxes={"process": 1}, lap_runs=2, at_once=2, least=6, kinds={briefly: 1})


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("soak")
    with open_place(folder / "place", 0, 1, with_engine=False) as found:
        anyio.run(soak, found, replace(SHORT, least=1), folder / "samples.jsonl")
        gc.collect()
        gc.freeze()  # what was imported and made before is not looked at in every sample
        try:
            yield found
        finally:
            gc.unfreeze()


def test_runs_leave_nothing_in_their_process(place: Place, tmp_path: Path) -> None:
    tally = anyio.run(soak, place, SHORT, tmp_path / "samples.jsonl")
    assert tally.statuses == {"completed": tally.runs}
    # In a process that has run other tests the allocator gives and takes more than in one of its own.
    assert (tally.wrong, leaks(read_samples(tmp_path / "samples.jsonl"), slack=2)) == ([], [])


EVERYTHING = Load(
    seconds=0, lap_s=600, sandboxes={"process": 2, "bubblewrap": 1}, lap_runs=6, at_once=3, least=8, kinds=KINDS, seed=5
)


@pytest.mark.skipif(not LONG, reason="the long form: make chaos")
@pytest.mark.usefixtures("bubblewrap_box")
def test_a_minute_of_everything_stays_flat(tmp_path: Path) -> None:
    with open_place(tmp_path / "place", 0.06, 5, with_engine=False) as place:
        anyio.run(soak, place, replace(EVERYTHING, least=1, lap_runs=15, seed=4), tmp_path / "warm.jsonl")
        tally = anyio.run(soak, place, EVERYTHING, tmp_path / "samples.jsonl")
    # Few runs, many kinds: what is made once for each kind still shows.
    assert (tally.wrong, leaks(read_samples(tmp_path / "samples.jsonl"), slack=3)) == ([], [])


LARGE = 36 << 20
"""Bytes that the allocator never takes from what it holds already (its limit for that grows to 32 MiB)."""


class Crumb:
    """What a leak keeps."""


def test_what_grows_with_the_runs_is_found(place: Place, tmp_path: Path) -> None:
    kept: list[object] = []

    async def leaking() -> Tally:
        async with anyio.create_task_group() as group:

            async def spoil() -> None:
                kept.append(bytearray(b"x" * LARGE))
                kept.extend(Crumb() for _ in range(50))
                kept.append(os.open("/dev/null", os.O_RDONLY))
                (place.folder / "tmp" / f"left-{len(kept)}").touch()
                group.start_soon(anyio.sleep_forever)

            tally = await soak(place, replace(SHORT, afterwards=spoil), tmp_path / "samples.jsonl")
            group.cancel_scope.cancel()
        return tally

    try:
        tally = anyio.run(leaking)
    finally:
        for each in kept:
            if isinstance(each, int):
                os.close(each)
    found = {line.partition(": ")[0].rpartition(".")[2] for line in leaks(read_samples(tmp_path / "samples.jsonl"))}
    assert {"tasks", "temporary", "descriptors", "uss_mb", "rss_mb", "Crumb"} <= found
    assert tally.wrong == []
