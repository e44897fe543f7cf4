"""What is kept of runs for forecasts, and read again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

from swarm.events import (
    AgentEnded,
    AgentStarted,
    CallFinished,
    CostPreviewed,
    Event,
    Notice,
    PreviewHeld,
    RunEnded,
    RunStarted,
    StageStarted,
)
from swarm.forecast import history
from swarm.forecast.measured import Measured
from swarm.forecast.previewer import Previewer, keep
from swarm.forecast.rows import Sample, StageRow, Use, digest
from swarm.journal.totals import Totals
from swarm.preview import Preview, Range
from swarm.result import RunResult, Spent
from swarm.testing import RecordingSink
from swarm.types import Outcome, Plan, Role, RunStatus, SubTask, Usage
from tests.unit.forecast_rows import make_plan, make_row, make_terms


def journal(name: str, secret: str = "sk-secret") -> list[Event]:
    """A run of two sub-tasks, as a journal holds it."""
    plan = Plan(
        subtasks=(
            SubTask(id="one", title=secret, instructions=secret, kind=secret),
            SubTask(id="two", title=secret, instructions=secret, depends_on=("one",)),
        )
    )
    said = Range(low=1, likely=100, high=1000)
    preview = Preview(stage=1, subtasks=2, usd=said, tokens=said, calls=said, wall_s=said, critical_steps=said)
    usage = Usage(prompt_tokens=100, completion_tokens=10, cached_tokens=40, calls=1)
    events: list[Event] = [
        RunStarted(
            task=secret, task_sha256="", mode="plan", swarm_version="", config={"concurrency": 2}, config_sha256="",
            models={"subagent": secret}, repo=f"/{secret}",
        ),
        AgentStarted(trajectory_id="orchestrator", role=Role.ORCHESTRATOR, name="o", trainable=True),
        CallFinished(trajectory_id="orchestrator", call_id="o/1", turn=1, attempt=1, accepted=True, usage=usage),
        CostPreviewed(preview=preview),
        StageStarted(stage=1, plan=plan),
    ]  # fmt: skip
    for subtask in plan.subtasks:
        events.append(
            AgentStarted(trajectory_id=subtask.id, role=Role.SUBAGENT, name=subtask.id, trainable=False, stage=1,
                         subtask=subtask)
        )  # fmt: skip
        for turn in (1, 2, 3):
            events.append(
                CallFinished(trajectory_id=subtask.id, call_id=f"{subtask.id}/{turn}", turn=turn, attempt=1,
                             accepted=True, usage=usage)
            )  # fmt: skip
        events.append(
            AgentEnded(trajectory_id=subtask.id, outcome=Outcome.COMPLETED, stop="x", terminated=True, truncated=False)
        )
    result = RunResult(
        run_id=name, status=RunStatus.COMPLETED, exit_code=0, answer=secret, run_dir="", cost_usd=0.5, wall_s=20,
        usage=Spent(prompt_tokens=700, completion_tokens=70, calls=7), critical_steps=4,
    )  # fmt: skip
    events.append(RunEnded(status=result.status, exit_code=0, result=result.model_dump(mode="json")))
    for n, event in enumerate(events):
        event.seq, event.run_id, event.t, event.mono = n, name, 1e9 + n, float(n)
    return events


def test_numbers_are_kept_of_a_run_and_no_words() -> None:
    events, measured = journal("r"), Measured()
    for event in events:
        measured.observe(event)
    ended = events[-1]
    assert isinstance(ended, RunEnded)
    result = RunResult.model_validate(ended.result)
    held = measured.held(result)
    assert held is not None
    assert {name: (one.actual, one.held) for name, one in held.held.items()} == {
        "usd": (0.5, False),
        "tokens": (770, True),
        "calls": (7, True),
        "wall_s": (19, True),  # a second of it was the user's
        "critical_steps": (4, True),
    }
    measured.observe(held)
    row = measured.row(result)
    assert row is not None
    assert row.samples[0] == Sample(digest("sk-secret"), Use(3, 300, 120, 30, 0), 100, 4.0)
    assert row.stages == (StageRow(660, 0.0, 0),)
    assert row.held == held.held
    assert "secret" not in row.model_dump_json()
    assert measured.row(result.model_copy(update={"status": RunStatus.CANCELLED})) is None


def test_the_newest_runs_count_and_gone_or_damaged_ones_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [make_row(n) for n in range(4)]
    assert history.past_rows(tmp_path / "runs") == ()
    for n, row in enumerate(rows):
        folder = tmp_path / row.run
        folder.mkdir()
        history.keep_row(folder, row)
        os.utime(folder / history.FILE, (n, n))
    (tmp_path / "crashed").mkdir()
    assert history.past_rows(tmp_path) == tuple(rows)
    (tmp_path / rows[1].run / history.FILE).unlink()
    (tmp_path / rows[0].run / history.FILE).write_bytes(b"{}")
    os.utime(tmp_path / rows[0].run / history.FILE, (0, 0))
    assert history.past_rows(tmp_path) == (rows[2], rows[3])
    monkeypatch.setattr(history, "MOST_RUNS", 1)
    assert history.past_rows(tmp_path) == (rows[3],)


def test_what_past_runs_tell_costs_no_more_the_more_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is read once, and of many the newest are looked at."""
    monkeypatch.setattr(history, "MOST_RUNS", 3)
    monkeypatch.setattr(history, "_LOOKED_AT", 5)
    rows = [make_row(n) for n in range(5)]
    before = history._row.cache_info().misses
    for n, row in enumerate(rows):
        (tmp_path / row.run).mkdir()
        history.keep_row(tmp_path / row.run, row)
        for _ in range(2):
            assert history.past_rows(tmp_path) == tuple(rows[max(0, n - 2) : n + 1])
    assert history._row.cache_info().misses - before == len(rows)
    history._row.cache_clear()
    with monkeypatch.context() as short:
        short.setattr(Path, "read_bytes", lambda path: os.open(f"{path}/no", os.O_RDONLY))
        assert history.past_rows(tmp_path) == ()
    assert history.past_rows(tmp_path) == tuple(rows[-3:]), "what could not be read once is asked for again"
    for n in range(4):
        (tmp_path / f"z-{n}").mkdir()  # such as rollouts, which keep none
    assert history.past_rows(tmp_path) == (rows[-1],)


@pytest.mark.anyio
async def test_a_row_that_cannot_be_kept_is_told(tmp_path: Path) -> None:
    events, measured, sink = journal("r"), Measured(), RecordingSink()
    for event in events:
        measured.observe(event)
    ended = events[-1]
    assert isinstance(ended, RunEnded)
    await keep(tmp_path / "gone", measured, RunResult.model_validate(ended.result), sink)
    held, notice = sink.events
    assert isinstance(held, PreviewHeld)
    assert isinstance(notice, Notice)
    assert "left out of later cost previews" in notice.message


@pytest.mark.anyio
async def test_past_runs_are_read_where_the_preview_is_made_and_what_cannot_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hops: list[Any] = []
    real = anyio.to_thread.run_sync

    async def counted(work: Any, *given: Any) -> Any:
        hops.append(work)
        return await real(work, *given)

    monkeypatch.setattr(anyio.to_thread, "run_sync", counted)
    (tmp_path / "run-001").mkdir()
    history.keep_row(tmp_path / "run-001", make_row(1))
    sink = RecordingSink()
    found = await Previewer(tmp_path, make_terms(), Totals(), sink, asks=True).preview(make_plan(2), 1)
    assert found is not None
    assert found.basis.repository == 1
    assert [type(event) for event in sink.events] == [CostPreviewed]
    assert len(hops) == 1
    sink.events.clear()
    unreadable = Previewer(tmp_path / "run-001" / history.FILE, make_terms(), Totals(), sink, asks=True)
    for stage in (1, 2):
        assert (await unreadable.preview(make_plan(2), stage)) is not None
    assert [type(event) for event in sink.events] == [Notice, CostPreviewed, CostPreviewed]
    assert isinstance(sink.events[0], Notice)
    assert "left out of the cost preview" in sink.events[0].message
