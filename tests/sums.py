"""A suite of sums for tests of the evaluation runner: tiny, without a repository."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swarm.calls import ModelRequest
from swarm.errors import MachineError
from swarm.evals.suite import Ended, Instance, Ready, Verdict
from swarm.result import RunResult


def number_of(text: str) -> int:
    found = re.search(r"sum-(\d+)", text)
    assert found is not None, text
    return int(found.group(1))


def right(request: ModelRequest) -> str:
    """The answer of a model that adds, but for each third."""
    number = number_of(str(request.messages[1]["content"]))
    return str(2 * number if number % 3 else -1)


@dataclass
class Sums:
    """`unset` instances cannot be set up, `ungraded` ones not graded, so often; `graded` notes each grading."""

    size: int = 6
    name: str = "sums"
    version: str = "1"
    options: dict[str, Any] = field(default_factory=dict)
    unset: set[str] = field(default_factory=set)
    ungraded: dict[str, int] = field(default_factory=dict)
    graded: list[str] = field(default_factory=list)
    digest: Callable[[str], str] = str

    def instances(self) -> Sequence[Instance]:
        return [Instance(f"sum-{n}", f"sum-{n}: add it to itself") for n in range(self.size)]

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        yield

    @asynccontextmanager
    async def ready(self, instance: Instance, place: Path) -> AsyncIterator[Ready]:
        assert list(place.iterdir()) == []
        if instance.id in self.unset:
            raise MachineError(f"there is no image of {instance.id}")
        yield Ready(digest=self.digest(instance.id))

    async def grade(self, instance: Instance, result: RunResult, place: Path) -> Verdict:
        self.graded.append(instance.id)
        if self.ungraded.get(instance.id, 0):
            self.ungraded[instance.id] -= 1
            raise MachineError("the grader broke")
        assert (place / "answer.txt").read_text() == result.answer
        good = result.answer == str(2 * number_of(instance.id))
        return Verdict(good, float(good), {} if good else {"kind": "wrong"})

    def summary(self, verdicts: Mapping[str, Sequence[Verdict]]) -> Mapping[str, Any]:
        resolved = [name for name, each in verdicts.items() if any(verdict.resolved for verdict in each)]
        return {"total_instances": len(verdicts), "resolved_ids": resolved}

    def files(self, model: str, ended: Sequence[Ended]) -> Mapping[str, bytes]:
        return {"ended.txt": "".join(f"{model} {each.instance.id}\n" for each in ended).encode()}
