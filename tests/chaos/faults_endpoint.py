"""Faults of the endpoint: storms of refusals, lost and spoilt answers, an account or a key that ends, an endpoint that
is away."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random

import anyio

from tests.chaos.live import LiveRun
from tests.chaos.scenario import Kind, Setting
from tests.chaos.strikes import BODIES, BROKEN, HARMLESS, SPOILT, Strike

STORMS = ("429", "429-bare", "429-ms", "429-junk", "500", "502", "503", "529")
_ESTIMATED = ("no-usage",)
_WAITED_FOR = ("stalled", "no-first-token")
_IMPATIENT = {"stall_timeout": 2.0, "first_token_timeout": 4.0, "call_timeout": 8.0}
"""Seconds after which such an answer is given up. Elsewhere as usual: the machine may be slow itself."""


@dataclass(frozen=True, slots=True)
class Struck:
    """The endpoint goes wrong at some requests. `until_mended`: until the run has ended by it."""

    name: str
    strikes: tuple[Strike, ...]
    until_mended: bool = False

    def __str__(self) -> str:
        each = (f"{s.what} at {s.first}-{s.last or ''}{f'/{s.every}' if s.every > 1 else ''}" for s in self.strikes)
        return ", ".join(each)

    @asynccontextmanager
    async def around(self, run: LiveRun) -> AsyncIterator[None]:
        run.endpoint.strikes.extend(self.strikes)
        if any(strike.what in _WAITED_FOR for strike in self.strikes):
            run.config |= _IMPATIENT
        run.estimated = run.estimated or any(strike.what in _ESTIMATED for strike in self.strikes)

        async def mend() -> None:
            run.endpoint.strikes[:] = [each for each in run.endpoint.strikes if each not in self.strikes]

        if self.until_mended:
            run.mends.append(mend)
        yield


def _storm(chance: Random, setting: Setting) -> Struck:
    what, first = chance.choice(STORMS), chance.randint(1, 14)
    length = chance.randint(1, 4)
    return Struck("storm", (Strike(what, first, first + length - 1),))


def _lost(chance: Random, setting: Setting) -> Struck:
    """Not twice in a row: some are given up after three."""
    what = chance.choice((*BROKEN, *BODIES))
    first = chance.randint(1, 10)
    return Struck("lost", (Strike(what, first, first + 4 * chance.randint(0, 2), every=4),))


def _spoilt(chance: Random, setting: Setting) -> Struck:
    first = chance.randint(1, 12)
    return Struck("spoilt", (Strike(chance.choice(SPOILT), first, first + 3 * chance.randint(0, 2), every=3),))


def _harmless(chance: Random, setting: Setting) -> Struck:
    return Struck("odd", (Strike(chance.choice(HARMLESS), chance.randint(1, 6), None, every=chance.randint(1, 3)),))


def _account(chance: Random, setting: Setting) -> Struck:
    what = chance.choice(("quota", "key"))
    return Struck(what, (Strike(what, chance.randint(1, 16), None),), until_mended=True)


@dataclass(frozen=True, slots=True)
class Away:
    """The endpoint is gone after so many requests; it is back while the run waits, or when that has ended."""

    after: int
    seconds: float | None
    name: str = "away"

    def __str__(self) -> str:
        back = f"{self.seconds:g} s" if self.seconds is not None else "until it ended"
        return f"endpoint away after {self.after} requests, {back}"

    @asynccontextmanager
    async def around(self, run: LiveRun) -> AsyncIterator[None]:
        endpoint = run.endpoint
        gone = anyio.Event()

        async def leave() -> None:
            await endpoint.asked(self.after)
            await endpoint.down()
            run.injected["away"] += 1
            gone.set()
            if self.seconds is not None:
                await anyio.sleep(self.seconds)
                await endpoint.up()

        async def mend() -> None:
            if gone.is_set() and self.seconds is None:
                await endpoint.up()

        run.mends.append(mend)
        async with anyio.create_task_group() as group:
            group.start_soon(leave)
            yield
            group.cancel_scope.cancel()


def _away(chance: Random, setting: Setting) -> Away:
    return Away(chance.randint(1, 14), chance.choice((0.2, 1.0, 3.0, None)))


@dataclass(frozen=True, slots=True)
class Scarce:
    """A budget that does not do for all of it."""

    tokens: int
    name: str = "budget"

    def __str__(self) -> str:
        return f"a budget of {self.tokens} tokens"

    @asynccontextmanager
    async def around(self, run: LiveRun) -> AsyncIterator[None]:
        run.options += ["--budget-tokens", str(self.tokens)]
        run.same = False
        run.injected[self.name] += 1
        yield


KINDS: Sequence[Kind] = (
    Kind("storm", _storm, weight=3, clash="endpoint"),
    Kind("lost", _lost, weight=3, clash="endpoint"),
    Kind("spoilt", _spoilt, weight=1.5, clash="endpoint"),
    Kind("odd", _harmless, clash="endpoint"),
    Kind("account", _account, clash="endpoint"),
    Kind("away", _away, clash="endpoint"),
    Kind("budget", lambda chance, setting: Scarce(chance.randint(2_000, 60_000))),
)
