"""Seeded scenarios: a real run that meets with faults, gone on with until it ends, and what must hold then.

make chaos                  the long form: 1,000 scenarios
SEED=17 make chaos          one scenario, the same every time
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.chaos.campaign import campaign
from tests.chaos.faults import KINDS
from tests.chaos.faults_machine import groups_of
from tests.chaos.regressions import regressions
from tests.chaos.scenario import Scenario, draw
from tests.warm import Warm

SHORT = range(1, 3)
"""The seeds of the short form."""


def _wanted(box: str) -> Sequence[Scenario]:
    boxes = sorted({"process", box})
    known = {scenario.seed: scenario for scenario in regressions(box)}
    if seed := os.environ.get("SEED"):
        return [known.get(int(seed)) or draw(int(seed), KINDS, boxes)]
    first, count = int(os.environ.get("SWARM_CHAOS_FIRST", "1")), int(os.environ.get("SWARM_CHAOS", "0"))
    seeds = range(first, first + count) if count else SHORT
    return [*known.values(), *(draw(seed, KINDS, boxes) for seed in seeds)]


@pytest.mark.anyio
async def test_whatever_goes_wrong_a_run_loses_nothing_and_leaves_nothing(warm: Warm, box: str, tmp_path: Path) -> None:
    at_once = int(os.environ.get("SWARM_CHAOS_AT_ONCE", str(3 * (os.cpu_count() or 2))))
    tally = await campaign(_wanted(box), tmp_path, warm, at_once=at_once, more={})
    sys.stderr.write("\n".join([str(tally), *(f"  {name}: {n}" for name, n in sorted(tally.injected.items())), ""]))
    assert not tally.broken, "\n".join(f"SEED={seed}: {text}" for seed, texts in tally.broken.items() for text in texts)
    assert not [seed for seed in tally.unhurt if seed < 0], "what once broke something was not done again"


def test_limits_are_known_where_control_groups_are_of_version_2(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "groups").mkdir()
    (tmp_path / "groups/cgroup.subtree_control").write_text("cpuset cpu io memory pids\n")
    mount = f"30 20 0:26 / {tmp_path}/groups rw,nosuid - cgroup2 cgroup2 rw\n"
    (tmp_path / "proc/self/mountinfo").write_text(mount)
    (tmp_path / "proc/self/cgroup").write_text("0::/user.slice/session-1.scope\n")
    for name in ("pids", "memory"):
        place = groups_of(name, tmp_path / "proc")
        assert place is not None
        assert (place.version, place.parent) == (2, tmp_path / "groups")
