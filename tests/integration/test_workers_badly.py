"""Somebody else's agent that behaves badly: the run goes on, with true outcomes and within its limits."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from swarm import Outcome, RunStatus
from swarm.calls import ModelRequest
from swarm.errors import EndpointError, EndpointFault
from swarm.events import AgentEnded, CallFinished
from swarm.testing import ScriptedModel, Turn
from swarm.workers import dialogue, hired
from tests.integration.test_workers import AGENT, COMMAND, MakeRepo, Seen, run, turns

pytestmark = pytest.mark.anyio


@pytest.fixture
def repo(make_repo: MakeRepo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SWARM_HOME", str(tmp_path / "home"))
    return make_repo({"a.txt": "a\n"})


LAST_WORDS = """
import json, sys
def say(**message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    if asked.get("method") == "initialize":
        say(id=asked["id"], result={"protocolVersion": 1})
    elif asked.get("method") == "session/new":
        say(id=asked["id"], result={"sessionId": "s"})
    elif asked.get("method") == "session/prompt":
        open("a.txt", "a").write("b\\n")
        said = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": "done"}}
        say(method="session/update", params={"sessionId": "s", "update": said})
        say(id=asked["id"], result={"stopReason": "end_turn"})
        say(id=7, method="fs/read_text_file", params={"sessionId": "s", "path": "a.txt"})
        STAYS and sys.stdin.read()
        break
"""


@pytest.mark.parametrize("stays", [True, False])
async def test_what_it_asks_when_it_has_answered_harms_nobody(repo: Path, tmp_path: Path, stays: bool) -> None:
    seen, agent = Seen(), tmp_path / "agent.py"
    agent.write_text(LAST_WORDS.replace("STAYS", str(stays)))
    result = await run(turns(), repo, seen, worker=f"acp:python3 -I -S {agent}")
    (ended,) = seen.of(AgentEnded)
    assert (result.status, ended.outcome, ended.final_output) == (RunStatus.COMPLETED, Outcome.COMPLETED, "done")


async def test_who_was_never_answered_has_met_the_machine(repo: Path) -> None:
    def broken(request: ModelRequest) -> Turn:
        raise EndpointError(EndpointFault.BAD_REQUEST, "it takes no such thing")

    seen = Seen()
    await run(ScriptedModel(broken), repo, seen, worker=f"{COMMAND} || echo I could not think")
    ended = seen.of(AgentEnded)[-1]
    assert (ended.outcome, ended.stop) == (Outcome.ERRORED, "bad_request")


async def test_who_asks_again_and_again_in_vain_is_answered_no_more(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(request: ModelRequest) -> Turn:
        raise EndpointError(EndpointFault.BAD_REQUEST, "it takes no such thing")

    monkeypatch.setattr(hired, "GRACE_S", 0.05)
    monkeypatch.setattr(dialogue, "PATIENCE", 5)
    agent, seen = tmp_path / "stubborn.py", Seen()
    agent.write_text(
        f"import sys; sys.path.insert(0, {str(AGENT.parent)!r})\nfrom worker_agent import ask\n"
        "while True: ask([{'role': 'user', 'content': 'a'}])"
    )
    with anyio.fail_after(30):
        await run(ScriptedModel(broken), repo, seen, worker=f"command:python3 -I -S {agent}")
    ended = seen.of(AgentEnded)[-1]
    assert (ended.outcome, ended.stop) == (Outcome.ERRORED, "bad_request")
    assert len(seen.of(CallFinished)) == 5 * len(seen.of(AgentEnded))


async def test_what_is_no_text_is_told_the_model_as_text(repo: Path) -> None:
    model = turns("echo b >> a.txt", "end done")
    agent = AGENT.read_text().replace("done.stdout", "done.stdout + chr(0xDC80)")
    place = repo.parent / "odd.py"
    place.write_text(agent)
    seen = Seen()
    result = await run(model, repo, seen, worker=f"command:python3 -I -S {place}")
    assert result.status is RunStatus.COMPLETED
    assert model.requests[1].messages[-1]["content"].endswith("?")


async def test_its_time_goes_on_when_it_does_not_wait_for_its_answer(repo: Path, tmp_path: Path) -> None:
    def busy(request: ModelRequest) -> Turn:
        raise EndpointError(EndpointFault.OVERLOADED, "busy", retry_after=60)

    leaves = f"import sys; sys.path.insert(0, {str(AGENT.parent)!r})\nimport socket; socket.setdefaulttimeout(0.4)\n"
    leaves += (
        "from worker_agent import ask\ntry: ask([{'role': 'user', 'content': 'a'}])\nexcept OSError: print('left')"
    )
    agent = tmp_path / "leaves.py"
    agent.write_text(leaves)
    seen = Seen()
    worker = f"command:python3 -I -S {agent}; exec sleep 4324"
    with anyio.fail_after(30):
        await run(ScriptedModel(busy), repo, seen, worker=worker, agent_seconds=0.5)
    (ended,) = seen.of(AgentEnded)
    assert (ended.outcome, ended.stop) == (Outcome.TIMED_OUT, "timeout")
    assert seen.said("output") == "left\n"
