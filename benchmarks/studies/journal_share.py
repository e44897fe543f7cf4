"""The part of a swarm's CPU that its journal takes: a whole run of so many agents, each with three uses of a tool.

    python -m benchmarks.studies.journal_share [--agents 300]

Counted is what the journal itself does: making a line of an event, masking it, checksums and hashes, writing, and
syncing; not what is shown the events afterwards. The endpoint is a process of its own.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio

from benchmarks.peers.swarm_run import open_agents
from benchmarks.servers import load_server
from benchmarks.studies.measure import machine
from swarm.events import Event
from swarm.journal.writer import Journal

TURNS = 3


class Meter:
    """Adds up the CPU seconds of the threads that are at work in it."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.events = 0

    def install(self) -> None:
        """Measure all journals of this process from now on."""
        emit, subscribe, sync = Journal.emit, Journal.subscribe, Journal._sync
        shown_to: dict[Journal, list[Callable[[Event], None]]] = {}

        def timed_emit(journal: Journal, event: Event) -> None:
            at = time.thread_time()
            emit(journal, event)
            self.seconds["emit"] += time.thread_time() - at
            self.events += 1

        def timed_sync(journal: Journal) -> None:
            at = time.thread_time()
            sync(journal)
            self.seconds["sync"] += time.thread_time() - at

        def timed_subscribe(journal: Journal, subscriber: Callable[[Event], None]) -> None:
            if journal not in shown_to:
                subscribe(journal, partial(shown, shown_to.setdefault(journal, [])))
            shown_to[journal].append(subscriber)

        def shown(subscribers: list[Callable[[Event], None]], event: Event) -> None:
            at = time.thread_time()
            for subscriber in subscribers:
                subscriber(event)
            self.seconds["shown"] += time.thread_time() - at

        Journal.emit, Journal._sync = timed_emit, timed_sync  # type: ignore[method-assign]  # measured here alone
        Journal.subscribe = timed_subscribe  # type: ignore[method-assign]


async def measure(agents: int, rounds: int, url: str) -> None:
    async with open_agents(url, agents) as run:
        await run(4)  # imports
        meter = Meter()
        meter.install()
        for _ in range(rounds):
            meter.reset()
            began = time.process_time()
            told = await run(agents)
            tell(agents, meter, told, time.process_time() - began)


def tell(agents: int, meter: Meter, told: dict[str, Any], whole: float) -> None:
    assert not told["failed"], told
    journal = meter.seconds["emit"] - meter.seconds["shown"] + meter.seconds["sync"]
    calls = agents * (TURNS + 1)
    print(
        f"{agents} agents, {calls} calls, {meter.events} events, {told['journal_mb']:.1f} MB: {whole:.2f} s of CPU "
        f"({1000 * whole / calls:.2f} ms a call), the journal {journal:.3f} s ({1000 * journal / calls:.3f} ms a call, "
        f"{1e6 * journal / meter.events:.0f} us an event): {100 * journal / whole:.1f} %, of which syncing "
        f"{100 * meter.seconds['sync'] / whole:.1f}; shown to others {100 * meter.seconds['shown'] / whole:.1f} %"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    print(f"{machine()}, python {sys.version.split()[0]}")
    with tempfile.TemporaryDirectory() as home, load_server(TURNS, 0.05) as url:
        os.environ["SWARM_HOME"] = home
        anyio.run(measure, args.agents, args.rounds, url)


if __name__ == "__main__":
    main()
