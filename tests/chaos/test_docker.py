"""Scenarios with real containers. One engine, which is killed: one scenario after the other."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.campaign import campaign
from tests.chaos.faults_docker import OfDocker, kinds
from tests.chaos.scenario import Scenario, Setting, draw
from tests.chaos.shapes import SHAPES
from tests.docker_engine import PrivateEngine, private_engine
from tests.warm import Warm

# The docker package leaks its socket where an engine has gone meanwhile.
LEAKS = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore:unclosed:ResourceWarning")
COUNT = int(os.environ.get("SWARM_CHAOS", "0")) // 20
"""One in twenty of the long form's scenarios: each takes ten seconds."""

ASKED = os.environ.get("SEED", "").startswith("docker")
LONG = pytest.mark.skipif(not COUNT and not ASKED, reason="only in the long form: make chaos")
pytestmark = [pytest.mark.anyio, LEAKS, LONG]

SETTING = Setting(SHAPES[0], "docker", concurrency=3, delivery="", stream=True)


def _wanted(engine: PrivateEngine) -> list[Scenario]:
    # Killed while it has containers, and gone on with: the one that no test of another kind shows.
    always = Scenario(-100, SETTING, (OfDocker("killed", engine, "tool_start", 2, 0.0),))
    if seed := os.environ.get("SEED"):
        number = int(seed.removeprefix("docker"))
        return [always if number == always.seed else draw(number, kinds(engine), ["docker"])]
    return [always, *(draw(seed, kinds(engine), ["docker"]) for seed in range(1, COUNT + 1))]


async def test_whatever_docker_does_a_run_loses_nothing_and_leaves_nothing(
    warm: Warm, docker_box: str, tmp_path: Path, require: Callable[[object, str], None]
) -> None:
    with private_engine(require) as engine:
        scenarios = _wanted(engine)
        tally = await campaign(scenarios, tmp_path, warm, at_once=1, more={"DOCKER_HOST": engine.address})
        gc.collect()  # now, where the warning is expected
    sys.stderr.write("\n".join([str(tally), *(f"  {name}: {n}" for name, n in sorted(tally.injected.items())), ""]))
    assert not tally.broken, "\n".join(f"SEED={seed}: {text}" for seed, texts in tally.broken.items() for text in texts)
