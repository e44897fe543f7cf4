"""Scenarios that once broke something: what they found, they keep found. Their numbers are below 0: none is drawn."""

from __future__ import annotations

from collections.abc import Sequence

from tests.chaos.faults_machine import ROOT, Confined, Limit, groups_of
from tests.chaos.faults_program import Accident
from tests.chaos.launcher import Act
from tests.chaos.scenario import Scenario, Setting
from tests.chaos.shapes import SHAPES

PLAN, PLAN_AGAIN, *_ = SHAPES
_CONFINED = -10


def regressions(box: str) -> Sequence[Scenario]:
    """All of them, but for those whose fault this machine cannot bring about."""
    return tuple(each for each in _all(box) if (ROOT and groups_of("pids")) or each.seed != _CONFINED)


def _all(box: str) -> Sequence[Scenario]:
    return (
        # Killed after its last word, it was told when it was resumed that it had ended, and its lease stayed. Killed
        # right after its branch was made, it could not be resumed with it: the branch was there already.
        Scenario(
            -1,
            Setting(PLAN, box, concurrency=2, delivery="branch", stream=True),
            (
                Accident(
                    "kill",
                    ((0, Act("parquet", 1, "kill", "before")), (1, Act("branch", 1, "kill", "after"))),
                ),
            ),
        ),
        # A call whose beginning could not be recorded was sent all the same, paid, and made again.
        Scenario(
            -2,
            Setting(PLAN_AGAIN, "process", concurrency=3, delivery="", stream=True),
            (Accident("full", ((0, Act("event:call_sent", 3, "full", "before")),)),),
        ),
        # Without a thread for the journal whoever waited for it waited for ever.
        Scenario(
            _CONFINED,
            Setting(PLAN_AGAIN, "process", concurrency=3, delivery="", stream=True),
            (Confined("pids", 3),),
        ),
        # A tool was told that the host had no open files left, and the agent went on as if its work had been done.
        Scenario(
            -11,
            Setting(PLAN, box, concurrency=3, delivery="", stream=True),
            (Limit("open files", 72),),
        ),
    )
