"""What the log costs: appends a second, the part of a swarm's CPU, bytes against full histories, and the time to open,
validate and export 100,000 calls.

    python benchmarks/journal.py [CALLS]
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import anyio
from pydantic_core import to_json

from swarm.agents.prompt import Prompt
from swarm.agents.trajectory import sha256
from swarm.calls import Tokens
from swarm.events import AgentEnded, AgentStarted, CallFinished, CallSent, RunStarted, ToolFinished
from swarm.journal.redaction import Redactor, secrets_of
from swarm.journal.writer import Journal, open_journal
from swarm.types import Outcome, ToolStatus, Usage

AGENTS = 300
SHOWN = 400
"""Tokens of a tool's answer."""


class Agent:
    """Makes the records of one agent's turns, as `Conversation` and `ToolUser` do."""

    def __init__(self, journal: Journal, name: str, trainable: bool, chance: random.Random) -> None:
        self.journal = journal
        self.name = name
        self.trainable = trainable
        self.chance = chance
        self.messages: list[dict[str, Any]] = [
            {"role": "system", "content": "You work. " * 200},
            {"role": "user", "content": name * 20},
        ]
        self.ids = [chance.randrange(150_000) for _ in range(600)]
        self.told = self.turns = 0
        self.last = ""
        self.full = 0
        self.prompt = Prompt()
        journal.emit(AgentStarted(trajectory_id=name, role="orchestrator" if trainable else "subagent", name=name,
                                  trainable=trainable))  # fmt: skip

    def turn(self) -> None:
        self.turns += 1
        chance, name = self.chance, f"{self.name}/{self.turns}"
        self.journal.emit(CallSent(trajectory_id=self.name, call_id=name, attempt=1))
        sampled = [chance.randrange(150_000) for _ in range(60)]
        arguments = json.dumps({"command": f"grep -rn {chance.random()} src | head -{self.turns}"})
        calls = [{"id": f"c{self.turns}", "type": "function", "function": {"name": "bash", "arguments": arguments}}]
        answer = {"role": "assistant", "content": "I look at it. " * 8, "tool_calls": calls}
        self.prompt.take(self.messages)
        record = CallFinished(
            trajectory_id=self.name, call_id=name, turn=self.turns, attempt=1, accepted=True, model="m",
            prefix_call_id=self.last, prefix_messages=self.told, new_messages=self.messages[self.told :],
            prompt_sha256=self.prompt.sha256, response=answer, finish_reason="tool_calls", policy_version="7",
            usage=Usage(prompt_tokens=len(self.ids), completion_tokens=len(sampled), calls=1),
            untrainable="frozen",
        )  # fmt: skip
        if self.trainable:
            record.token_source, record.token_exact, record.untrainable = "server_ids", True, ""
            logprobs = tuple(-chance.random() for _ in sampled)
            record.with_tokens(Tokens(tuple(self.ids), tuple(sampled), logprobs, len(self.ids), len(sampled)))
        self.full += self.prompt.size + len(to_json(answer)) + 7 * len(self.ids) * self.trainable  # `123456,`
        self.journal.emit(record)
        result = " ".join(f"line {chance.random()}" for _ in range(SHOWN // 8))
        self.journal.emit(ToolFinished(
            trajectory_id=self.name, call_id=name, tool_call_id=f"c{self.turns}", name="bash", arguments=arguments,
            t_start=0.0, t_end=1.0, status=ToolStatus.COMPLETED, result=result, result_sha256=sha256(result),
            first_seen_by=f"{self.name}/{self.turns + 1}",
        ))  # fmt: skip
        tool = {"role": "tool", "tool_call_id": f"c{self.turns}", "content": result}
        self.messages += [answer, tool]
        self.told, self.last = len(self.messages) - 1, name
        self.ids += [*sampled, *(chance.randrange(150_000) for _ in range(SHOWN))]

    def end(self) -> None:
        usage = Usage()
        self.journal.emit(AgentEnded(trajectory_id=self.name, outcome=Outcome.CANCELLED, stop="x", terminated=False,
                                     truncated=True, usage=usage, steps=self.turns))  # fmt: skip


async def write(folder: Path, calls: int) -> int:
    """Write the log of so many calls by 300 agents, one in twenty of which learns; gives the bytes of full ones."""
    chance = random.Random(7)
    redactor = Redactor(secrets_of({"SOME_KEY": "sk-0123456789abcdefghijkl", "OTHER_TOKEN": "another-secret-value"}))
    each = max(1, calls // AGENTS)
    cpu = 0.0
    full = records = 0
    began = time.monotonic()
    async with open_journal(folder / "events.jsonl", folder.name, redactor) as journal:
        journal.emit(RunStarted(task="t", task_sha256=sha256("t"), mode="parl", swarm_version="0", config={},
                                config_sha256=sha256("{}")))  # fmt: skip
        agents = [Agent(journal, f"a{number}", number % 20 == 0, chance) for number in range(AGENTS)]
        emit = Journal.emit

        def timed(self: Journal, event: object) -> None:
            nonlocal cpu, records
            at = time.process_time()
            emit(self, event)  # type: ignore[arg-type]  # whatever is emitted
            cpu += time.process_time() - at
            records += 1

        Journal.emit = timed  # type: ignore[method-assign]  # measured here alone
        try:
            for _ in range(each):
                for agent in agents:
                    agent.turn()
                await journal.flush()
        finally:
            Journal.emit = emit  # type: ignore[method-assign]
        for agent in agents:
            full += agent.full
            agent.end()
    wall = time.monotonic() - began
    print(f"{records:,} records in {wall:.1f} s (made and synced); {records / cpu:,.0f} appends/s of CPU, "
          f"{1e6 * cpu / records:.0f} us each, {1e6 * cpu / (each * AGENTS):.0f} us a call")  # fmt: skip
    return full


MEASURED = """
import sys, time
from pathlib import Path
folder, what = Path(sys.argv[1]), sys.argv[2]
began = time.monotonic()
if what == "open":
    from swarm.journal.past import Past
    from swarm.journal.reader import read_events
    found = repr(Past(read_events(folder / "events.jsonl")))
elif what == "validate":
    from swarm.journal.validation import validate
    found = f"{sum(1 for _ in validate(folder))} problems"
else:
    from swarm.rl.export.catalog import export
    found = f"{export(what, [folder], folder / ('out.' + what)).rows} rows"
lines = Path("/proc/self/status").read_text().splitlines()  # of this program alone, not of whoever started it
peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
print(f"{what}: {time.monotonic() - began:.1f} s, {peak:.0f} MB at most: {found}")
"""


def main() -> None:
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        full = anyio.run(write, folder, calls)
        sizes = {name: (folder / name).stat().st_size for name in ("events.jsonl", "tokens.jsonl")}
        log = sum(sizes.values())
        print(f"{calls:,} calls: {log / 1e6:.0f} MB, {log / calls:,.0f} bytes a call; full histories "
              f"{full / 1e6:,.0f} MB, {full / log:.1f} times as much")  # fmt: skip
        for what in ("open", "validate", "verifiers", "atif"):  # each in a process of its own, for its memory
            subprocess.run([sys.executable, "-c", MEASURED, place, what], check=True)


if __name__ == "__main__":
    main()
