"""What the calls of an outpost take at home, in calls of Python: all that is done there for each is seen."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from swarm.budgets.budget import Budget
from swarm.budgets.leased import LeasedBudget
from swarm.budgets.lessor import Lessor
from swarm.budgets.levels import Limits
from swarm.budgets.shares import stage_budget, subtask_budget
from swarm.calls import Ask, ModelReply
from swarm.events import AgentStarted
from swarm.events.made import call_finished, call_sent, tool_finished, tool_started
from swarm.executors.ray.cluster import Node
from swarm.executors.ray.errand import Errand
from swarm.executors.ray.link import Link
from swarm.executors.ray.messages import Arrived, Taken
from swarm.executors.ray.outpost import ADMISSION, BUDGET
from swarm.executors.ray.packing import unpack
from swarm.executors.ray.relay import Relay
from swarm.executors.ray.wire import RayLine
from swarm.journal.redaction import Redactor
from swarm.journal.writer import Journal, open_journal
from swarm.models.admission.authority import AdmissionAuthority
from swarm.models.admission.governor import Governor
from swarm.models.admission.leased import LeasedGovernor
from swarm.steering import Steering
from swarm.types import Role, ToolCall, ToolResult, Usage

pytestmark = pytest.mark.anyio

AGENTS = 10
MOST = 125
"""Calls of Python for a model call and a use of a tool, four records and as many words of budget and admission."""

CHANNEL = ADMISSION + "u"
USED = Usage(prompt_tokens=300, completion_tokens=20, calls=1)


class Outpost:
    """What an outpost says, and its run hears, without the line between them."""

    def __init__(self, journal: Journal, authority: AdmissionAuthority, work: Budget) -> None:
        self.relay = Relay()
        self.governor = LeasedGovernor(partial(self.relay.outbox.say, CHANNEL))
        desk: Any = SimpleNamespace(store=None, sink=journal)
        boot = Path("/proc/sys/kernel/random/boot_id")
        arrived = Arrived(boot.read_text() if boot.exists() else "", time.monotonic(), "x", 1)
        self.link = Link(Node("n", "n", 1.0), RayLine(None), arrived, desk, set())
        self.link.hear(CHANNEL, partial(authority.hear, "n"))
        authority.join("n", partial(self.link.say, CHANNEL))
        self.calls = 0
        self.budgets: dict[str, Budget] = {}
        for number in range(AGENTS):
            self._begin(f"a{number}", journal, work)

    def _begin(self, name: str, journal: Journal, work: Budget) -> None:
        started = AgentStarted(trajectory_id=name, name=name, role="subagent", stage=1, trainable=False)
        errand = Errand(started, Steering(), journal, None)
        errand.begin()
        budget = subtask_budget(stage_budget(work, 1), name).child(Limits(), name)
        errand.lessor = Lessor(budget, partial(self.link.say, BUDGET + name))
        self.link.begin(errand)
        self.budgets[name] = LeasedBudget(errand.lessor.first(), partial(self.relay.outbox.say, BUDGET + name))

    async def make(self, name: str, turns: int) -> None:
        """An agent: so many model calls, each of which uses a tool."""
        for turn in range(1, turns + 1):
            call_id, now = f"{name}/{turn}", time.monotonic()
            ask = Ask(Role.SUBAGENT, 300, turn=turn, trajectory_id=name)
            async with self.governor.admit(ask, "m") as admission:
                reservation = self.budgets[name].try_reserve(700, 0.0)
                assert reservation is not None
                self.relay.emit(call_sent(name, call_id, 1, 300, 700, 0.0))
                await self.relay.taken()
                admission.sent = True
                reservation.settle(USED.total_tokens, 0.0)
                record = call_finished(
                    name, call_id, (1, turn, 1), ("", 0), [], ("m", {}, "", 1000), "frozen", (now, 0.0)
                )
                vars(record).update(accepted=True, usage=USED, response={"role": "assistant", "content": "x"})
                self.relay.emit(record)
                self.governor.succeeded(ModelReply({}, "", (), "", USED, "", now, now, now), admission)
            call = ToolCall("t", "look", "{}")
            self.relay.emit(tool_started(name, call_id, call))
            self.relay.emit(tool_finished(name, call_id, call, ToolResult("x"), (now, now), "", call_id))

    async def tell(self) -> None:
        """All that was said goes home in one bundle, and the answer back."""
        _, data = self.relay.outbox.close()
        async with anyio.create_task_group() as group:
            with counted() as count:
                await self.link._take_all(unpack(data) if data else [], group)
        self.calls += count[0]
        for message in unpack(self.link._outbox.close()[1]):
            if isinstance(message, Taken):
                self.relay.hear(message)
            elif message[0] == CHANNEL:
                self.governor.hear(message[1])


@contextmanager
def counted() -> Iterator[list[int]]:
    count, before = [0], sys.getprofile()

    def note(frame: object, event: str, arg: object) -> None:
        count[0] += event == "call"

    sys.setprofile(note)
    try:
        yield count
    finally:
        sys.setprofile(before)


@asynccontextmanager
async def home(folder: Path, work: Budget) -> AsyncIterator[Outpost]:
    authority = AdmissionAuthority(Governor(1000))
    async with open_journal(folder / "events.jsonl", "run", Redactor({})) as journal:
        async with anyio.create_task_group() as group:
            group.start_soon(authority.run)
            await anyio.wait_all_tasks_blocked()
            yield Outpost(journal, authority, work)
            group.cancel_scope.cancel()
        await journal.flush()


async def taken(folder: Path, turns: int) -> tuple[int, int]:
    """Calls of Python at home for so many turns of each agent, and the tokens that were booked."""
    run = Budget(Limits())
    async with home(folder, run.child(Limits(), "work")) as outpost, anyio.create_task_group() as agents:
        for name in outpost.budgets:
            agents.start_soon(outpost.make, name, turns)
        await anyio.wait_all_tasks_blocked()
        while len(outpost.relay.outbox):
            await outpost.tell()
            await anyio.wait_all_tasks_blocked()
    lines = (folder / "events.jsonl").read_bytes().splitlines()
    assert len(lines) == AGENTS * (1 + 4 * turns)
    return outpost.calls, run.used.tokens


async def test_a_call_takes_few_calls_of_python_at_home(tmp_path: Path) -> None:
    found: list[int] = []
    for turns in (3, 3, 13):  # at the first, some things are found for good
        (folder := tmp_path / str(len(found))).mkdir()
        calls, tokens = await taken(folder, turns)
        assert tokens == AGENTS * turns * USED.total_tokens
        found.append(calls)
    each = (found[2] - found[1]) / (10 * AGENTS)
    assert 0 < each <= MOST, each
