"""`from swarm import Swarm`: what a program that embeds it relies on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from swarm import RunConfig, RunResult, RunStatus, Swarm, SwarmError
from swarm.config import SandboxName
from swarm.errors import UsageError
from swarm.events import AgentEnded, Event, RunEnded, ToolStarted
from swarm.journal.reader import read_events
from tests.integration.conftest import Files, Script, plan, submit, subtask, use

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWARM_HOME", str(tmp_path / "home"))


@pytest.fixture
def repo(make_repo: Callable[[Files], Path]) -> Path:
    return make_repo({"a.txt": "a\n"})


@pytest.fixture
def writer(script: Script, box: SandboxName) -> RunConfig:
    script.planner(plan(subtask("one")))
    script.agent("one", use("write", path="a.txt", content="A\n"), submit())
    return RunConfig(model=script.model, sandbox=box)


@pytest.fixture
def sleeper(script: Script, box: SandboxName) -> RunConfig:
    script.planner(plan(subtask("one")))
    script.agent("one", use("bash", command="sleep 1000"), submit())
    return RunConfig(model=script.model, sandbox=box)


async def test_many_runs_of_one_swarm_at_once(writer: RunConfig, repo: Path) -> None:
    results: list[RunResult] = []

    async with Swarm(config=writer) as swarm:

        async def one() -> None:
            results.append(await swarm.run("x", repo=repo, test="grep A a.txt"))

        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(one)
    assert [result.status for result in results] == [RunStatus.COMPLETED] * 4
    assert len({result.run_id for result in results}) == 4


async def test_a_stream_gives_the_events_that_the_journal_holds(writer: RunConfig, repo: Path) -> None:
    async with Swarm(config=writer) as swarm:
        events = [event async for event in swarm.stream("x", repo=repo)]
    last = events[-1]
    assert isinstance(last, RunEnded)
    assert RunResult.model_validate(last.result).status is RunStatus.COMPLETED
    assert list(read_events(Path(last.result["run_dir"]) / "events.jsonl")) == events


async def test_breaking_off_a_stream_stops_the_run(sleeper: RunConfig, repo: Path, tmp_path: Path) -> None:
    with anyio.fail_after(300):
        async with Swarm(config=sleeper) as swarm:
            async for event in swarm.stream("x", repo=repo):
                if isinstance(event, ToolStarted):
                    break
    (folder,) = (tmp_path / "home/runs").iterdir()
    ended = list(read_events(folder / "events.jsonl"))[-1]
    assert isinstance(ended, RunEnded)
    assert ended.status is RunStatus.CANCELLED


async def test_cancelling_the_callers_scope_ends_the_run_in_order(
    sleeper: RunConfig, repo: Path, tmp_path: Path
) -> None:
    seen: list[Event] = []
    with anyio.fail_after(300):
        with anyio.CancelScope() as scope:

            def watch(event: Event) -> None:
                seen.append(event)
                if isinstance(event, ToolStarted):
                    scope.cancel()

            async with Swarm(config=sleeper) as swarm:
                await swarm.run("x", repo=repo, on_event=watch)
        assert scope.cancelled_caught
    ended = seen[-1]
    assert isinstance(ended, RunEnded)
    assert (ended.status, ended.exit_code) == (RunStatus.CANCELLED, 130)
    assert [event.outcome for event in seen if isinstance(event, AgentEnded)] == ["cancelled", "cancelled"]
    (folder,) = (tmp_path / "home/runs").iterdir()
    assert (folder / "result.json").exists()
    assert not list((folder.parents[1] / "leases").glob("[!.]*"))


async def test_leaving_the_block_ends_the_runs_of_other_tasks_in_order(sleeper: RunConfig, repo: Path) -> None:
    seen: list[Event] = []
    begun = anyio.Event()

    def watch(event: Event) -> None:
        seen.append(event)
        if isinstance(event, ToolStarted):
            begun.set()

    async def one(swarm: Swarm) -> None:
        with pytest.raises(UsageError, match="closed while the run was at work"):
            await swarm.run("x", repo=repo, on_event=watch)

    with anyio.fail_after(300):
        async with anyio.create_task_group() as group:
            async with Swarm(config=sleeper) as swarm:
                group.start_soon(one, swarm)
                await begun.wait()
            ended = seen[-1]  # by then, and not later
            assert isinstance(ended, RunEnded)
            assert ended.status is RunStatus.CANCELLED


async def test_a_swarm_is_open_once_at_a_time(writer: RunConfig, repo: Path) -> None:
    swarm = Swarm(config=writer)
    for _ in range(2):
        async with swarm:
            with pytest.raises(UsageError, match="open already"):
                async with swarm:
                    pass
            assert (await swarm.run("x", repo=repo)).exit_code == 0


async def test_what_nobody_would_await_is_refused(writer: RunConfig, tmp_path: Path) -> None:
    async def on_event(event: Event) -> None: ...

    async with Swarm(config=writer) as swarm:
        with pytest.raises(UsageError, match="on_event is a coroutine function"):
            await swarm.run("x", on_event=on_event)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="where an event loop runs"):
            Swarm(config=writer).run_sync("x")
    assert not (tmp_path / "home/runs").exists()


async def test_a_time_limit_keeps_what_is_done(
    script: Script, repo: Path, box: SandboxName, skip_time: Callable[[float], None]
) -> None:
    script.planner(plan(subtask("one"), subtask("two", depends_on=["one"])))
    script.agent("one", use("write", path="a.txt", content="A\n"), submit())
    script.agent("two", use("bash", command="sleep 1000"), submit())
    config = RunConfig(model=script.model, sandbox=box, timeout=100)

    def watch(event: Event) -> None:
        if isinstance(event, ToolStarted) and event.trajectory_id == "two":
            skip_time(95)  # what is kept for the end is left

    with anyio.fail_after(300):
        async with Swarm(config=config) as swarm:
            result = await swarm.run("x", repo=repo, on_event=watch)
    assert (result.status, result.exit_code) == (RunStatus.PARTIAL, 1)
    assert result.outcomes == {"completed": 1, "timed_out": 1}
    assert result.patch_path is not None


async def test_what_cannot_be_used_raises_before_a_run_is_begun(writer: RunConfig, tmp_path: Path) -> None:
    async with Swarm(config=writer) as swarm:
        with pytest.raises(SwarmError, match="the task is empty"):
            await swarm.run("  ")
        with pytest.raises(SwarmError, match="git"):
            await swarm.run("x", repo=tmp_path)
        with pytest.raises(SwarmError, match="git"):
            async for _ in swarm.stream("x", repo=tmp_path):
                pass
    with pytest.raises(SwarmError, match="not open"):
        await swarm.run("x")
    with pytest.raises(SwarmError, match="the task is empty"):  # as it is, not in an exception group
        async with Swarm(config=writer) as swarm:
            await swarm.run("")
    assert not (tmp_path / "home/runs").exists()


def test_run_sync_is_for_programs_without_a_loop(writer: RunConfig, repo: Path) -> None:
    assert Swarm(config=writer).run_sync("x", repo=repo).exit_code == 0
