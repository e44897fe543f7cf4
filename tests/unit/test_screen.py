"""What the screen makes of a view, at any size."""

from __future__ import annotations

import pytest

from swarm.cli.outlook import Watcher
from swarm.cli.screen.frame import frame
from swarm.cli.screen.head import Traffic
from swarm.cli.screen.paint import Pen, Theme, cells
from swarm.cli.view import RunView, fold
from swarm.events import (
    ANY_EVENT,
    CallFinished,
    ControlUsed,
    CulpritSought,
    GateFinished,
    MergeTried,
    PatchMerged,
    RepairsStarted,
    StageStarted,
    ToolFinished,
)
from swarm.types import Plan, SubTask
from tests.unit.stories import PLAIN, START, desk_of, drawn, in_the_middle, refused, shown, stamped, told

SCREEN = """\
swarm r1 · plan · kimi                                                      0:20
Fix the tests
stage 1 · critical path 2, 2 sub-tasks left · 6 steps · 6 sub-agents, peak 5
7.2k tokens · 0 calls in flight
■ 5 using tools  · 1 waiting
plan: one sub-task a fault
  sub-agent            steps  tokens    time
■ s0 Repair fault 0     1/50    1.2k    0:12  bash pytest -q
■ s1 Repair fault 1     1/50    1.2k    0:11  bash pytest -q
■ s2 Repair fault 2     1/50    1.2k    0:10  bash pytest -q
■ s3 Repair fault 3     1/50    1.2k    0:09  bash pytest -q
■ s4 Repair fault 4     1/50    1.2k    0:08  bash pytest -q
· last Look over all                          after s4
gate on the base failed with exit code 1 after 2.5 s: pytest -q
"""


def test_the_screen_with_few_sub_agents() -> None:
    lines = drawn(in_the_middle(5), START + 20)
    assert "\n".join(text.rstrip() for text in lines) + "\n" == SCREEN


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (200, 60), (40, 12)])
def test_every_one_of_300_has_a_cell_and_the_interesting_ones_a_line(width: int, height: int) -> None:
    view = in_the_middle(300, ended=200)
    lines = shown(view, desk_of(view), width, height).split("\n")
    assert len(lines) == height
    assert all(cells(text) <= width for text in lines)
    legend = next(n for n, text in enumerate(lines) if "using tools" in text)
    header = next(n for n, text in enumerate([*lines, "  sub-agent"]) if text.startswith("  sub-agent"))
    grid = "".join(lines[legend + 1 : header])
    if height > 12:
        assert [grid.count(glyph) for glyph in "✓■·"] == [200, 100, 1]
        assert any(text.startswith("■ s2") and "bash pytest -q" in text for text in lines)
    final = drawn(fold(stamped(told(300))), START + 900, width, height - 1)
    assert any(text.startswith("merged 298 of 299 patches") for text in final)
    assert final[-1].rstrip() == "partial"
    assert height <= 12 or any(text.startswith("✗ s299 ") for text in final)


def test_thousands_are_cut_to_the_terminal() -> None:
    view = in_the_middle(3000)
    assert len(drawn(view, START, 80, 23)) <= 23


def test_what_is_left_of_limits_and_how_the_endpoint_does() -> None:
    view = RunView()
    limits = {"budget_tokens": 10_000, "budget_usd": 2.0, "timeout": 100, "max_critical_steps": 9, "concurrency": 4}
    for event in stamped(told(3))[1:]:
        view.apply(event)
        if isinstance(event, ToolFinished):
            break
    view.bounds.read(limits)
    view.bounds.since = START
    pen, traffic = Pen(200, PLAIN), Traffic(3, 8, 2, 1.5)
    screen = "\n".join(frame(view, Watcher(view), desk_of(view), pen, 40, START + 40, traffic))
    assert "left: 5.2k of 10.0k tokens · $2.00 of $2.00 · 7 of 9 critical steps · 1:00 of 1:40" in screen
    assert "3 calls in flight of 8 · 2 waiting · 1.5 calls/s let through · 4 sub-agents at once" in screen


def test_rate_limited_parked_and_paused_are_seen() -> None:
    view = in_the_middle(3)
    view.apply(refused("t0", "rate_limited", START + 495))
    assert "≈ 1 rate limited" in shown(view, desk_of(view))
    view.bounds.park = 60.0
    view.apply(refused("t1", "quota_exhausted", START + 496))
    screen = shown(view, desk_of(view))
    assert "‖ 2 parked" in screen
    assert "parked: wait" in screen
    view.apply(CallFinished(trajectory_id="t1", call_id="y", turn=2, attempt=2, accepted=True, t=START + 497))
    view.apply(ControlUsed(action="pause", t=START + 498))
    screen = shown(view, desk_of(view))
    assert "parked" not in screen
    assert "‖ 2 paused" in screen


def test_the_merge_queue_in_a_line() -> None:
    view = in_the_middle(4)
    for n in range(4):
        view.apply(MergeTried(stage=1, subtask_id=f"s{n}", clean=n < 3))
    assert "merge: 4 tried · 1 in conflict" in shown(view, desk_of(view))
    for n in range(4):
        view.apply(PatchMerged(stage=1, subtask_id=f"s{n}", merged=n < 3, reason="" if n < 3 else "conflict in a.py"))
    view.apply(CulpritSought(stage=1, commit="c", patches=3))
    assert "merged 3 of 4 patches · 1 evicted · what broke the gate is looked for among 3" in shown(
        view, desk_of(view), 100
    )
    view.apply(CulpritSought(stage=1, commit="c", patches=3, found="s1"))
    repair = SubTask(id="s3-repair", title="Bring in s3", instructions="Do.")
    view.apply(RepairsStarted(stage=1, commit="c", subtasks=[repair], repairs={"s3-repair": "s3"}))
    screen = shown(view, desk_of(view))
    assert "merged 3 of 4 patches · 1 being repaired" in screen
    assert "✗ s3:" not in screen
    assert "· s3-repair Bring in s3" in screen
    view.apply(PatchMerged(stage=1, subtask_id="s3", merged=True, repair="s3-repair"))
    view.apply(
        GateFinished(stage=1, command="pytest", commit="c", passed=True, exit_code=0, timed_out=False, output="",
                     seconds=1.0, flaky=["test_a"])
    )  # fmt: skip
    screen = shown(view, desk_of(view))
    assert "merged 4 of 4 patches" in screen
    assert "gate passed in 1.0 s (flaky" in screen


def test_the_end_is_estimated_from_those_that_are_done() -> None:
    view = in_the_middle(100, ended=60)
    outlook = Watcher(view).look(START + 500)
    assert outlook.siblings == 60
    assert outlook.seconds is not None
    assert outlook.seconds > 0
    assert (outlook.steps, outlook.subtasks) == (2, 2)  # the last one waits for one that is at work
    cyclic = Plan(subtasks=tuple(SubTask(id=i, title=i, instructions=i, depends_on=("a", "b")) for i in "ab"))
    view.apply(StageStarted(stage=1, plan=cyclic))
    assert Watcher(view).look(START + 500).seconds is None


def test_every_event_is_known_or_ignored() -> None:
    for event in stamped(told(2)):
        assert ANY_EVENT.validate_json(event.model_dump_json()) == event


def test_wide_characters_do_not_move_what_follows() -> None:
    pen = Pen(40, Theme())
    assert "\x1b[9G|" in pen.line(("日本語の題名", 8, "bold"), ("|", None, ""))
    assert cells(Pen(40, PLAIN).line(("日本語の題名", 8, ""), ("|", None, ""))) == 9
    assert "\x1b[3" not in Pen(40, Theme(colours=False)).line(("x", None, "bold red"))
