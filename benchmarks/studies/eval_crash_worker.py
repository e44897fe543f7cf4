"""The evaluation that eval_crash.py kills: sums that a scripted agent does in a real sandbox, some of which fail.

    python -m benchmarks.studies.eval_crash_worker OUT NOTES [--instances 500] [--workers 32] [--fail 0.1] [--seed 1]

Appends to NOTES what is done, with its process id: `call ID` for a model call, `grade ID`, `broke ID` for a sandbox.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from swarm.calls import ModelRequest
from swarm.config import RunConfig
from swarm.errors import MachineError, SandboxError
from swarm.evals.runner.arms import ways
from swarm.evals.runner.evaluation import Halt, Width
from swarm.evals.runner.whole import Asked, evaluate
from swarm.evals.suite import Ended, Instance, Ready, Verdict
from swarm.parts import Parts
from swarm.protocols import Sandbox
from swarm.result import RunResult
from swarm.rl.rollout.keeping import Patience
from swarm.sandboxes.process import ProcessBackend
from swarm.testing import ScriptedModel, Turn, tool_call
from swarm.types import SandboxRequest

_NUMBER = re.compile(r"sum-(\d+)")


class Notes:
    """Lines that a kill does not take back."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def add(self, what: str, name: str) -> None:
        os.write(self._fd, f"{os.getpid()} {what} {name}\n".encode())


class Sums:
    """One sum an instance; each seventh is answered wrongly. A part of the gradings fails as well."""

    name = "sums"
    version = "1"

    def __init__(self, count: int, fail: float, chance: random.Random, notes: Notes) -> None:
        self._count, self._fail, self._chance, self._notes = count, fail, chance, notes

    @property
    def options(self) -> Mapping[str, Any]:
        return {}

    def instances(self) -> Sequence[Instance]:
        return [Instance(f"sum-{n}", f"sum-{n}: add {n} and {n}", {"parity": str(n % 2)}) for n in range(self._count)]

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        yield

    @asynccontextmanager
    async def ready(self, instance: Instance, place: Path) -> AsyncIterator[Ready]:
        yield Ready(digest=f"sha256:{instance.id}")

    async def grade(self, instance: Instance, result: RunResult, place: Path) -> Verdict:
        self._notes.add("grade", instance.id)
        if self._chance.random() < self._fail:
            raise MachineError("the grader's sandbox broke")
        right = result.answer.strip() == str(2 * number_of(instance.id))
        return Verdict(right, float(right), {} if right else {"kind": "wrong sum"})

    def summary(self, verdicts: Mapping[str, Sequence[Verdict]]) -> Mapping[str, Any]:
        return {
            "total_instances": len(verdicts),
            "resolved_ids": [n for n, v in verdicts.items() if v and v[0].resolved],
        }

    def files(self, model: str, ended: Sequence[Ended]) -> Mapping[str, bytes]:
        ran = [each for each in ended if each.trial.resolved is not None]
        rows = [{"instance_id": each.instance.id, "answer": (each.place / "answer.txt").read_text()} for each in ran]
        return {"answers.json": json.dumps(rows).encode()}


class Fragile:
    """A real sandbox of which a part breaks: as it is opened, or at a command."""

    name = "process"
    owner = None

    def __init__(self, fail: float, chance: random.Random, notes: Notes) -> None:
        self._inner, self._fail, self._chance, self._notes = ProcessBackend(), fail, chance, notes

    async def check(self, lease: Path) -> None:
        await self._inner.check(lease)

    @asynccontextmanager
    async def open(self, request: SandboxRequest) -> AsyncIterator[Sandbox]:
        breaks = self._chance.random() < self._fail
        if breaks:
            self._notes.add("broke", request.owner)
            raise SandboxError("no room for a sandbox")
        async with self._inner.open(request) as sandbox:
            yield sandbox


def number_of(text: str) -> int:
    found = _NUMBER.search(text)
    assert found is not None, text
    return int(found.group(1))


def policy(notes: Notes) -> ScriptedModel:
    """Lets the shell add, and answers what it said."""

    async def answer(request: ModelRequest) -> Turn:
        n = number_of(str(request.messages[1]["content"]))
        notes.add("call", f"sum-{n}")
        await anyio.sleep(0.05)
        said = [str(message["content"]) for message in request.messages if message["role"] == "tool"]
        if not said:
            return tool_call("bash", command=f"expr {n} + {n + (n % 7 == 0)}")
        return re.findall(r"^\d+$", said[-1], re.MULTILINE)[0]

    return ScriptedModel(answer)


async def work(args: argparse.Namespace) -> int:
    notes, chance = Notes(args.notes), random.Random(f"{args.seed}/{os.getpid()}")
    parts = Parts(model=policy(notes), backend=Fragile(args.fail, chance, notes))
    asked = Asked(width=Width(args.workers, 4), patience=Patience(tries=6, retry_s=0.02), seed=args.seed)
    suite = Sums(args.instances, args.fail, chance, notes)
    found = await evaluate(
        suite, ways(RunConfig(mode="single", model=None)), args.out, asked, Halt(), lambda line, progress: None, parts
    )
    return found.exit_code


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("notes", type=Path)
    parser.add_argument("--instances", type=int, default=500)
    parser.add_argument("--workers", type=int, default=32)
    parser.add_argument("--fail", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=1)
    return anyio.run(work, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
