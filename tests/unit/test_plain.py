"""What plain lines make of a run."""

from __future__ import annotations

from swarm.cli.plain import PlainLines
from swarm.cli.view import RunView
from swarm.events import Event, ToolFinished
from tests.unit.stories import refused, stamped, told

GOLDEN = """\
[    0.0s] run r1: plan, kimi
[    0.0s] task: Fix the tests
[    1.0s] gate on the base: pytest -q
[    2.0s] gate on the base failed with exit code 1 after 2.5 s
[    3.0s] planner starts
[    6.0s] planner completed after 3.0 s, 1 step, 1.2k tokens: planned
[    7.0s] stage 1: 3 sub-tasks
[    7.0s]   s0: Repair fault 0
[    7.0s]   s1: Repair fault 1
[    7.0s]   last: Look over all (after s1)
[    8.0s] s0 starts in bubblewrap
[    9.0s] s1 starts in bubblewrap
[   17.0s] s0 completed after 3.0 s, 1 step, 1.2k tokens: found it
[   19.0s] s1 failed (submitted) after 3.0 s, 1 step, 1.2k tokens: found it
[   20.0s] last skipped: s1 failed
[   21.0s] s0 not merged: conflict: a.py
[   22.0s] warning: s0: slow down
[   23.0s] gate: pytest -q
[   24.0s] gate passed in 2.5 s
[   26.0s] run partial
"""


def test_plain_lines() -> None:
    view = RunView()
    plain = PlainLines(view)
    said = []
    for event in stamped(told(2)):
        view.apply(event)
        said += plain.lines(event)
    assert "\n".join(said) + "\n" == GOLDEN


def plain_lines(events: list[Event]) -> list[str]:
    view = RunView()
    plain, said = PlainLines(view), list[str]()
    for event in events:
        view.apply(event)
        said += plain.lines(event)
    return said


def test_plain_lines_of_many_are_no_flood() -> None:
    events = stamped(told(300))
    start = next(n for n, e in enumerate(events) if isinstance(e, ToolFinished))
    failures: list[Event] = [refused(f"t{n}", "rate_limited", events[start].t + n / 100) for n in range(300)]
    said = plain_lines([*events[:start], *failures, *events[start:]])
    assert sum("rate_limited" in text for text in said) == 2
    assert any("299 more calls failed: rate_limited" in text for text in said)
    assert sum("Repair fault" in text for text in said) == 20
    assert len(said) < 4 * 300
