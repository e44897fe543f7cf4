"""What plain lines and the screen make of a view."""

from __future__ import annotations

import io
from collections.abc import Callable

import anyio
import pytest
from rich.console import Console

from swarm.cli.plain import PlainLines
from swarm.cli.screen import Screen
from swarm.cli.view import RunView, fold
from swarm.events import (
    ANY_EVENT,
    ToolFinished,
)
from tests.unit.stories import START, drawn, stamped, told

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


SCREEN = """\
swarm r1 · plan · kimi                                                      0:20
Fix the tests
stage 1: 6 sub-agents, peak 5 · 6 steps · 7.2k tokens
1 waiting, 5 working
plan: one sub-task a fault
  sub-agent            steps  tokens    time
▸ s0 Repair fault 0     1/50    1.2k    0:12  bash pytest -q
▸ s1 Repair fault 1     1/50    1.2k    0:11  bash pytest -q
▸ s2 Repair fault 2     1/50    1.2k    0:10  bash pytest -q
▸ s3 Repair fault 3     1/50    1.2k    0:09  bash pytest -q
▸ s4 Repair fault 4     1/50    1.2k    0:08  bash pytest -q
· last Look over all                          after s4
gate on the base failed with exit code 1: pytest -q
"""


def test_the_screen_with_few_sub_agents() -> None:
    events = stamped(told(5))
    view = fold(events[: next(n for n, e in enumerate(events) if isinstance(e, ToolFinished))])
    assert "\n".join(text.rstrip() for text in drawn(view, START + 20)) + "\n" == SCREEN


def test_the_screen_with_a_hundred_sub_agents() -> None:
    events = stamped(told(100))
    half = [n for n, e in enumerate(events) if isinstance(e, ToolFinished)][60]
    lines = drawn(fold(events[:half]), START + 500)
    assert len(lines) == 23
    strip = lines[5] + lines[6]
    assert strip.rstrip() == "✓" * 60 + "▸" * 40 + "·"
    assert sum(text.startswith("▸ s") for text in lines) == 13
    assert lines[-2].rstrip() == "  and 88 more"
    final = drawn(fold(events), START + 900)
    assert any(text.startswith("✗ s99 ") for text in final)
    assert any(text.startswith("merged 98 of 99 patches") for text in final)
    assert final[-1].rstrip() == "partial"


class Watched(io.StringIO):
    """A terminal that tells when some text was first written, from the thread that writes."""

    def __init__(self, awaited: str, seen: Callable[[], None]) -> None:
        super().__init__()
        self._awaited = awaited
        self._seen: Callable[[], None] | None = seen

    def write(self, text: str) -> int:
        done = super().write(text)
        if self._seen is not None and self._awaited in text:
            seen, self._seen = self._seen, None
            anyio.from_thread.run_sync(seen)
        return done


@pytest.mark.anyio
async def test_the_screen_draws_the_view_and_the_last_frame() -> None:
    view = RunView()
    drawn_once = anyio.Event()
    output = Watched("sub-agents", drawn_once.set)
    console = Console(file=output, width=80, height=24, force_terminal=True, color_system=None)
    screen = Screen(view, console, clock=lambda: START + 60)
    events = stamped(told(2))
    async with anyio.create_task_group() as tasks:
        for event in events[:12]:
            view.apply(event)
        tasks.start_soon(screen.run)
        with anyio.fail_after(30):
            await drawn_once.wait()
        for event in events[12:]:
            view.apply(event)
        screen.close()
    assert output.getvalue().rstrip().removesuffix("\x1b[?25h").rstrip().endswith("partial")


def test_every_event_is_known_or_ignored() -> None:
    for event in stamped(told(2)):
        assert ANY_EVENT.validate_json(event.model_dump_json()) == event
