"""The embedded endpoint under load and at its end, in process and as a program."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import anyio
import httpx
import openai
import pytest
from openai import AsyncOpenAI

from swarm.embedded.policy import Policy, PolicyReply, PolicyRequest
from swarm.embedded.script import Script, ScriptPolicy
from swarm.embedded.server import running_endpoint
from swarm.errors import UsageError

pytestmark = pytest.mark.anyio

SCRIPT: dict[str, Any] = {
    "rules": [
        {"match": r"echo (?P<n>\d+)", "turns": [{"content": "{{n}}", "first_token_s": 0.05}]},
        {"match": "^never", "turns": [{"content": "late", "first_token_s": 1e6}]},
        {"match": "^stop in the middle", "turns": [{"content": "word " * 400, "tokens_per_s": 1e-6}]},
        {"match": "^ping", "turns": [{"content": "pong"}]},
    ]
}
POLICIES: dict[str, Policy] = {"embedded": ScriptPolicy(Script.model_validate(SCRIPT), "test")}


class Stuck:
    """Computes until it is released."""

    def __init__(self) -> None:
        self.released = threading.Event()

    @property
    def name(self) -> str:
        return "stuck"

    def reply(self, request: PolicyRequest) -> PolicyReply:
        self.released.wait()
        return PolicyReply()


def client_of(base_url: str) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=base_url, api_key="unused", max_retries=0, timeout=60)


async def ask(client: AsyncOpenAI, content: str, **options: Any) -> Any:
    messages: Any = [{"role": "user", "content": content}]
    return await client.chat.completions.create(model="embedded", messages=messages, **options)


async def in_flight(client: AsyncOpenAI, wanted: int) -> None:
    """Wait until the server has so many requests in flight."""
    async with httpx.AsyncClient() as http:
        with anyio.fail_after(300):
            while (await http.get(str(client.base_url.join("/health")))).json()["in_flight"] != wanted:
                pass


async def test_three_hundred_calls_at_once() -> None:
    answers: dict[int, Any] = {}

    async def one(client: AsyncOpenAI, n: int) -> None:
        answers[n] = await ask(client, f"echo {n}")

    async with running_endpoint(POLICIES) as url, client_of(url) as client, anyio.create_task_group() as group:
        for n in range(300):
            group.start_soon(one, client, n)
    assert all(answer.choices[0].message.content == str(n) for n, answer in answers.items())
    assert len({answer.id for answer in answers.values()}) == 300


async def test_calls_that_wait_hold_no_thread_and_go_with_their_clients() -> None:
    async with running_endpoint(POLICIES) as url, client_of(url) as client:
        async with anyio.create_task_group() as group:
            for _ in range(100):
                group.start_soon(ask, client, "never")
            await in_flight(client, 100)
            assert (await ask(client, "ping")).choices[0].message.content == "pong"
            group.cancel_scope.cancel()
        await in_flight(client, 0)


async def test_the_end_of_the_block_cuts_open_answers_and_leaves_nothing() -> None:
    before = asyncio.all_tasks()
    errors: list[type[Exception]] = []
    first_chunk = anyio.Event()

    async def follow(client: AsyncOpenAI, content: str, stream: bool) -> None:
        try:
            async for _ in await ask(client, content, stream=stream):
                first_chunk.set()
        except openai.APIConnectionError as error:
            errors.append(type(error))

    async with anyio.create_task_group() as group, running_endpoint(POLICIES) as base_url:
        client = client_of(base_url)
        group.start_soon(follow, client, "stop in the middle", True)
        group.start_soon(follow, client, "never", False)
        await first_chunk.wait()
        await in_flight(client, 2)
    assert errors == [openai.APIConnectionError] * 2
    with pytest.raises(openai.APIConnectionError):
        await ask(client, "ping")
    await client.close()
    assert asyncio.all_tasks() == before


async def test_a_policy_that_still_computes_does_not_hold_up_the_end() -> None:
    stuck = Stuck()
    async with (
        anyio.create_task_group() as group,
        running_endpoint({"embedded": stuck}) as base_url,
        client_of(base_url) as client,
    ):
        group.start_soon(ask, client, "x")
        await in_flight(client, 1)
        group.cancel_scope.cancel()
    assert not stuck.released.is_set()
    stuck.released.set()


async def test_cancellation_around_the_block_ends_it() -> None:
    with anyio.CancelScope() as scope:
        async with (
            running_endpoint(POLICIES) as base_url,
            client_of(base_url) as client,
            anyio.create_task_group() as group,
        ):
            group.start_soon(ask, client, "never")
            await in_flight(client, 1)
            scope.cancel()
    assert scope.cancelled_caught


async def test_an_error_in_the_block_comes_out_as_itself() -> None:
    with pytest.raises(KeyError, match="mine"):
        async with running_endpoint(POLICIES):
            raise KeyError("mine")


async def test_an_address_that_cannot_be_had_is_a_usage_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            async with running_endpoint(POLICIES, port=port):
                pass
    with pytest.raises(UsageError, match="cannot listen on"):
        async with running_endpoint(POLICIES, port=70_000):
            pass


PROGRAM = "import sys; from swarm.cli.main import main; sys.exit(main())"


def test_the_command_line_alone_imports_nothing_heavy() -> None:
    check = "import sys, swarm.cli.endpoint; sys.exit(bool({'anyio', 'pydantic', 'uvicorn'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0


def program(*options: str, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM, "endpoint", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **env},
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_program_announces_itself_and_ends_well_on_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    script = tmp_path / "s.json"
    script.write_text(json.dumps(SCRIPT))
    with program("--policy", f"script:{script}", "--api-key-env", "THE_KEY", THE_KEY="k") as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            assert line.startswith("listening on http://127.0.0.1:") and line.endswith("/v1\n")
            with openai.OpenAI(base_url=line.split()[-1], api_key="k", max_retries=0) as client:
                for model in ("embedded", "embedded:script"):
                    answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": "ping"}])
                    assert answer.choices[0].message.content == "pong"
                open_stream = client.chat.completions.create(
                    model="embedded", messages=[{"role": "user", "content": "stop in the middle"}], stream=True
                )
                next(iter(open_stream))
                process.send_signal(number)
                stdout, stderr = process.communicate(timeout=300)
        finally:
            process.kill()
    assert (process.returncode, stdout, stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--policy", "script:missing.toml"], "missing.toml: No such file"),
        (["--policy", "magic"], "unknown policy 'magic'"),
        (["--api-key-env", "NO_SUCH_KEY"], "NO_SUCH_KEY is not set"),
        (["--policy", "script:SCRIPT", "--port", "TAKEN"], "Address already in use"),
    ],
)
def test_the_program_refuses_bad_options_in_one_line(tmp_path: Path, options: list[str], problem: str) -> None:
    script = tmp_path / "s.json"
    script.write_text(json.dumps(SCRIPT))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        there = {"script:SCRIPT": f"script:{script}", "TAKEN": str(taken.getsockname()[1])}
        with program(*(there.get(option, option) for option in options)) as process:
            stdout, stderr = process.communicate(timeout=300)
    assert (process.returncode, stdout) == (2, "")
    assert problem in stderr and stderr.count("\n") == 1
