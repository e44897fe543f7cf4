"""The world of the tasks: entries that are looked up one at a time. Each holds its value, or leads to another one.

`wide` tasks name all their entries, so that many agents can look them up at once; a hard one leads to a second. In a
`chain` each entry leads to the next, of which nobody knows before: only whoever holds the thread gets on.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from swarm.events import AgentStarted, Event, ToolFinished
from swarm.protocols import Sandbox
from swarm.rl.tasks.task import Task
from swarm.types import JsonObject, Role, ToolErrorKind, ToolResult, ToolStatus

NAMES = tuple(first + rest for first in "bdfgjklmnprstvwz" for rest in ("uq", "ovu", "izo"))
"""Of the entries. They say nothing: what an entry holds differs from book to book."""

WIDE, CHAIN = "wide", "chain"


@dataclass(frozen=True, slots=True)
class Shape:
    """What a task asks for: a wide one so many entries, of which some are hard; a chain so many links."""

    kind: str
    size: int
    hard: int = 0

    @property
    def least(self) -> int:
        """Uses of `look_up` that it takes."""
        return self.size + self.hard

    def __str__(self) -> str:
        return f"{self.kind}-{self.size}" + (f"-{self.hard}" if self.hard else "")


TRAINED = (
    Shape(WIDE, 2),
    Shape(WIDE, 4, 1),
    Shape(WIDE, 6),
    Shape(WIDE, 6, 2),
    Shape(WIDE, 8),
    Shape(CHAIN, 2),
    Shape(CHAIN, 3),
    Shape(CHAIN, 4),
)
HELD_OUT = (
    Shape(WIDE, 3),
    Shape(WIDE, 4, 2),
    Shape(WIDE, 5, 1),
    Shape(WIDE, 7),
    Shape(WIDE, 7, 1),
    Shape(CHAIN, 3),
    Shape(CHAIN, 4),
    Shape(CHAIN, 4),
)
"""Other widths, other mixtures, and other seeds; chains of a length that was trained have other names in them."""


def make_book(shapes: Sequence[Shape], seed: int) -> list[Task]:
    """A task of each shape, always the same for a seed. No two of them share a name, so that one `LookUp` serves all.
    The key of a task holds what it wants, and what each entry leads to, or its value.

    Raises:
        ValueError: there are not so many names.
    """
    chance = random.Random(f"parl {seed}")
    names = iter(chance.sample(NAMES, sum(shape.least for shape in shapes)))
    return [_task(f"{number}-{shape}-s{seed}", shape, names, chance) for number, shape in enumerate(shapes)]


def _task(name: str, shape: Shape, names: Iterator[str], chance: random.Random) -> Task:
    holds: dict[str, str] = {}
    wanted = [next(names) for _ in range(shape.size)]
    hard = set(chance.sample(wanted, shape.hard))
    if shape.kind == CHAIN:
        holds |= pairwise(wanted)
        ends, prompt = wanted[-1:], f"{CHAIN}: begin at {wanted[0]}, and follow where each entry leads, to the end."
    else:
        holds |= {entry: next(names) for entry in wanted if entry in hard}
        ends = [holds.get(entry, entry) for entry in wanted]
        prompt = f"{WIDE}: find {', '.join(f'{entry} (hard)' if entry in hard else entry for entry in wanted)}."
    holds |= {entry: str(chance.randint(100, 999)) for entry in ends}
    return Task(id=name, prompt=prompt, answer={"holds": holds, "wanted": wanted}, kind=shape.kind)


class LookUp:
    """`swarm.protocols.Tool`: one entry of the book that is open."""

    name = "look_up"
    description = "Look up one entry. It is found, or it leads to another entry."
    parameters: ClassVar[JsonObject] = {
        "type": "object",
        "properties": {"entry": {"type": "string"}},
        "required": ["entry"],
        "additionalProperties": False,
    }

    def __init__(self) -> None:
        self._holds: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<LookUp in {len(self._holds)} entries>"

    def open(self, tasks: Iterable[Task]) -> None:
        """The entries of these tasks, and no others, are in the book from now on."""
        self._holds = {entry: holds for task in tasks for entry, holds in task.answer["holds"].items()}

    async def call(self, arguments: JsonObject, sandbox: Sandbox) -> ToolResult:
        """See `swarm.protocols.Tool.call`."""
        entry = str(arguments.get("entry"))
        if entry not in self._holds:
            return ToolResult(f"no entry {entry}", ToolStatus.FAILED, error=ToolErrorKind.BAD_ARGUMENTS)
        return ToolResult(said(entry, self._holds[entry]))


def said(entry: str, holds: str) -> str:
    """What `look_up` tells of an entry."""
    return f"{entry} leads {holds}" if holds in NAMES else f"{entry} found {holds}"


def told(events: Iterable[Event]) -> Iterator[str]:
    """What the orchestrator was told in a run, as its log has it: results of its own tools, and the reports of agents
    that completed."""
    orchestrators: set[str] = set()
    for event in events:
        if isinstance(event, AgentStarted) and event.role == Role.ORCHESTRATOR:
            orchestrators.add(event.trajectory_id)
        elif isinstance(event, ToolFinished) and event.trajectory_id in orchestrators and event.status == "completed":
            yield event.result


def part_found(task: Task, texts: Iterable[str]) -> float:
    """The part of what the task wants that these texts tell, 0..1; of a chain the part from its beginning on."""
    holds: Mapping[str, str] = task.answer["holds"]
    wanted: Sequence[str] = task.answer["wanted"]
    text = "\n".join(texts)
    known = {entry for entry in holds if said(entry, holds[entry]) in text}
    if task.kind == CHAIN:
        return next((at for at, entry in enumerate(wanted) if entry not in known), len(wanted)) / len(wanted)
    return sum((holds[entry] if holds[entry] in NAMES else entry) in known for entry in wanted) / len(wanted)
