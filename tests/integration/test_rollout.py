"""Rollouts over the real runtime: groups, pauses, what is gone on with first, and what the machine failed."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from math import nan
from pathlib import Path

import anyio
import pytest

from swarm import Parts, Swarm
from swarm.calls import ModelRequest
from swarm.config import Rollout, RunConfig
from swarm.embedded.policy import PolicyReply, PolicyRequest, PolicyToolCall
from swarm.embedded.server import running_endpoint
from swarm.errors import EndpointError, EndpointFault, UsageError
from swarm.events import CallFinished, RunStarted
from swarm.journal.reader import hold_journal
from swarm.journal.validation import validate
from swarm.rl.episode import read_episode
from swarm.rl.reading import RunLog, events_of
from swarm.rl.rewards import perf_judged
from swarm.rl.rollout import Bounds, Rolled, Rollouts
from swarm.rl.rollouts import learners, reward
from swarm.rl.tasks.answers import exact
from swarm.rl.tasks.task import Task, by_score, perf
from swarm.testing import FakeBackend, ScriptedModel

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SWARM_HOME", str(tmp_path / "home"))
    yield


class Learner:
    """A policy that registers a sub-agent and then answers; told to be slow, the answer waits until it is released."""

    name = "embedded"

    def __init__(self) -> None:
        self.version = "v1"
        self.released = threading.Event()
        self.asked: list[tuple[str, int]] = []

    def reply(self, request: PolicyRequest) -> PolicyReply:
        task = next(word for word in str(request.messages[1]["content"]).split() if word.startswith("task-"))
        turn = sum(message["role"] == "assistant" for message in request.messages)
        self.asked.append((task, turn))
        if turn == 0:
            return PolicyReply(
                tool_calls=(PolicyToolCall("create_subagent", '{"name": "w", "system_prompt": "you write"}'),)
            )
        if task == "task-slow" and self.version == "v1":
            self.released.wait()
        return PolicyReply("Answer: 42")


@asynccontextmanager
async def learning(policy: Learner) -> AsyncIterator[Swarm]:
    async with running_endpoint({"embedded": policy}) as url:
        config = RunConfig(mode="parl", model="embedded", base_url=url, seed=7)
        async with Swarm(config=config, parts=Parts(backend=FakeBackend())) as swarm:
            try:
                yield swarm
            finally:
                policy.released.set()


async def taken(done: AsyncIterator[Rolled]) -> list[Rolled]:
    return [rolled async for rolled in done]


async def test_groups_are_rolled_out_and_judged_and_what_is_slow_goes_on_first(tmp_path: Path) -> None:
    policy, tasks = Learner(), [Task(id=name, prompt=f"do task-{name}", answer="42") for name in ("quick", "slow")]
    async with learning(policy) as swarm:
        rollouts = Rollouts(swarm, tmp_path / "r", Bounds(k=3, batch_fraction=0.5, grace=0), by_score(exact, "exact"))
        async with rollouts.iteration(tasks, weights=Rollout(lambda1=0.5, anneal_step=4)) as done:
            first = await taken(done)
        own = first[0].group_id.removesuffix("1/quick")
        assert sorted((each.group_id, each.index) for each in first) == [(f"{own}1/quick", n) for n in range(3)]
        assert {each.segments for each in first} == {(("v1",),)}
        assert policy.asked.count(("task-slow", 0)) == 3

        policy.version = "v2"
        policy.released.set()
        again = Rollouts(swarm, tmp_path / "r", Bounds(k=1), by_score(exact, "exact"))  # as a new process would
        async with again.iteration(tasks[:1]) as done:
            second = await taken(done)
        assert sorted((each.group_id, each.index) for each in second) == [
            *((f"{own}1/slow", index) for index in range(3)),
            (f"{own}2/quick", 0),
        ]
        assert policy.asked.count(("task-slow", 0)) == 3, "what was answered is not asked again"
    slow = [each for each in second if each.task.id == "slow"]
    assert {each.segments for each in slow} == {(("v1",), ("v2",))}
    seeds: set[int | None] = set()
    for each in (*first, *second):
        assert each.folder is not None
        assert list(validate(each.folder)) == []
        events = list(events_of(each.folder))
        (started,) = (event for event in events if isinstance(event, RunStarted))
        assert (started.group_id, started.rollout_index) == (each.group_id, each.index)
        seeds.add(started.seed)
        assert perf_judged("exact")(read_episode(events)) == 1.0
        log = RunLog(each.folder)
        (trajectory,) = learners(log)
        assert reward(log, trajectory) == 1.0
    assert len(seeds - {None}) == 7, "each run has its own"
    assert slow[0].folder is not None
    calls = [event for event in events_of(slow[0].folder) if isinstance(event, CallFinished) and event.accepted]
    assert [call.policy_version for call in calls] == ["v1", "v2"]
    started = next(event for event in events_of(slow[0].folder) if isinstance(event, RunStarted))
    assert started.config["rollout"]["anneal_step"] == 4


async def test_not_more_at_once_than_allowed_and_nothing_is_lost_that_nobody_took(tmp_path: Path) -> None:
    now, most, asked, full = 0, 0, 0, anyio.Event()

    async def answer(request: ModelRequest) -> str:
        nonlocal now, most, asked
        asked, now = asked + 1, now + 1
        most = max(most, now)
        if now == 3:
            full.set()
        try:
            await full.wait()
        finally:
            now -= 1
        return "Answer: 42"

    parts = Parts(model=ScriptedModel(answer), backend=FakeBackend())
    async with Swarm(config=RunConfig(mode="single"), parts=parts) as swarm:
        rollouts = Rollouts(swarm, tmp_path / "r", Bounds(k=4, at_once=3))
        tasks = [Task(id=str(number), prompt="do it") for number in range(3)]
        async with rollouts.iteration(tasks) as done:
            first = [await anext(done) for _ in range(2)]
        async with rollouts.iteration([]) as done:
            assert rollouts.statistics().size == 10
            with pytest.raises(UsageError, match="in use"):
                async with Rollouts(swarm, tmp_path / "r").iteration([]):
                    pass
            rest = await taken(done)
        async with Rollouts(swarm, tmp_path / "s", Bounds(k=1)).iteration(tasks[:1]) as done:
            (other,) = await taken(done)
    assert all(each.tries == 1 for each in (*first, *rest)), "what was not taken was not tried again"
    assert other.group_id not in {each.group_id for each in first}
    assert (tmp_path / "r" / "rollouts.json").stat().st_mode & 0o777 == 0o600
    assert len({(each.group_id, each.index) for each in (*first, *rest)}) == 12
    assert all(each.result is not None and each.result.status == "completed" for each in (*first, *rest))
    assert most == 3
    assert asked <= 12 + 3, "at most those at work are asked again"


async def test_time_is_up(tmp_path: Path) -> None:
    async def answer(request: ModelRequest) -> str:
        await anyio.sleep_forever()
        return ""

    parts = Parts(model=ScriptedModel(answer), backend=FakeBackend())
    async with Swarm(config=RunConfig(mode="single"), parts=parts) as swarm:
        rollouts = Rollouts(swarm, tmp_path / "r", Bounds(k=2, at_once=1, seconds=0.2, grace=0))
        async with rollouts.iteration([Task(id="t", prompt="do it")]) as done:
            assert await taken(done) == []
        assert repr(rollouts) == "<Rollouts 0 of 2 done, 0 at work>"
        (record,) = (tmp_path / "home/runs").glob("*/events.jsonl")
        again = Rollouts(swarm, tmp_path / "r", Bounds(k=2, tries=2, retry_s=0.01, seconds=0.3, grace=0))
        with hold_journal(record):
            async with again.iteration([]) as done:
                (held,) = await taken(done)
    assert (held.result, held.machine_failed, held.tries) == (None, True, 2)
    assert "at work already" in held.error


async def test_what_the_machine_failed_is_tried_again_and_told_apart(tmp_path: Path) -> None:
    failures = {"once": 1, "always": 99}

    def answer(request: ModelRequest) -> str | EndpointError:
        task = next(name for name in failures if f"do {name}" in str(request.messages[1]["content"]))
        failures[task] -= 1
        return "Answer: 42" if failures[task] < 0 else EndpointError(EndpointFault.BAD_REQUEST, "it broke")

    parts = Parts(model=ScriptedModel(answer), backend=FakeBackend())
    async with Swarm(config=RunConfig(mode="parl"), parts=parts) as swarm:
        rollouts = Rollouts(swarm, tmp_path / "r", Bounds(k=1, tries=2, retry_s=0.01), by_score(exact, "exact"))
        async with rollouts.iteration([Task(id=name, prompt=f"do {name}", answer="42") for name in failures]) as done:
            found = {each.task.id: each for each in await taken(done)}
    assert not found["once"].machine_failed
    assert (found["once"].tries, [each.value for each in found["once"].rewards]) == (2, [1.0])
    assert found["always"].machine_failed
    assert (found["always"].tries, found["always"].rewards) == (2, ())


async def test_faults_of_the_caller_come_out_as_they_are(tmp_path: Path) -> None:
    def judge(task: Task, result: object) -> list[object]:
        raise LookupError("no such key")

    parts = Parts(model=ScriptedModel(lambda request: "done"), backend=FakeBackend())
    async with Swarm(config=RunConfig(mode="single"), parts=parts) as swarm:
        broken = Rollouts(swarm, tmp_path / "r", Bounds(k=1), judge)  # type: ignore[arg-type]  # it never returns
        with pytest.raises(LookupError, match="no such key"):
            async with broken.iteration([Task(id="t", prompt="do it")]) as done:
                assert await taken(done) == []
        bad = Rollouts(swarm, tmp_path / "s", Bounds(k=3, at_once=1))
        with pytest.raises(UsageError, match="nowhere"):
            async with bad.iteration([Task(id="t", prompt="x", repo="/nowhere")]) as done:
                assert await taken(done) == []
        async with bad.iteration([]) as done:
            assert await taken(done) == [], "it is not tried again"
        for tasks in ([Task(id="t", prompt="x")] * 2, *([Task(id="t", prompt="x", answer=a)] for a in (b"\xff", nan))):
            with pytest.raises(UsageError, match=r"the same id|cannot be kept"):
                async with bad.iteration(tasks):
                    pass
        verifiers = ((lambda task, result: None), (lambda task, result: [perf("other", 1.0, "t")]))
        for n, verify in enumerate(verifiers):
            rewarded = Rollouts(swarm, tmp_path / str(n), Bounds(k=1), verify)  # type: ignore[arg-type]  # of no use
            with pytest.raises(UsageError, match=r"the verifier gave None|of the run 'other'"):
                async with rewarded.iteration([Task(id="t", prompt="do it")]) as done:
                    assert await taken(done) == []
        mended = Rollouts(swarm, tmp_path / "r", Bounds(k=1))
        async with mended.iteration([]) as done:
            assert len(await taken(done)) == 1
        (tmp_path / "r" / "rollouts.json").write_text("{}x")
        with pytest.raises(UsageError, match="no state"):
            async with mended.iteration([]):
                pass
