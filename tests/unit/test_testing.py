"""What `swarm.testing` promises to those who test with it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import anyio
import pytest

from swarm import Parts, RunConfig, Swarm
from swarm.calls import ModelRequest
from swarm.errors import EndpointError, EndpointFault
from swarm.testing import FakeBackend, FakeSandbox, ScriptedModel, Turn, VirtualClock, tool_call
from swarm.types import ExecResult, RunStatus

pytestmark = pytest.mark.anyio
ASK = ModelRequest([{"role": "user", "content": "hello"}])


class TestVirtualClock:
    @pytest.fixture
    def anyio_backend(self) -> tuple[str, dict[str, Any]]:
        return "asyncio", {"loop_factory": VirtualClock}

    async def test_sleeps_take_no_time_and_end_in_their_order(self) -> None:
        begun, ended = anyio.current_time(), list[tuple[int, float]]()

        async def sleep(seconds: int) -> None:
            await anyio.sleep(seconds)
            ended.append((seconds, round(anyio.current_time() - begun)))

        async with anyio.create_task_group() as group:
            for seconds in (86_400, 5, 3_600):
                group.start_soon(sleep, seconds)
        assert ended == [(5, 5), (3_600, 3_600), (86_400, 86_400)]

    async def test_limits_strike_when_all_wait_and_not_while_a_thread_works(self) -> None:
        with anyio.move_on_after(1000) as limit:
            await anyio.sleep_forever()
        assert limit.cancelled_caught
        with anyio.move_on_after(1000) as limit:
            await anyio.to_thread.run_sync(time.sleep, 0.01)
        assert not limit.cancelled_caught

    async def test_limits_do_not_strike_while_an_executor_works(self) -> None:
        loop = asyncio.get_running_loop()
        with anyio.fail_after(1000):
            await loop.run_in_executor(None, time.sleep, 0.05)

    async def test_a_whole_run_passes_hours_in_a_moment(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("SWARM_HOME", str(tmp_path))

        async def work(request: ModelRequest) -> Turn:
            if request.response_format:
                return {"rationale": "r", "subtasks": [{"id": i, "title": i, "instructions": "x"} for i in "ab"]}
            if request.tools:
                await anyio.sleep(1000)
            return "merged\nSources: a, b"

        parts = Parts(model=ScriptedModel(work), backend=FakeBackend())
        began, real = anyio.current_time(), time.monotonic()
        async with Swarm(config=RunConfig(timeout=9_000), parts=parts) as swarm:
            with anyio.fail_after(10_000):
                result = await swarm.run("wait for long")
        assert (result.status, result.answer) == (RunStatus.COMPLETED, "merged")
        assert 1000 < anyio.current_time() - began < 9_000
        assert time.monotonic() - real < 600


async def test_a_scripted_model_says_uses_answers_and_fails() -> None:
    refused = EndpointError(EndpointFault.REFUSED, "no")
    model = ScriptedModel(["hi", tool_call("look", path="a"), {"plan": 1}, refused])
    assert (await model.complete(ASK)).content == "hi"
    reply = await model.complete(ASK)
    assert (reply.tool_calls[0].arguments, reply.finish_reason) == ('{"path":"a"}', "tool_calls")
    assert reply.message["tool_calls"][0]["function"]["name"] == "look"
    assert (await model.complete(ASK)).content == '{"plan":1}'
    with pytest.raises(EndpointError):
        await model.complete(ASK)
    with pytest.raises(AssertionError, match="asked 5 times and has 4 turns"):
        await model.complete(ASK)
    assert len(model.requests) == 5


async def test_a_fake_sandbox_keeps_files_and_answers_commands() -> None:
    sandbox = FakeSandbox(shell=lambda command: ExecResult(1, b"", command.encode()))
    await sandbox.write_file("a", b"1")
    assert await sandbox.read_file("/workspace/a") == b"1"
    with pytest.raises(FileNotFoundError):
        await sandbox.read_file("b")
    assert (await sandbox.exec("false")).stderr == b"false"
    assert sandbox.commands == ["false"]
