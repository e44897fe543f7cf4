"""What `swarm.testing` promises to those who test with it."""

from __future__ import annotations

import time
from typing import Any

import anyio
import pytest

from swarm.calls import ModelRequest
from swarm.errors import EndpointError, EndpointFault
from swarm.testing import FakeSandbox, ScriptedModel, VirtualClock, tool_call
from swarm.types import ExecResult

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
