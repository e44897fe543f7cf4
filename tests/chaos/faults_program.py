"""Faults of the program itself: signals, kill -9 at each named point, the clock, names that no longer resolve, a reader
of its output that goes away, a journal that cannot be written."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any
from urllib.parse import urlsplit

import anyio

from tests.chaos.launcher import HOST, Act, When
from tests.chaos.live import LiveRun
from tests.chaos.scenario import Kind, Setting

EVENTS = (
    *("run_start", "agent_start", "call_sent", "call", "tool_start", "tool", "agent_end", "gate", "stage_start"),
    *("stage_end", "finish", "merge", "run_end", "checkpoint"),
)
_OFTEN = {"call_sent": 12, "call": 12, "tool_start": 8, "tool": 8, "agent_start": 4, "agent_end": 3, "checkpoint": 4}
_POINTS: dict[str, int] = {
    "journal.write": 80,
    "journal.sync": 10,
    "git": 40,
    "file.whole": 4,
    "file.replace": 4,
    "process": 30,
    "snapshot": 1,
    "lease.take": 1,
    "lease.release": 1,
    "lease.forget": 1,
    "reap": 1,
    "copy.make": 3,
    "copy.stage": 4,
    "checkpoint": 4,
    "merge.commit": 6,
    "merge.pick": 3,
    "answer": 1,
    "patch": 2,
    "graph": 1,
    "measured": 1,
    "parquet": 1,
    "deliver": 1,
}
"""Points, and the highest number of times that a run comes to each, about."""

_OF_APPLY = {"apply": 1, "apply.note": 1}
_OF_RESUME = {"go_on": 1, "reap": 1}


@dataclass(frozen=True, slots=True)
class Accident:
    """Something happens at a point, in each of the first lives as told."""

    name: str
    acts: tuple[tuple[int, Act], ...]

    def __str__(self) -> str:
        return ", ".join(f"{act.do} {act.when} {act.point}#{act.nth} in life {life}" for life, act in self.acts)

    @asynccontextmanager
    async def around(self, run: LiveRun) -> AsyncIterator[None]:
        for life, act in self.acts:
            run.acts.setdefault(life, []).append(act)
        yield


def _point(chance: Random, setting: Setting, do: str, *, resumed: bool) -> tuple[str, int, When]:
    when: When = chance.choice(("before", "after"))
    if chance.random() < 0.5:
        event = chance.choice(EVENTS)
        torn = do == "kill" and chance.random() < 0.3
        return f"event:{event}", chance.randint(1, _OFTEN.get(event, 1)), "torn" if torn else when
    points = dict(_POINTS)
    if setting.delivery == "apply":
        points |= _OF_APPLY
    if setting.delivery == "branch":
        points["branch"] = 1
    if resumed:
        points |= _OF_RESUME
    point = chance.choice(sorted(points))
    return point, chance.randint(1, points[point]), when


def _accident(do: str, lives: int = 1) -> Kind:
    def draw(chance: Random, setting: Setting) -> Accident:
        acts = []
        for life in range(lives):
            point, nth, when = _point(chance, setting, do, resumed=life > 0)
            acts.append((life, Act(point, nth, do, when)))
        return Accident(do, tuple(acts))

    return Kind(f"{do} x{lives}" if lives > 1 else do, draw, clash="process")


@dataclass(frozen=True, slots=True)
class Slain:
    """The process and all that it started are killed at any moment: so many records and seconds into a life."""

    moments: tuple[tuple[int, float], ...]
    name: str = "slain"

    def __str__(self) -> str:
        return ", ".join(f"killed with its group after {count} records and {s:.2f} s" for count, s in self.moments)

    @asynccontextmanager
    async def around(self, run: LiveRun) -> AsyncIterator[None]:
        async def slay() -> None:
            for life, (count, seconds) in enumerate(self.moments):
                process, before = await run.begun(life), run.length()
                await run.reached(partial(_longer, before + count))
                await anyio.sleep(seconds)
                with suppress(ProcessLookupError):  # it came to its end
                    os.killpg(process.pid, signal.SIGKILL)
                    run.injected[self.name] += 1

        async with anyio.create_task_group() as group:
            group.start_soon(slay)
            yield
            group.cancel_scope.cancel()


def _longer(count: int, events: list[dict[str, Any]]) -> bool:
    return len(events) > count


def _slain(chance: Random, setting: Setting) -> Slain:
    lives = chance.choices((1, 2, 3), (3, 2, 1))[0]
    return Slain(tuple((chance.randint(0, 60), chance.uniform(0.0, 0.2)) for _ in range(lives)))


@dataclass(frozen=True, slots=True)
class Clock:
    """The time of day jumps while it runs."""

    acts: tuple[Act, ...]
    name: str = "clock"

    def __str__(self) -> str:
        return ", ".join(f"clock {act.value:+g} s at {act.point}#{act.nth}" for act in self.acts)

    @asynccontextmanager
    async def around(self, run: LiveRun) -> AsyncIterator[None]:
        run.acts.setdefault(0, []).extend(self.acts)
        yield


def _clock(chance: Random, setting: Setting) -> Clock:
    jumps = [chance.choice((-86_400.0, -7_200.0, -5.0, 5.0, 7_200.0, 90_000.0)) for _ in range(chance.randint(1, 3))]
    return Clock(tuple(Act("journal.write", chance.randint(2, 60), "clock", "before", value) for value in jumps))


@dataclass(frozen=True, slots=True)
class NameGone:
    """The endpoint's name stops to resolve, and later does again."""

    nth: int
    back: bool
    name: str = "dns"

    def __str__(self) -> str:
        return f"dns gone at journal.write#{self.nth}{', back later' if self.back else ''}"

    @asynccontextmanager
    async def around(self, run: LiveRun) -> AsyncIterator[None]:
        run.endpoint.closes = True  # so that each call looks it up
        run.env["ENDPOINT"] = f"http://{HOST}:{urlsplit(run.endpoint.url).port}/v1"
        acts = [Act("journal.write", self.nth, "dns-gone", "before")]
        if self.back:
            acts.append(Act("event:call", 3, "dns-back"))
        run.acts.setdefault(0, []).extend(acts)
        yield


@dataclass(frozen=True, slots=True)
class NoReader:
    """Whoever reads its standard output goes away."""

    name: str = "broken pipe"

    def __str__(self) -> str:
        return self.name

    @asynccontextmanager
    async def around(self, run: LiveRun) -> AsyncIterator[None]:
        run.unread.add(0)
        run.injected[self.name] += 1
        yield


@dataclass(frozen=True, slots=True)
class NoRecord:
    """The journal can no longer be written; the next process can."""

    act: Act
    name: str = "no record"

    def __str__(self) -> str:
        return f"journal {self.act.do} at {self.act.point}#{self.act.nth}"

    @asynccontextmanager
    async def around(self, run: LiveRun) -> AsyncIterator[None]:
        run.acts.setdefault(0, []).append(self.act)
        yield


def _no_record(chance: Random, setting: Setting) -> NoRecord:
    return NoRecord(Act("journal.write", chance.randint(1, 60), chance.choice(("full", "io")), "before"))


KINDS: Sequence[Kind] = (
    Kind("kill", _accident("kill").draw, weight=4, clash="process"),
    _accident("kill", 2),
    _accident("kill", 3),
    _accident("term"),
    _accident("int"),
    _accident("hup"),
    _accident("stop"),
    Kind("slain", _slain, weight=3, clash="process"),
    Kind("clock", _clock),
    Kind("no reader", lambda chance, setting: NoReader(), weight=0.5, clash="process"),
    Kind("dns", lambda chance, setting: NameGone(chance.randint(4, 40), chance.random() < 0.7), clash="endpoint"),
    Kind("no record", _no_record, clash="process"),
)
