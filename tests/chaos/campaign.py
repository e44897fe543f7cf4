"""Runs many scenarios, several at once, and tells what was broken."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.to_thread

from swarm.removal import remove_tree
from tests.chaos.endpoint import open_endpoint
from tests.chaos.invariants import broken
from tests.chaos.live import LiveRun
from tests.chaos.scenario import Scenario
from tests.machine import mounts_of, processes_of
from tests.warm import Warm

TOLD_EVERY = 50


@dataclass
class Tally:
    """What came of many scenarios."""

    scenarios: int = 0
    lives: int = 0
    injected: Counter[str] = field(default_factory=Counter)
    unhurt: list[int] = field(default_factory=list)
    """Scenarios in which no fault came to strike: the run was over before."""
    broken: dict[str, list[str]] = field(default_factory=dict)

    def __str__(self) -> str:
        return (
            f"{self.scenarios} scenarios, {self.lives} processes, {self.injected.total()} faults injected "
            f"({len(self.unhurt)} scenarios met none), {len(self.broken)} broken"
        )

    def take(self, scenario: Scenario, run: LiveRun, found: Sequence[str]) -> None:
        """Count one that is over."""
        self.scenarios += 1
        self.lives += len(run.lives)
        injected = run.injected + run.endpoint.account.struck
        self.injected += injected
        if not injected:
            self.unhurt.append(scenario.seed)
        if found:
            self.broken[scenario.again] = list(found)


async def play(scenario: Scenario, folder: Path, warm: Warm, more: Mapping[str, str]) -> tuple[LiveRun, list[str]]:
    """One scenario, in a folder of its own; gives what was broken."""
    setting = scenario.setting
    rules = {"rules": setting.shape.rules(), "first_token_s": 0.01}
    async with open_endpoint(rules) as endpoint:
        run = LiveRun(setting.shape, setting.box, folder, endpoint, warm, setting.delivery, env=dict(more))
        run.options += ["--concurrency", str(setting.concurrency)]
        run.config["stream"] = setting.stream
        await anyio.to_thread.run_sync(run.prepare)
        found: list[str] = []
        try:
            async with AsyncExitStack() as faults:
                for fault in scenario.faults:
                    await faults.enter_async_context(fault.around(run))
                await run.to_the_end()
        except Exception as error:  # noqa: BLE001  whatever comes of it is a finding, and the others go on
            found.append(
                "".join(traceback.format_exception(error)) if isinstance(error, ExceptionGroup) else repr(error)
            )
        found += await anyio.to_thread.run_sync(broken, run)
        return run, found


async def campaign(
    scenarios: Sequence[Scenario], place: Path, warm: Warm, *, at_once: int, more: Mapping[str, str]
) -> Tally:
    """Play these scenarios. The folders of those that broke something are kept."""
    tally, began, limiter = Tally(), time.monotonic(), anyio.CapacityLimiter(at_once)

    async def one(scenario: Scenario) -> None:
        async with limiter:
            folder = place / f"s{scenario.seed}"
            run, found = await play(scenario, folder, warm, more)
            tally.take(scenario, run, found)
            if tally.scenarios % TOLD_EVERY == 0:
                sys.stderr.write(f"[{time.monotonic() - began:6.0f}s] {tally}\n")
            if found:
                _tell(scenario, run, found)
                await anyio.to_thread.run_sync(_clear, folder)
            else:
                await anyio.to_thread.run_sync(remove_tree, folder)

    async with anyio.create_task_group() as group:
        for scenario in scenarios:
            group.start_soon(one, scenario)
    return tally


def _tell(scenario: Scenario, run: LiveRun, found: Sequence[str]) -> None:
    lines = [f"{scenario}", *(f"  {text}" for text in found)]
    lines += [f"  life {n}: {life.code} {' '.join(life.args)}" for n, life in enumerate(run.lives)]
    lines += [f"  injected: {dict(run.injected + run.endpoint.account.struck)}", f"  kept in {run.folder}"]
    lines += [f"  again: SEED={scenario.again} make chaos"]
    sys.stderr.write("\n".join([*lines, ""]))
    with (run.folder / "exchanges.jsonl").open("w") as file:
        file.writelines(
            json.dumps({name: getattr(each, name) for name in each.__slots__}) + "\n"
            for each in run.endpoint.account.exchanges
        )


def _clear(folder: Path) -> None:
    """End and unmount what a broken scenario left; its files stay."""
    for line in processes_of(str(folder)):
        with suppress(ProcessLookupError):
            os.kill(int(line.split()[1]), signal.SIGKILL)
    for row in mounts_of(os.path.realpath(folder)):
        subprocess.run(["umount", "--lazy", row.split()[4]], check=False, capture_output=True)
