"""Conversations that are made up, in the form in which the runtime writes them. Learning begins with a policy that
imitates these; it never sees them again, and no reward stands in them."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from examples.parl.clerk import Clerk
from examples.parl.vocabulary import (
    ANSWER_TOKEN,
    ASSIGN_TOKEN,
    CREATE_TOKEN,
    END,
    LOOK_TOKEN,
    ROLES,
    encode,
    encode_prompt,
    names_in,
    read_turn,
)
from examples.parl.world import NAMES, said
from swarm.embedded.policy import PolicyRequest
from swarm.orchestrators.delegation import ASSIGN, CREATE
from swarm.prompts.messages import orchestrator_request
from swarm.rl.tasks.task import Task
from swarm.stages import RunState

CRITICAL_STEPS = 5
"""Of a run, at most."""
MOST_AGENTS = 10
_LAST = "You have 1 model call left. Give your answer now."


@dataclass
class Story:
    """One task as somebody works on it: tokens, which of them were said by the assistant, and what it came to."""

    task: Task
    system: str
    tokens: list[int] = field(default_factory=list)
    mask: list[int] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    critical: int = 0
    total: int = 0
    agents: int = 0
    finished: int = 0
    over: bool = False
    answered: bool = False
    registered: bool = False

    def __post_init__(self) -> None:
        request = orchestrator_request(RunState(self.task.prompt, None, "", None, (), None), MOST_AGENTS)
        messages = [{"role": "system", "content": self.system}, {"role": "user", "content": request}]
        self._hear(encode_prompt(messages))

    def _hear(self, ids: Sequence[int]) -> None:
        self.tokens += ids
        self.mask += [0] * len(ids)

    def say(self, ids: Sequence[int]) -> None:
        """The assistant's turn, without its end, and what comes back."""
        self.tokens += [*ids, END]
        self.mask += [1] * (len(ids) + 1)
        self.critical, self.total = self.critical + 1, self.total + 1
        reply = read_turn(ids)
        if not reply.tool_calls:
            self.over, self.answered = True, list(ids) == [ANSWER_TOKEN]
            return
        longest = 0
        for call in reply.tool_calls:
            text, steps = self._result(call.name, json.loads(call.arguments))
            longest, self.total = max(longest, steps), self.total + steps
            self._hear([ROLES["tool"], *encode(text), END])
            self.told.append(text)
        self.critical += longest
        if self.critical >= CRITICAL_STEPS:
            self.over = True
            return
        if self.critical == CRITICAL_STEPS - 1:
            self._hear([ROLES["user"], *encode(_LAST), END])
        self._hear([ROLES["assistant"]])

    def _result(self, name: str, arguments: dict[str, Any]) -> tuple[str, int]:
        """What a call gives, and the steps that somebody else took for it."""
        if name == CREATE:
            self.registered = True
            return "agent is registered", 0
        if name != ASSIGN:
            return self._look(arguments["entry"]), 0
        if not self.registered:
            return "there is no agent", 0
        if self.agents == MOST_AGENTS:
            return "not started", 0
        self.agents += 1
        report, steps = self._clerk(arguments["prompt"])
        self.finished += report.startswith("[completed]")
        return report, steps

    def _look(self, entry: str) -> str:
        holds = self.task.answer["holds"]
        return said(entry, holds[entry]) if entry in holds else f"no entry {entry}"

    def _clerk(self, prompt: str) -> tuple[str, int]:
        messages: list[dict[str, Any]] = [{"role": "user", "content": prompt}]
        for step in range(1, CRITICAL_STEPS - self.critical + 1):
            (call,) = Clerk().reply(PolicyRequest(tuple(messages))).tool_calls
            arguments = json.loads(call.arguments)
            if call.name == "submit":
                outcome = "completed" if arguments["status"] == "done" else "failed"
                return f"[{outcome}]\n{arguments['summary']}", step
            messages.append({"role": "tool", "content": self._look(arguments["entry"])})
        return "[budget_exhausted]", CRITICAL_STEPS - self.critical


@dataclass(frozen=True, slots=True)
class Habits:
    """Of who is imitated: how often the first turn delegates, and how often any turn is careless."""

    delegates: float = 0.15
    careless: float = 0.05


def made_up(task: Task, system: str, habits: Habits, chance: random.Random) -> Story:
    """Somebody works alone, one entry after the other, and now and then begins by asking agents, without any judgement
    of how much one can do, of whether all was asked for, or of whether it helps at all."""
    story = Story(task, system)
    if chance.random() < habits.delegates:
        story.say(list(_delegation(names_in(task.prompt), habits, chance)))
    while not story.over:
        todo = list(_left(story))
        last = story.critical == CRITICAL_STEPS - 1
        if last or not todo or chance.random() < habits.careless / 4:
            story.say([ANSWER_TOKEN])
        elif chance.random() < habits.careless / 2:
            story.say(list(_delegation(todo, habits, chance)))
        else:
            careless = chance.random() < habits.careless
            story.say([LOOK_TOKEN, *encode(chance.choice(names_in(task.prompt)) if careless else todo[0])])
    return story


def _left(story: Story) -> Iterator[str]:
    """The entries that are known to be wanted and were not told."""
    known: dict[str, str] = {}
    for line in "; ".join(story.told).replace("\n", "; ").split("; "):
        match line.split():
            case [entry, "found" | "leads", holds]:
                known[entry] = holds
    asked = names_in(story.task.prompt)
    for entry in asked:
        while entry in known and known[entry] in NAMES:
            entry = known[entry]
        if entry not in known:
            yield entry


def _delegation(todo: Sequence[str], habits: Habits, chance: random.Random) -> Iterator[int]:
    """Entries in parts of one size, whatever is in them."""
    if chance.random() > habits.careless:
        yield CREATE_TOKEN
    names = list(todo if chance.random() < 0.8 else todo[: chance.randint(1, len(todo))])
    size = chance.choice((1, 2, 3))
    for at in range(0, len(names), size):
        yield ASSIGN_TOKEN
        yield from encode(" ".join(names[at : at + size]))
