"""An agent that nobody has written well, as its client: what it says is bounded, looked at, and never believed."""

from __future__ import annotations

import gc
import json
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.agents.agent import LoopEnd
from swarm.agents.prompt import Prompt
from swarm.config import RunConfig, load_config
from swarm.errors import UsageError
from swarm.events import RunStarted, WorkerSaid
from swarm.foreign import ForeignAgent, named_worker
from swarm.journal.artifacts import Artifacts
from swarm.journal.masking import mask
from swarm.journal.past import Past
from swarm.journal.redaction import Redactor
from swarm.models.providers import redactor_of
from swarm.resuming import config_of
from swarm.types import Outcome
from swarm.workers import peer as peers
from swarm.workers.hired import _with_result
from swarm.workers.peer import Lines, Peer, PeerError, PeerGone, Words
from swarm.workers.telling import Telling

pytestmark = pytest.mark.anyio


class Far:
    """The other end: what was said to it, and a peer that hears what it says."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self.told: list[str] = []
        self.peer = Peer(self.say, self.asked, lambda method, params: self.told.append(method))

    async def say(self, line: bytes) -> None:
        self.heard.append(json.loads(line))

    async def asked(self, method: str, params: dict[str, Any]) -> dict[str, Any] | None:
        if method != "known":
            raise PeerError(peers.NOT_FOUND, "no")
        return {"got": params}

    def send(self, *messages: Any) -> None:
        for message in messages:
            self.peer.hear(json.dumps(message).encode() + b"\n")


@asynccontextmanager
async def far() -> AsyncIterator[Far]:
    other = Far()
    async with anyio.create_task_group() as group:
        group.start_soon(other.peer.serve)
        yield other
        group.cancel_scope.cancel()
    other.peer.close()


async def test_requests_are_answered_and_what_is_no_message_is_passed_over() -> None:
    async with far() as other:
        other.peer.hear(b"\xff\xfe{{{\n[1]\n\n3\n" + b"[" * 50_000 + b"\n")
        other.send({"id": 1, "method": "known", "params": {"a": 1}}, {"id": [2], "method": "x"}, {"method": "hello"})
        other.send({"id": 1, "method": 7}, {"id": {}, "result": 1}, {"result": {}}, {"id": 99, "result": {}})
        await anyio.wait_all_tasks_blocked()
        assert [(each["id"], "error" in each) for each in other.heard] == [(1, False), ([2], True)]
        assert other.told == ["hello"]


async def test_an_answer_counts_once_and_only_for_what_was_asked() -> None:
    async with far() as other:
        other.send({"id": 1, "result": {"too": "early"}})
        await anyio.wait_all_tasks_blocked()
        got: list[dict[str, Any]] = []

        async def ask() -> None:
            got.append(await other.peer.request("m", {}))

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            number = other.heard[-1]["id"]
            other.send({"id": number, "result": {"n": 1}}, {"id": number, "result": {"n": 2}})
        assert got == [{"n": 1}]


@pytest.mark.parametrize("flood", [b"x" * 1_000, b"{}\n" * 1_000], ids=["one-line", "many-lines"])
async def test_who_says_more_than_can_be_heard_is_heard_no_more(flood: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "LONGEST", 500)
    monkeypatch.setattr(peers, "WAITING", 1_500)
    async with far() as other:
        other.peer.hear(flood)
        assert other.peer.gone.is_set()
        with pytest.raises(PeerGone):
            await other.peer.request("m", {})


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_lines_are_the_same_however_they_come(pieces: list[bytes]) -> None:
    split = Lines()
    heard = [line for piece in pieces for line in split.add(piece)]
    assert not [line for line in heard if b"\n" in line]
    assert b"\n".join([*heard, split.rest]) == b"".join(pieces)


@given(st.text(max_size=200))
def test_a_result_is_json_that_fits_or_none(text: str) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    end = LoopEnd(Outcome.COMPLETED, "answered", f"{text}\n```json\n{json.dumps({'n': 3})}\n```")
    assert _with_result(end, schema).result == {"n": 3}
    plain = _with_result(LoopEnd(Outcome.COMPLETED, "answered", text), schema)
    assert plain.outcome is Outcome.FAILED


@pytest.mark.parametrize("worker", ["", "acp", "acp:", "command: ", "docker:x", "mini"])
def test_what_is_no_worker(worker: str) -> None:
    with pytest.raises(ValueError, match=r"is no worker|is followed by a command"):
        named_worker(worker, {})


@pytest.mark.parametrize("given", [{}, {"acp": "a", "command": "b"}, {"acp": "a {task}"}, {"command": "a", "no": 1}])
def test_an_agent_is_one_thing(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"acp|extra"):
        ForeignAgent(**given)


def test_a_program_stands_behind_variables() -> None:
    assert ForeignAgent(command='A=1 B="x y" /usr/bin/env -i agent {task}').program == "/usr/bin/env"
    assert ForeignAgent(command="it's {task}").program == "it's"


async def test_what_it_asks_at_its_end_is_answered_to_nobody() -> None:
    said: list[bytes] = []

    async def say(line: bytes) -> None:
        if said:
            raise anyio.ClosedResourceError
        said.append(line)

    async def asked(method: str, params: dict[str, Any]) -> dict[str, Any] | None:
        return params

    peer = Peer(say, asked, lambda method, params: None)
    async with anyio.create_task_group() as group:
        group.start_soon(peer.serve)
        peer.hear(b'{"id": 1, "method": "known"}\n' * 3)
        await anyio.wait_all_tasks_blocked()
        assert not peer.gone.is_set()
        peer.leave()
    assert len(said) == 1


async def test_who_answers_and_goes_at_once_has_answered() -> None:
    async with far() as other:
        got: list[dict[str, Any]] = []

        async def ask() -> None:
            got.append(await other.peer.request("m", {}))

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            other.send(
                {"method": "one"}, {"method": "two"}, {"id": 9, "method": "known"}, {"id": 1, "result": {"n": 1}}
            )
            other.peer.ended()
        assert (got, other.told) == ([{"n": 1}], ["one", "two"])
        with pytest.raises(PeerGone):
            await other.peer.request("m", {})


async def test_who_asks_and_never_listens_is_heard_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "WAITING", 5_000)
    words = Words()

    async def asked(method: str, params: dict[str, Any]) -> dict[str, Any] | None:
        return params

    peer = Peer(words.say, asked, lambda method, params: None)
    async with anyio.create_task_group() as group:
        group.start_soon(peer.serve)
        for _ in range(20):
            peer.hear(b'{"id": 1, "method": "known", "params": {"a": "%s"}}\n' % (b"x" * 1_000))
            await anyio.wait_all_tasks_blocked()
    assert peer.gone.is_set()
    held = [words.out.receive_nowait() for _ in range(words.out.statistics().current_buffer_used)]
    assert sum(map(len, held)) < 7_000
    words.end()
    words.out.close()


def test_lines_of_nothing_are_not_kept() -> None:
    peer = Far().peer
    peer.hear(b"\n" * 100_000 + b"1\n" * 10)
    assert len(peer._lines) == 10
    assert peer._waiting >= 10 * 50, "a line takes more than what stands in it"


async def test_what_it_names_itself_has_bounds(tmp_path: Path) -> None:
    told: list[WorkerSaid] = []

    class Sink:
        def emit(self, event: Any) -> None:
            told.append(event)

        async def flush(self) -> None: ...

    telling = Telling(Sink(), "t", Artifacts(tmp_path, Redactor({})))
    telling.tell("permission", "x" * 50_000, "i" * 50_000, "s" * 50_000)
    assert len(told[0].model_dump_json()) < 4_000
    del told[:]
    telling.out(b"x" * 10 + b" of-one-word" * 1_000)
    telling.out.flush()
    assert "".join(each.text for each in told) == "x" * 10 + " of-one-word" * 1_000
    assert all(len(each.text) <= 2_000 for each in told)
    assert {word for each in told for word in each.text.split()} == {"x" * 10, "of-one-word"}


def test_a_task_is_a_word_of_its_own() -> None:
    for line in ("agent -t {task}", "agent -t '{task}'", 'agent -t "{task}" "b c"', "it's {task}"):
        assert '"' not in ForeignAgent(command=line).line.partition("{task}")[0]
        assert "{task}'" not in ForeignAgent(command=line).line
    for line in ("sh -c 'agent {task}'", 'agent "do: {task}"', '"a"{task}"b" "x"{task}"y {task}"'):
        with pytest.raises(ValueError, match="outside of quotes"):
            ForeignAgent(command=line)


def test_keys_of_an_agent_are_secrets() -> None:
    env = {"THEIR_API_KEY": "abcdef-0123456789", "OTHER_KEY": "{api_key}", "PLAIN": "abcdef-9876543210"}
    config = RunConfig(workers={"one": ForeignAgent(command="agent", env=env)})
    text, found = redactor_of(config, {}).redact(str(env))
    assert found == 1
    assert "[redacted:one.THEIR_API_KEY]" in text


def test_a_run_goes_on_with_the_key_that_its_record_does_not_hold(tmp_path: Path) -> None:
    named = tmp_path / ".config/swarm/config.toml"
    named.parent.mkdir(parents=True)
    named.write_text('[workers.one]\ncommand = "agent"\nenv = { THEIR_KEY = "abcdef-0123456789" }\n')
    env = {"HOME": str(tmp_path)}
    config = load_config({}, env)
    began = RunStarted(
        task="t",
        task_sha256="x",
        mode="plan",
        swarm_version="1",
        config_sha256="x",
        config=config.model_dump(mode="json"),
    )
    event, line = mask(began, redactor_of(config, env))
    assert b"abcdef" not in line
    assert isinstance(event, RunStarted)
    assert config_of(Past([event]), {}, env).workers == config.workers
    named.unlink()
    with pytest.raises(UsageError, match="stood in workers"):
        config_of(Past([event]), {}, env)


def test_a_long_prompt_is_kept_by_nobody() -> None:
    tracemalloc.start()
    try:
        for number in range(8):
            Prompt().take([{"role": "user", "content": f"{number}" * (1 << 20)}])
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] < 1 << 20
    finally:
        tracemalloc.stop()
