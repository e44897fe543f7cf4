"""What the log costs: appends a second, bytes against full histories, and time and memory to open, validate and export
100,000 calls. The records are true: `swarm validate` finds nothing in the log.

    python -m benchmarks.studies.journal [CALLS]
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
from swarm.config import Rollout
from swarm.events import AgentEnded, AgentStarted, CallFinished, CallSent, RunEnded, RunStarted, ToolFinished
from swarm.journal.parl import StageClock, about_learning
from swarm.journal.redaction import VERSION, Redactor, secrets_of
from swarm.journal.totals import Totals
from swarm.journal.writer import Journal, open_journal
from swarm.result import RunResult, Spent
from swarm.rl.export.catalog import FORMATS
from swarm.types import Outcome, RunStatus, ToolStatus, Usage

SYSTEM = "You work. " * 200
AGENTS = 300
SHOWN = 400
"""Tokens of a tool's answer."""


class Agent:
    """Makes the records of one agent's turns, as `Conversation` and `ToolUser` do. `end` makes the last of them."""

    def __init__(self, journal: Journal, name: str, trainable: bool, chance: random.Random) -> None:
        self.journal = journal
        self.name = name
        self.trainable = trainable
        self.chance = chance
        self.messages: list[dict[str, Any]] = [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": name * 20},
        ]
        self.ids = [chance.randrange(150_000) for _ in range(600)]
        self.told = self.turns = 0
        self.last = ""
        self.full = 0
        self.usage = Usage()
        self.prompt = Prompt()
        journal.emit(AgentStarted(trajectory_id=name, role="orchestrator" if trainable else "subagent", name=name,
                                  trainable=trainable, model="m", system_prompt_sha256=sha256(SYSTEM)))  # fmt: skip

    def turn(self) -> None:
        """A call, and the use of the tool that it asks for."""
        turn = self.turns + 1
        arguments = json.dumps({"command": f"grep -rn {self.chance.random()} src | head -{turn}"})
        calls = [{"id": f"c{turn}", "type": "function", "function": {"name": "bash", "arguments": arguments}}]
        self._call({"role": "assistant", "content": "I look at it. " * 8, "tool_calls": calls}, "tool_calls")
        result = " ".join(f"line {self.chance.random()}" for _ in range(SHOWN // 8))
        now = time.monotonic()
        self.journal.emit(ToolFinished(
            trajectory_id=self.name, call_id=self.last, tool_call_id=f"c{turn}", name="bash", arguments=arguments,
            t_start=now, t_end=now, status=ToolStatus.COMPLETED, result=result, result_sha256=sha256(result),
            first_seen_by=f"{self.name}/{turn + 1}",
        ))  # fmt: skip
        self.messages.append({"role": "tool", "tool_call_id": f"c{turn}", "content": result})
        self.ids += [self.chance.randrange(150_000) for _ in range(SHOWN)]

    def end(self) -> None:
        """A last call, and the end."""
        self._call({"role": "assistant", "content": "It is done."}, "stop")
        self.journal.emit(AgentEnded(
            trajectory_id=self.name, outcome=Outcome.COMPLETED, stop="answered", terminated=True, truncated=False,
            usage=self.usage, steps=self.turns, tool_calls=self.turns - 1, final_output="It is done.",
        ))  # fmt: skip

    def _call(self, answer: dict[str, Any], reason: str) -> None:
        self.turns += 1
        chance, name = self.chance, f"{self.name}/{self.turns}"
        self.journal.emit(CallSent(trajectory_id=self.name, call_id=name, attempt=1))
        sampled = [chance.randrange(150_000) for _ in range(60)]
        self.prompt.take(self.messages)
        now = time.monotonic()
        record = CallFinished(
            trajectory_id=self.name, call_id=name, turn=self.turns, attempt=1, accepted=True, model="m",
            prefix_call_id=self.last, prefix_messages=self.told, new_messages=self.messages[self.told :],
            prompt_sha256=self.prompt.sha256, response=answer, finish_reason=reason, policy_version="7",
            usage=Usage(prompt_tokens=len(self.ids), completion_tokens=len(sampled), calls=1),
            t_sent=now, t_first_token=now, t_done=now, cost_usd=0.0, untrainable="frozen",
        )  # fmt: skip
        if self.trainable:
            record.token_source, record.token_exact, record.untrainable = "server_ids", True, ""
            logprobs = tuple(-chance.random() for _ in sampled)
            record.with_tokens(Tokens(tuple(self.ids), tuple(sampled), logprobs, len(self.ids), len(sampled)))
        self.full += self.prompt.size + len(to_json(answer)) + 7 * len(self.ids) * self.trainable  # `123456,`
        self.journal.emit(record)
        self.usage += record.usage
        self.messages.append(answer)
        self.told, self.last = len(self.messages), name
        self.ids += sampled


async def write(folder: Path, calls: int) -> int:
    """Write the log of so many calls by 300 agents, one in twenty of which learns; gives the bytes of full ones."""
    chance = random.Random(7)
    redactor = Redactor(secrets_of({"SOME_KEY": "sk-0123456789abcdefghijkl", "OTHER_TOKEN": "another-secret-value"}))
    each = max(1, calls // AGENTS)
    cpu = 0.0
    full = records = 0
    began = time.monotonic()
    async with open_journal(folder / "events.jsonl", folder.name, redactor) as journal:
        totals, clock = Totals(), StageClock()
        config = {"mode": "parl"}
        journal.subscribe(totals.observe)
        journal.subscribe(clock.observe)
        journal.emit(RunStarted(task="t", task_sha256=sha256("t"), mode="parl", swarm_version="0", config=config,
                                config_sha256=sha256(to_json(config).decode()),
                                redaction_version=VERSION))  # fmt: skip
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
            for _ in range(each - 1):
                for agent in agents:
                    agent.turn()
                await journal.flush()
            for agent in agents:
                agent.end()
                full += agent.full
        finally:
            Journal.emit = emit  # type: ignore[method-assign]
        for event in about_learning(_ended(folder, totals), clock, totals, Rollout()):
            journal.emit(event)
    wall = time.monotonic() - began
    print(f"{records:,} records in {wall:.1f} s (made and synced); {records / cpu:,.0f} appends/s of CPU, "
          f"{1e6 * cpu / records:.0f} us each, {1e6 * cpu / (each * AGENTS):.0f} us a call")  # fmt: skip
    return full


def _ended(folder: Path, totals: Totals) -> RunEnded:
    """The end of the run, whose sums are those of its records."""
    result = RunResult(
        run_id=folder.name, status=RunStatus.COMPLETED, exit_code=0, answer="It is done.", coverage=totals.coverage,
        usage=Spent(**totals.usage.model_dump(include=set(Spent.model_fields))), cost_usd=totals.cost, wall_s=1.0,
        critical_steps=totals.critical_steps, total_steps=totals.total_steps, n_subagents=totals.n_subagents,
        peak_concurrency=totals.peak_concurrency, outcomes=dict(totals.outcomes), run_dir=str(folder),
    )  # fmt: skip
    attempts = totals.attempts
    return RunEnded(
        status=result.status, exit_code=0, result=result.model_dump(mode="json"), wall_s=1.0,
        spawned=totals.n_subagents, finished=attempts[Outcome.COMPLETED], peak_concurrency=totals.peak_concurrency,
        total_steps=totals.total_steps, critical_steps=totals.critical_steps,
    )  # fmt: skip


MEASURED = """
import os, sys, time
from pathlib import Path
folder, what = Path(sys.argv[1]), sys.argv[2]
began = time.monotonic()
if what == "open":
    from swarm.journal.past import Past
    from swarm.journal.reader import read_events
    found = repr(Past(read_events(folder / "events.jsonl")))
elif what == "show":
    from swarm.cli.main import main  # as the command does
    sys.stdout = open(os.devnull, "w")
    found = f"exit code {main(['show', str(folder)])}"
    sys.stdout = sys.__stdout__
elif what == "validate":
    from swarm.journal.validation import validate
    found = f"{sum(1 for _ in validate(folder))} problems"
else:
    from swarm.errors import UsageError
    from swarm.rl.export.catalog import export
    try:
        found = f"{export(what, [folder], folder / ('out.' + what)).rows} rows"
    except UsageError as error:  # what writes it is not here
        found = str(error)
lines = Path("/proc/self/status").read_text().splitlines()  # of this program alone, not of whoever started it
peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
took = f"{time.monotonic() - began:.1f} s, {time.process_time():.1f} of CPU"
print(f"{what}: {took}, {peak:.0f} MB at most: {found}")
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
        for what in ("open", "show", "validate", *FORMATS):  # each in a process of its own, for its memory
            subprocess.run([sys.executable, "-c", MEASURED, place, what], check=True)


if __name__ == "__main__":
    main()
