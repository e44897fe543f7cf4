"""The journal of a made-up run of any size, for what reads journals whole: agents in layers, each of many turns."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from pathlib import Path

from swarm.events import (
    AgentEnded,
    AgentStarted,
    BoardPosted,
    CallFinished,
    CallSent,
    Event,
    GateFinished,
    GateStarted,
    PatchMerged,
    RunEnded,
    RunStarted,
    StageEnded,
    StageStarted,
    SubTaskSkipped,
    ToolFinished,
    ToolStarted,
)
from swarm.journal.lines import sealed
from swarm.types import Outcome, Plan, RunStatus, SubTask, ToolStatus, Usage

LAYERS = 6
PROMPT = "You are one of many agents, each at work on a part of one task.\n" * 40


def big_run(agents: int, turns: int, seed: int = 1) -> Iterator[Event]:
    """Agents in six layers; every tenth fails, every eleventh is not merged, the last is never started. Monotonic
    times are set, as the agents of a layer work side by side."""
    chance = random.Random(seed)
    subtasks = tuple(_subtask(n, agents, chance) for n in range(agents))
    mono = 100.0
    config = {"mode": "plan", "concurrency": agents}
    yield RunStarted(
        task="Make all of it.", task_sha256="", mode="plan", swarm_version="0", config=config, config_sha256="",
        models={"subagent": "m"}, endpoints={"subagent": "localhost"}, mono=mono, t=1.7e9,
    )  # fmt: skip
    yield AgentStarted(trajectory_id="o", role="orchestrator", name="orchestrator", trainable=True, mono=mono)
    plan = Plan(rationale="layer by layer", subtasks=subtasks)
    yield StageStarted(stage=1, plan=plan, trajectory_id="o", mono=mono + 1)
    ends = [mono + 1.0] * LAYERS
    for n, subtask in enumerate(subtasks[:-1]):
        layer = n * LAYERS // agents
        start = mono + 1 + (ends[layer - 1] - mono if layer else chance.random())
        for event in _agent(n, subtask, turns, start, chance):
            ends[layer] = max(ends[layer], event.mono)
            yield event
    mono = max(ends)
    yield SubTaskSkipped(stage=1, subtask_id=subtasks[-1].id, outcome=Outcome.SKIPPED, reason="why not", mono=mono)
    for n, subtask in enumerate(subtasks[:-1]):
        reason = "conflict with what was merged before in a.txt" if n % 11 == 10 else ""
        yield PatchMerged(stage=1, subtask_id=subtask.id, merged=not reason, reason=reason, mono=mono + n / 100)
    mono += agents / 100
    yield GateStarted(stage=1, command="make test", mono=mono)
    yield GateFinished(
        stage=1, command="make test", commit="", passed=False, exit_code=1, timed_out=False, seconds=9.0, mono=mono + 9,
        output="a line of its output\n" * 500, failed=["t.py::one", "t.py::two"], broken=["t.py::two"],
    )  # fmt: skip
    yield StageEnded(stage=1, main_steps=1, mono=mono + 9)
    yield _end("o", Outcome.COMPLETED, mono + 10)
    yield RunEnded(status=RunStatus.PARTIAL, exit_code=1, result={"answer": "Most of it."}, error="some is missing",
                   wall_s=mono - 90, mono=mono + 10)  # fmt: skip


def write_run(folder: Path, events: Iterable[Event]) -> Path:
    """A run's folder with these events in its journal, in the order of their times. Their `t` is made of `mono`."""
    folder.mkdir(parents=True)
    ordered = sorted(events, key=lambda event: event.mono)
    with (folder / "events.jsonl").open("wb") as file:
        for seq, event in enumerate(ordered):
            told = event.model_copy(update={"seq": seq, "run_id": folder.name, "t": 1.7e9 + event.mono})
            file.write(sealed(told.model_dump_json().encode()))
    return folder


def _subtask(n: int, agents: int, chance: random.Random) -> SubTask:
    layer = n * LAYERS // agents
    before = [other for other in range(n) if other * LAYERS // agents == layer - 1]
    needs = {f"s{chance.choice(before)}" for _ in range(chance.choice((1, 1, 2)))} if before else set()
    return SubTask(id=f"s{n}", title=f"Part {n}", instructions=f"Make part {n}.", depends_on=tuple(sorted(needs)))


def _agent(n: int, subtask: SubTask, turns: int, mono: float, chance: random.Random) -> Iterator[Event]:
    name = subtask.id
    yield AgentStarted(
        trajectory_id=name, role="subagent", name=name, trainable=False, stage=1, subtask=subtask, model="m", mono=mono
    )
    before = ""
    for turn in range(1, turns + 1):
        call, wait, took, used = f"{name}/{turn}", chance.expovariate(3), chance.lognormvariate(0, 0.5), chance.random()
        mono += wait
        yield CallSent(trajectory_id=name, call_id=call, attempt=1, mono=mono)
        fails = chance.random() < 0.03
        new = [{"role": "user", "content": f"Go on with part {n}, turn {turn}. " + "Some words of context. " * 20}]
        if turn == 1:
            new.insert(0, {"role": "system", "content": PROMPT})
        if fails:
            yield CallFinished(
                trajectory_id=name, call_id=call, turn=turn, attempt=1, accepted=False, error="overloaded",
                t_sent=mono, t_done=mono + 0.5, wait_s=wait, mono=mono + 0.5,
            )  # fmt: skip
            mono += 0.6
        yield CallFinished(
            trajectory_id=name, call_id=call, turn=turn, attempt=1 + fails, accepted=True, model="m", new_messages=new,
            prefix_call_id=before, prefix_messages=2 * turn, cost_usd=0.001, wait_s=0 if fails else wait,
            response={"role": "assistant", "content": f"I look at {turn} of {n}. " + _noise(chance, 30)},
            usage=Usage(prompt_tokens=1000 + 300 * turn, completion_tokens=80, cached_tokens=250 * turn, calls=1),
            t_sent=mono, t_first_token=mono + took / 3, t_done=mono + took, mono=mono + took,
        )  # fmt: skip
        mono, before = mono + took, call
        tool = {"trajectory_id": name, "call_id": call, "tool_call_id": "1", "name": "bash"}
        arguments = f'{{"command": "sed -n {turn},{turn + 40}p part_{n}.py"}}'
        yield ToolStarted.model_validate({**tool, "arguments": arguments, "mono": mono})
        yield ToolFinished.model_validate(
            {**tool, "arguments": arguments, "t_start": mono, "t_end": mono + used, "status": ToolStatus.COMPLETED,
             "exit_code": int(turn % 9 == 8), "result": _noise(chance, 200), "mono": mono + used}
        )  # fmt: skip
        mono += used
    yield BoardPosted(trajectory_id=name, action="find", key=f"part_{n}", text="it stands", mono=mono)
    yield _end(name, Outcome.FAILED if n % 10 == 9 else Outcome.COMPLETED, mono + 0.2)


def _end(name: str, outcome: Outcome, mono: float) -> AgentEnded:
    return AgentEnded(
        trajectory_id=name, outcome=outcome, stop="submitted", terminated=True, truncated=False,
        final_output="Made it.", mono=mono,
    )  # fmt: skip


def _noise(chance: random.Random, words: int) -> str:
    """Text that packs about as badly as real output does."""
    return " ".join(f"{chance.choice('abcdefgh')}{chance.randrange(10000)}" for _ in range(words))
