"""What agents of somebody else's say to us, and what is written about documents."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest
from acp import schema
from hypothesis import example, given, settings

from swarm.agents.agent import LoopEnd
from swarm.documents.claims import claims_of, sources_in
from swarm.documents.passages import headings_of, passages_of, text_of
from swarm.errors import SandboxError
from swarm.events import WorkerSaid
from swarm.types import ExecResult, Outcome
from swarm.workers.hired import _with_result
from swarm.workers.peer import Peer
from swarm.workers.premises import Premises
from swarm.workers.updates import Updates
from tests.effort import examples
from tests.fuzz.hostile import DIGITS, mutated, nested, texts

pytestmark = pytest.mark.anyio

_CHUNK = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": "I look."}}
_SAID: list[dict[str, Any]] = [
    {"id": 1, "result": {"protocolVersion": 1}},
    {"id": 1, "error": {"code": -32000, "message": "log in first"}},
    {"method": "session/update", "params": {"sessionId": "s", "update": _CHUNK}},
    {
        "method": "session/update",
        "params": {
            "update": {"sessionUpdate": "tool_call", "toolCallId": "1", "title": "look", "status": "in_progress"},
        },
    },
    {"method": "session/update", "params": {"update": {"sessionUpdate": "plan", "entries": []}}},
    {"id": "a", "method": "fs/read_text_file", "params": {"sessionId": "s", "path": "/repo/a", "line": 1, "limit": 2}},
    {"id": 2, "method": "fs/write_text_file", "params": {"sessionId": "s", "path": "/repo/a", "content": "x"}},
    {"id": 3, "method": "terminal/create", "params": {"sessionId": "s", "command": "ls", "args": ["-l"]}},
    {"id": 4, "method": "terminal/output", "params": {"sessionId": "s", "terminalId": "terminal-1"}},
    {"id": 5, "method": "terminal/release", "params": {"sessionId": "s", "terminalId": "terminal-1"}},
]
_LINES = [b"\n".join(json.dumps({"jsonrpc": "2.0", **said}).encode() for said in _SAID) + b"\n"]
_ANSWERS = [
    'Done.\n\n```json\n{"cities": ["Rome"]}\n```\n',
    '{"cities": ["Rome"]}',
    "```json\n[]\n```\n```json\n{}\n```",
]
_REPORT = """# Report

The bridge is 120 m long [d1:12-14], "built in the year 1911 by the town" [d2:p3; d1:20].

| item | year |
|---|---|
| bridge | 1911 [d2:p. 3] |

- It was closed in 1950 [unsupported: no such place].
"""


class Gone:
    """A sandbox that is gone: what is asked of it is answered by an error."""

    workdir = "/repo"

    async def read_file(self, path: str, *, most: int | None = None) -> bytes:
        raise SandboxError("the sandbox is gone")

    async def write_file(self, path: str, data: bytes) -> None:
        raise SandboxError("the sandbox is gone")

    async def converse(self, command: str, talk: object, *, cwd: str | None = None) -> ExecResult:
        raise SandboxError("the sandbox is gone")


class Heard:
    def __init__(self) -> None:
        self.events: list[WorkerSaid] = []

    def tell(self, kind: Any, text: str, tool_call_id: str = "", status: str = "") -> None:
        words = (tool_call_id[:200], status[:200])
        self.events.append(WorkerSaid(trajectory_id="t", kind=kind, text=text, tool_call_id=words[0], status=words[1]))


@given(data=mutated(_LINES))
@example(data=b"[" * 20_000 + b"\n")
@example(data=b'{"id": ' + DIGITS.encode() + b', "method": "x"}\n')
@example(data=b'{"id": {}, "method": "terminal/create", "params": {"sessionId": "s", "command": "\\u0000"}}\n')
@settings(max_examples=examples(40))
def test_an_agent_that_says_anything_is_answered_or_passed_over(data: bytes) -> None:
    answers: list[bytes] = []

    async def say(line: bytes) -> None:
        answers.append(line)

    async def talk() -> None:
        heard = Heard()
        premises, updates = Premises(Gone()), Updates(heard)  # type: ignore[arg-type]  # as much as is used of them
        peer = Peer(say, premises.asked, lambda method, params: updates.take(params.get("update")))
        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                premises.open_in(group)
                peer.hear(data)
                peer.leave()
                await peer.serve()
        peer.close()
        assert isinstance(updates.said, str)

    anyio.run(talk)
    assert len(answers) <= data.count(b"\n")
    for line in answers:
        assert line.endswith(b"\n") and b"\n" not in line[:-1]
        assert {"result", "error"} & set(json.loads(line))


def test_what_it_may_say_is_of_the_protocol() -> None:
    """Else the test above bends what is refused as it stands."""
    for said in _SAID:
        if said.get("method") == "session/update":
            schema.SessionNotification.model_validate({"sessionId": "s", **said["params"]})


@given(text=texts(_ANSWERS))
@example(text=nested("[", "]"))
@example(text=f"```json\n{DIGITS}\n```")
@settings(max_examples=examples(60))
def test_its_last_words_hold_the_result_or_none(text: str) -> None:
    wanted = {"type": "object", "properties": {"cities": {"type": "array", "minItems": 1}}, "required": ["cities"]}
    ended = _with_result(LoopEnd(Outcome.COMPLETED, "answered", text), wanted)
    if ended.outcome is Outcome.COMPLETED:
        assert ended.result["cities"]
    else:
        assert ended.outcome is Outcome.FAILED and ended.text


@given(text=texts([_REPORT]))
@example(text="[" * 5_000)
@example(text="| " * 5_000)
@example(text='"' * 5_000)
@settings(max_examples=examples(60))
def test_what_is_written_is_claims_at_places_of_the_text(text: str) -> None:
    for claim in claims_of(text):
        assert 0 <= claim.start <= claim.end <= len(text)
        assert all(source.first >= 0 for source in claim.sources)
    assert isinstance(sources_in(text), list)


@given(text=texts([_REPORT, "a\fb\n" * 50]))
@example(text="x" * 100_000)
@settings(max_examples=examples(40))
def test_passages_are_all_of_a_document(text: str) -> None:
    whole = text_of([text, text], paged=True)
    passages = list(passages_of(whole))
    assert isinstance(headings_of(whole), list)
    held = {number for each in passages for number in range(each.first, each.last + 1)}
    assert held <= set(range(1, len(whole.lines) + 1))
    assert {number for number, line in enumerate(whole.lines, 1) if line.strip()} <= held
