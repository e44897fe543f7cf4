"""How runs end when something stands in their way: always in order, and never worse than what was reached."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from swarm import RunConfig, RunResult, RunStatus, Swarm
from swarm.config import SandboxName, load_config
from swarm.embedded.catalog import load_policies
from swarm.embedded.server import running_endpoint
from swarm.events import AgentStarted, CallSent, Event, RunEnded, RunStarted, ToolStarted
from tests.integration.conftest import Files, Script, plan, submit, subtask, use

pytestmark = pytest.mark.anyio
WRITE_A = use("write", path="a.txt", content="A\n")


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWARM_HOME", str(tmp_path / "home"))


@pytest.fixture
def repo(make_repo: Callable[[Files], Path]) -> Path:
    return make_repo({"a.txt": "a\n"})


async def run(
    config: RunConfig, repo: Path | None, test: str | None = None, stop_at: Callable[[Event], bool] | None = None
) -> tuple[RunResult, list[Event]]:
    seen: list[Event] = []
    stop = anyio.Event()

    def watch(event: Event) -> None:
        seen.append(event)
        if stop_at is not None and stop_at(event):
            stop.set()

    with anyio.fail_after(300):
        async with Swarm(config=config) as swarm:
            return await swarm.run("x", repo=repo, test=test, on_event=watch, stop=stop), seen


async def test_a_hanging_aggregator_gives_way_and_the_texts_are_kept(script: Script, box: SandboxName) -> None:
    script.planner(plan(subtask("one"), subtask("two")))
    script.agent("one", {"content": "the first half"})
    script.agent("two", {"content": "the second half"})
    script.rules.append({"role": "aggregator", "turns": [{"content": "never", "first_token_s": 1000}]})

    def aggregator_asks(event: Event) -> bool:
        return isinstance(event, CallSent) and event.trajectory_id == "aggregator-1"

    result, _ = await run(RunConfig(model=script.model, sandbox=box), None, stop_at=aggregator_asks)
    assert (result.status, result.exit_code) == (RunStatus.CANCELLED, 130)
    assert "the first half" in result.answer
    assert "the second half" in result.answer


async def test_a_useless_second_plan_does_not_spoil_the_first_stage(
    script: Script, repo: Path, box: SandboxName
) -> None:
    script.planner(plan(subtask("one"), subtask("two")), {"content": "I do not know what else to do."})
    script.agent("one", WRITE_A, submit())
    script.agent("two", use("bash", command="true"), submit("nothing found", "failed"))
    result, events = await run(RunConfig(model=script.model, sandbox=box), repo, "grep A a.txt")
    assert (result.status, result.exit_code) == (RunStatus.PARTIAL, 1)
    assert result.patch_path is not None
    assert any(event.type == "notice" and "no plan that can be run" in event.message for event in events)


async def test_no_further_stage_is_planned_when_all_agents_are_used(
    script: Script, repo: Path, box: SandboxName
) -> None:
    script.planner(plan(subtask("one")))
    script.agent("one", use("bash", command="true"), submit("nothing found", "failed"))
    result, _ = await run(RunConfig(model=script.model, sandbox=box, max_agents=1), repo)
    assert (result.status, result.n_subagents) == (RunStatus.FAILED, 1)
    assert result.usage.calls == 3


async def test_work_that_is_done_with_the_last_critical_step_is_done(
    script: Script, repo: Path, box: SandboxName
) -> None:
    script.planner(plan(subtask("one")))
    script.agent("one", WRITE_A, submit())
    config = RunConfig(model=script.model, sandbox=box, max_critical_steps=3)
    result, _ = await run(config, repo, "grep A a.txt")
    assert (result.status, result.critical_steps) == (RunStatus.COMPLETED, 3)
    result, _ = await run(config.model_copy(update={"max_critical_steps": 1}), repo)
    assert (result.status, result.exit_code, result.critical_steps) == (RunStatus.BUDGET_EXHAUSTED, 4, 1)


async def test_parallel_agents_share_a_token_budget_instead_of_starving_on_reservations(
    script: Script, repo: Path, box: SandboxName
) -> None:
    names = [f"t{n}" for n in range(6)]
    script.planner(plan(*map(subtask, names)))
    for name in names:
        script.agent(name, use("write", path=f"{name}.txt", content="x"), submit())
    free, _ = await run(RunConfig(model=script.model, sandbox=box), repo)
    used = free.usage.prompt_tokens + free.usage.completion_tokens
    result, _ = await run(RunConfig(model=script.model, sandbox=box, budget_tokens=2 * used), repo)
    assert result.status is RunStatus.COMPLETED
    assert result.usage.prompt_tokens + result.usage.completion_tokens <= 2 * used


async def test_a_native_cancellation_leaves_the_result_as_well(
    script: Script, repo: Path, box: SandboxName, tmp_path: Path
) -> None:
    script.planner(plan(subtask("one")))
    script.agent("one", use("bash", command="sleep 1000"), submit())
    at_work = asyncio.Event()
    seen: list[Event] = []

    def watch(event: Event) -> None:
        seen.append(event)
        if isinstance(event, ToolStarted):
            at_work.set()

    async def whole() -> None:
        async with Swarm(config=RunConfig(model=script.model, sandbox=box)) as swarm:
            await swarm.run("x", repo=repo, on_event=watch)

    async with asyncio.timeout(90):
        task = asyncio.ensure_future(whole())
        await at_work.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    last = seen[-1]
    assert isinstance(last, RunEnded)
    assert last.status is RunStatus.CANCELLED
    (folder,) = (tmp_path / "home/runs").iterdir()
    assert (folder / "result.json").exists()


async def test_names_of_the_runtime_are_refused(script: Script, repo: Path, box: SandboxName) -> None:
    script.planner(plan(subtask("orchestrator")), plan(subtask("one")))
    script.agent("one", WRITE_A, submit())
    result, events = await run(RunConfig(model=script.model, sandbox=box), repo)
    assert result.status is RunStatus.COMPLETED
    started = [event.trajectory_id for event in events if isinstance(event, AgentStarted)]
    assert started == ["orchestrator", "one"]


async def test_a_running_endpoint_serves_a_run_by_the_name_that_it_lists(
    script: Script, repo: Path, box: SandboxName, monkeypatch: pytest.MonkeyPatch
) -> None:
    script.planner(plan(subtask("one")))
    script.agent("one", WRITE_A, submit())
    policies, faults = load_policies(script.model.partition(":")[2])
    async with running_endpoint(policies, faults=faults) as url:
        result, events = await run(load_config({"model": "embedded", "base_url": url, "sandbox": box}), repo)
        first = events[0]
        assert isinstance(first, RunStarted)
        assert set(first.endpoints.values()) == {url.removeprefix("http://").removesuffix("/v1")}
        assert result.status is RunStatus.COMPLETED
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        assert load_config({"model": "embedded"}).base_url is None
        assert load_config({"model": "script"}).base_url == url
