"""Whole runs over replicas of the embedded endpoint: one slow, one that dies and comes back, one with another key."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from pydantic import SecretStr

from swarm.config import RunConfig, SandboxName
from swarm.embedded.catalog import load_policies
from swarm.embedded.faults import Fault, FaultKind, Faults
from swarm.embedded.server import running_endpoint
from swarm.embedded.wire import ChatRequest, parse_request
from swarm.events import AgentEnded, CallFinished, Event, Notice
from swarm.result import RunResult
from swarm.runtime import Swarm
from swarm.types import RunStatus
from tests.integration.conftest import Cli, Done, Files, Script, plan, submit, subtask, use

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_configuration")]
AGENTS = 9


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWARM_HOME", str(tmp_path / "home"))


@pytest.fixture
def repo(make_repo: Callable[[Files], Path]) -> Path:
    return make_repo({"a.txt": "a\n"})


@pytest.fixture
def model(script: Script) -> str:
    """Nine agents of six turns each."""
    names = [f"t{n}" for n in range(AGENTS)]
    script.planner(plan(*map(subtask, names)))
    for name in names:
        turns = [use("bash", command=f"echo {n} >> {name}.txt") for n in range(5)]
        script.agent(name, *turns, submit())
    return script.model


@asynccontextmanager
async def replica(model: str, *faults: Fault, key: str | None = None, port: int = 0) -> AsyncIterator[str]:
    policies, _ = load_policies(model.partition(":")[2])
    async with running_endpoint(policies, faults=Faults(faults), api_key=key, port=port) as url:
        yield url


@asynccontextmanager
async def _bounded() -> AsyncIterator[None]:
    with anyio.fail_after(300):
        yield


async def requests(url: str) -> int:
    async with httpx.AsyncClient(trust_env=False) as http:
        return int((await http.get(url.removesuffix("/v1") + "/health")).json()["requests"])


async def run(
    urls: list[str], box: SandboxName, repo: Path, watch: Callable[[Event], None] = lambda event: None
) -> tuple[RunResult, list[Event]]:
    events: list[Event] = []

    def see(event: Event) -> None:
        events.append(event)
        watch(event)

    config = RunConfig(
        model="embedded", base_url=tuple(urls), api_key=SecretStr("right-key-1"), sandbox=box, concurrency=AGENTS
    )
    async with Swarm(config=config) as swarm:
        return await swarm.run("x", repo=repo, on_event=see), events


def notices(events: list[Event]) -> list[str]:
    return [event.message for event in events if isinstance(event, Notice) and "isolation" not in event.message]


async def test_one_slow_and_one_with_another_key(model: str, repo: Path, box: SandboxName) -> None:
    slow = Fault(kind=FaultKind.SLOW, rate=1.0, seconds=0.5)
    async with replica(model) as good, replica(model, slow) as late, replica(model, key="right-key-2") as locked:
        result, events = await run([good, late, locked], box, repo)
        assert result.status is RunStatus.COMPLETED
        assert result.outcomes == {"completed": AGENTS}
        counts = [await requests(url) for url in (good, late, locked)]
    answered = [event for event in events if isinstance(event, CallFinished) and event.accepted]
    assert len(answered) == 1 + AGENTS * 6
    assert counts[0] >= 1
    assert counts[1] >= 1
    assert counts[2] == 0  # none with that key was served
    failed = [event.error for event in events if isinstance(event, CallFinished) and not event.accepted]
    assert set(failed) <= {"wrong_key"}
    assert len(failed) <= AGENTS  # the calls that were on their way when the first was refused, and a trial
    host = locked.removeprefix("http://").removesuffix("/v1")
    told = [text for text in notices(events) if host in text.split(" (")[0]]
    assert len(told) == min(len(failed), 1)  # where the others are quick enough it is never asked
    assert all(f"{host} is left out" in text for text in told)


async def test_one_dies_and_comes_back(model: str, repo: Path, box: SandboxName, free_port: int) -> None:
    died, back = anyio.Event(), anyio.Event()
    answered = 0

    def watch(event: Event) -> None:
        nonlocal answered
        answered += isinstance(event, CallFinished) and event.accepted
        if answered == 12:
            died.set()
        if isinstance(event, Notice) and "is left out" in event.message:
            back.set()

    slow = Fault(kind=FaultKind.SLOW, rate=1.0, seconds=0.6)
    results: list[tuple[RunResult, list[Event]]] = []
    late: list[int] = []
    async with _bounded(), replica(model, slow) as one:

        async def whole(urls: list[str]) -> None:
            results.append(await run(urls, box, repo, watch))

        async with anyio.create_task_group() as group:
            async with replica(model, slow, port=free_port) as mortal:
                group.start_soon(whole, [one, mortal])
                await died.wait()
            await back.wait()
            async with replica(model, slow, port=free_port) as mortal:
                while not results:
                    with anyio.move_on_after(0.2):
                        await anyio.sleep_forever()
                late.append(await requests(mortal))
    result, events = results[0]
    assert result.status is RunStatus.COMPLETED
    assert result.outcomes == {"completed": AGENTS}
    host = f"127.0.0.1:{free_port}"
    told = [text for text in notices(events) if text.startswith(host)]
    assert len(told) == 2
    assert "is left out" in told[0]
    assert told[1] == f"{host} is back"
    assert late[0] >= 1
    ended = [event for event in events if isinstance(event, AgentEnded)]
    assert all(event.outcome == "completed" for event in ended)


def test_the_command_line_takes_several_and_records_how_calls_went_elsewhere(
    cli: Cli, model: str, repo: Path, tmp_path: Path
) -> None:
    tape = str(tmp_path / "run.tape")
    cli.env["OPENAI_API_KEY"] = "right-key-1"

    async def whole() -> tuple[Done, list[int]]:
        async with AsyncExitStack() as stack:
            slow = Fault(kind=FaultKind.SLOW, rate=1.0, seconds=0.3)
            places = [replica(model, slow) for _ in range(3)] + [replica(model, slow, key="right-key-2")]
            urls = [await stack.enter_async_context(place) for place in places]
            args = [part for url in urls for part in ("--base-url", url)]
            done = await anyio.to_thread.run_sync(
                lambda: cli.run("x", repo, "--model", "embedded", "--record", tape, *args)
            )
            assert done.code == 0, done.err
            assert done.of("run_start")[0]["config"]["base_url"] == urls
            return done, [await requests(url) for url in urls]

    first, counts = anyio.run(whole)
    assert sum(counts[:3]) == 1 + AGENTS * 6
    assert sorted(counts[:3])[1] >= 6  # how many are asked depends on how many agents begin at once
    again = cli.run("x", repo, "--replay", tape)
    assert again.code == 0, again.err
    calls = [[(call["call_id"], call["attempt"], call["error"]) for call in each.of("call")] for each in (first, again)]
    assert calls[0] == calls[1]
    told = [[notice["message"] for notice in each.of("notice")] for each in (first, again)]
    assert told[0] == told[1]


async def test_siblings_share_their_prompt_up_to_the_sub_task(model: str, repo: Path, box: SandboxName) -> None:
    bodies: list[bytes] = []

    def keep(body: bytes, taken: Callable[[dict[str, Any]], dict[str, Any]]) -> tuple[ChatRequest, dict[str, Any]]:
        bodies.append(body)
        return parse_request(body, taken)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("swarm.embedded.app.parse_request", keep)
        async with replica(model) as url:
            await run([url], box, repo)
    firsts = [
        body for body in bodies if b'"role":"user"' in body and b"Sub-task t" in body and b'"assistant"' not in body
    ]
    assert len(firsts) == AGENTS
    heads = {body.partition(b"# Your sub-task")[0] for body in firsts}
    assert len(heads) == 1
    assert b"# The whole task" in heads.pop()
    assert len({body[body.index(b'"tools":') :] for body in firsts}) == 1
