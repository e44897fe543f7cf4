"""A hundred agents against a hard rate limit: how much of it is used, what is wasted, who fails. One run, interleaved.

    python -m benchmarks.studies.goodput [--agents 100] [--calls 8] [--rate 80] [--window 2] [--rounds 1] [--case CASE]

Each way makes the same calls against an embedded endpoint of its own process: `ours` (the governor and the retries of a
run), `backoff` (the openai package's exponential backoff, 20 tries), `fixed 8` (the same behind 8 calls at once), and
`default` (the openai package as it comes: 2 retries). `R` is `rate * window` requests in `window` seconds, so a minute
is scaled to the window. Of R: calls answered in a second, as a share of what the limit allows (what a bucket holds at
the start is left out). To the ideal: the time needed, over that of a client who knows the limit and spends each window
at once. Last: what the governor adds to a call that nobody competes with.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx
import openai

from swarm.agents.conversation import Conversation, Line
from swarm.budgets.budget import Budget
from swarm.budgets.levels import Limits
from swarm.calls import Ask
from swarm.errors import EndpointError
from swarm.events import Event
from swarm.models.admission.governor import Governor
from swarm.models.service import GovernedModel
from swarm.models.wire.client import OpenAIModel, open_client
from swarm.types import Role

CASES: dict[str, dict[str, Any]] = {
    "window, Retry-After": {"kind": "window"},
    "window, says nothing": {"kind": "window", "retry_after": False},
    "bucket, Retry-After": {"kind": "bucket"},
    "bucket, says nothing": {"kind": "bucket", "retry_after": False},
    "window, x-ratelimit": {"kind": "window", "headers": True},
    "bucket, x-ratelimit": {"kind": "bucket", "headers": True},
}
USUAL = ("window, Retry-After", "bucket, says nothing", "bucket, x-ratelimit")
LATENCY_S = 0.1
MODEL = "embedded"
MESSAGE: Any = {"role": "user", "content": "go"}


@dataclass
class Load:
    agents: int
    calls: int
    rate: float
    window: float

    @property
    def allowed(self) -> int:
        return round(self.rate * self.window)


class Nowhere:
    def emit(self, event: Event) -> None: ...

    async def flush(self) -> None: ...


Way = Callable[[str, Load], Awaitable[int]]


async def ours(url: str, load: Load) -> int:
    """Gives how many agents failed."""
    failed: list[int] = []
    async with open_client(url, None) as client:
        service = GovernedModel(OpenAIModel(client, MODEL), Governor(256))
        line = Line(service, Budget(Limits()), Nowhere())

        async def agent(number: int) -> None:
            conversation = Conversation(line, str(number), Role.SUBAGENT, [MESSAGE])
            try:
                for _ in range(load.calls):
                    await conversation.ask()
            except EndpointError:
                failed.append(number)

        async with anyio.create_task_group() as group:
            for number in range(load.agents):
                group.start_soon(agent, number)
    return len(failed)


def package(retries: int, at_once: int = 1000) -> Way:
    async def way(url: str, load: Load) -> int:
        failed: list[int] = []
        limiter = anyio.CapacityLimiter(at_once)
        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=retries) as client:

            async def agent(number: int) -> None:
                try:
                    for _ in range(load.calls):
                        async with limiter:
                            await client.chat.completions.create(model=MODEL, messages=[MESSAGE])
                except openai.OpenAIError:
                    failed.append(number)

            async with anyio.create_task_group() as group:
                for number in range(load.agents):
                    group.start_soon(agent, number)
        return len(failed)

    return way


WAYS: dict[str, Way] = {"ours": ours, "backoff": package(20), "fixed 8": package(20, 8), "default": package(2)}


@contextmanager
def endpoint(limit: dict[str, Any] | None, latency: float) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "script.json"
        rules = [{"turns": [{"content": "done"}], "first_token_s": latency}]
        script.write_text(json.dumps({"rules": rules} | ({"limit": limit} if limit else {})))
        command = [sys.executable, "-m", "swarm", "endpoint", "--policy", f"script:{script}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                yield process.stdout.readline().split()[-1]
            finally:
                process.terminate()


async def measure(way: Way, limit: dict[str, Any], load: Load) -> tuple[float, float, float, float, int]:
    """Share of R, share of requests wasted, seconds, the same to the ideal, agents that failed."""
    with endpoint(limit, LATENCY_S) as url:
        started = time.perf_counter()
        failed = await way(url, load)
        seconds = time.perf_counter() - started
        async with httpx.AsyncClient(trust_env=False) as client:
            counted = (await client.get(url.removesuffix("/v1") + "/health")).json()
    answered, refused = counted.get("let through", 0), counted.get("refused", 0)
    if limit["kind"] == "window":
        paced, ideal = answered, load.window * ((answered - 1) // load.allowed) + LATENCY_S
    else:
        paced = max(0, answered - load.allowed)
        ideal = paced / load.rate + LATENCY_S
    wasted = refused / max(1, answered + refused)
    return paced / load.rate / (seconds - LATENCY_S), wasted, seconds, seconds / ideal, failed


async def overhead() -> list[float]:
    """Microseconds that admission and its end take where nobody competes."""
    governor, ask = Governor(256), Ask(Role.SUBAGENT, 1000)
    times = []
    for _ in range(2000):
        started = time.perf_counter()
        async with governor.admit(ask) as admission:
            admission.sent = True
        times.append((time.perf_counter() - started) * 1e6)
    return times


async def main(load: Load, rounds: int, cases: list[str]) -> None:
    total = load.agents * load.calls
    for way in WAYS.values():  # imports and the like
        with endpoint(None, 0.0) as url:
            await way(url, Load(1, 1, 1, 1))
    print(
        f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores; {load.agents} agents x {load.calls} calls = {total},"
    )
    print(f"R = {load.allowed} in {load.window:g} s, answers after {LATENCY_S:g} s; medians of {rounds}")
    print(f"{'limit':24}{'way':10}{'of R':>8}{'wasted':>8}{'seconds':>9}{'to ideal':>10}{'agents failed':>15}")
    for case in cases:
        limit = {"requests": load.allowed, "per_s": load.window, **CASES[case]}
        found: dict[str, list[tuple[float, float, float, float, int]]] = {name: [] for name in WAYS}
        for _ in range(rounds):
            for name, way in WAYS.items():
                found[name].append(await measure(way, limit, load))
        for name, rows in found.items():
            share, wasted, seconds, ratio, failed = (statistics.median(column) for column in zip(*rows, strict=True))
            print(f"{case:24}{name:10}{share:8.1%}{wasted:8.1%}{seconds:9.1f}{ratio:10.2f}{failed:15g}", flush=True)
    times = await overhead()
    median, p99 = statistics.median(times), statistics.quantiles(times, n=100)[98]
    print(f"the governor adds to an uncontended call: {median:.0f} us (median), {p99:.0f} us (p99)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=100)
    parser.add_argument("--calls", type=int, default=8)
    parser.add_argument("--rate", type=float, default=80, help="requests a second")
    parser.add_argument("--window", type=float, default=2, help="seconds of a window, or until a bucket is full")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--case", choices=list(CASES), action="append", help="this instead of the usual (repeatable)")
    parser.add_argument("--way", choices=list(WAYS), action="append", help="only this (repeatable)")
    args = parser.parse_args()
    if args.way:
        WAYS = {name: WAYS[name] for name in args.way}
    anyio.run(main, Load(args.agents, args.calls, args.rate, args.window), args.rounds, args.case or list(USUAL))
