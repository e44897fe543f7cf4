"""Repair of real packages by many agents on one repository, and conflicts that are forced.

    python -m benchmarks.studies.coding [--packages boltons,sqlparse,toolz] [--faults 20] [--agents 4,16,40] [--single]
        [--forced 4] [--seed 1] [--timeout 900] [--sandbox auto] [--keep DIR] [--json FILE]

Real packages from the registry with the tests that they bring, so many faults planted by the seeded generator, all in
one repository; the embedded endpoint's repair policy is the model (it searches: it is no language model). Each line
tells of one run of `Swarm`: faults repaired, by the package's own tests in the tree that came out; patches merged,
evicted on the way, and repaired and merged after all; what was falsely reported: a run that calls itself completed
while a test fails, and sub-tasks that report success and were merged while a test that they were given fails; wall
time, and that of `single` over it. `--forced` N: N times each of two faults side by side in one function, a file that
one agent moves and another edits, a repair that breaks a test that was green, and two patches that do so together only.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

import anyio

from benchmarks.studies.coding_forced import Forced, forced
from benchmarks.studies.measure import machine, save
from swarm import Swarm
from swarm.config import Mode, RunConfig, SandboxName
from swarm.embedded.policy import Policy
from swarm.embedded.repair.policy import RepairPolicy
from swarm.embedded.repair.prompt import node_ids
from swarm.embedded.server import running_endpoint
from swarm.errors import MachineError
from swarm.evals.fates import Fate, fates, merged_patches
from swarm.evals.faults import Planted
from swarm.evals.repair.damage import TASK, damage
from swarm.evals.repair.origins import PACKAGES, pinned
from swarm.evals.repair.retest import applied, failing
from swarm.events import AgentEnded, AgentStarted, Event, PatchMerged
from swarm.types import Outcome

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "packages"


@dataclass(frozen=True, slots=True)
class Told:
    """One run. `false_runs` is 1 where it called itself completed with red tests; `left` are the tests red at the end,
    -1 where they come to no end."""

    what: str
    mode: str
    agents: int
    faults: int
    repaired: int
    subagents: int
    merged: int
    evicted: int
    again: int
    false_runs: int
    false_subtasks: int
    left: int
    status: str
    wall_s: float
    run: str


@dataclass(frozen=True, slots=True)
class Work:
    """A damaged tree with its tests, and with what it is worked on."""

    name: str
    folder: Path
    task: str
    test: str
    planted: Planted


async def run(work: Work, mode: Mode, agents: int, options: argparse.Namespace, policy: Policy, out: Path) -> Told:
    """Let it be repaired once, and judge by the tree that came out."""
    events: list[Event] = []
    began = time.monotonic()
    async with running_endpoint({"repair": policy}) as url:
        config = RunConfig(
            model="repair", base_url=url, mode=mode, concurrency=agents, max_agents=400, seed=options.seed,
            sandbox=options.sandbox, timeout=options.timeout, budget_tokens=None,
        )  # fmt: skip
        async with Swarm(config=config) as swarm:
            result = await swarm.run(work.task, repo=work.folder, test=work.test, on_event=events.append)
    wall = time.monotonic() - began
    final = out / f"{work.name}-{mode}-{agents}"
    shutil.rmtree(final, ignore_errors=True)
    patch = Path(result.patch_path) if result.patch_path else None
    if not await anyio.to_thread.run_sync(applied, work.folder, patch, final):
        raise MachineError(f"{patch} does not apply to {work.folder}")
    red = await failing(final, work.test, config, out / "home")
    ends = fates(
        work.planted.faults, work.folder, final, red, merged_patches(events, Path(result.run_dir) / "repo.git")
    )
    merges = [event for event in events if isinstance(event, PatchMerged)]
    last = {event.subtask_id: event for event in merges}
    evicted = {event.subtask_id for event in merges if not event.merged}
    bad = red is None or bool(red)
    return Told(
        what=work.name, mode=mode, agents=agents, faults=len(ends),
        repaired=sum(end.fate is not Fate.LEFT for end in ends), subagents=result.n_subagents,
        merged=sum(event.merged for event in last.values()), evicted=len(evicted),
        again=sum(last[name].merged and bool(last[name].repair) for name in evicted),
        false_runs=int(bad and result.exit_code == 0), false_subtasks=len(false_subtasks(events, last, red)),
        left=-1 if red is None else len(red), status=result.status.value, wall_s=wall, run=result.run_dir,
    )  # fmt: skip


def false_subtasks(events: Sequence[Event], last: dict[str, PatchMerged], red: frozenset[str] | None) -> set[str]:
    """Sub-tasks that ended as completed and were merged, of whose own tests one is red in the end."""
    asked, done = dict[str, set[str]](), dict[str, str]()
    for event in events:
        if isinstance(event, AgentStarted) and event.subtask is not None and event.subtask.kind != "repair":
            asked[event.subtask.id] = set(node_ids(event.subtask.instructions))
            done[event.trajectory_id] = event.subtask.id
        elif isinstance(event, AgentEnded) and event.trajectory_id in done and event.outcome is not Outcome.COMPLETED:
            asked.pop(done[event.trajectory_id], None)
    return {name for name, tests in asked.items() if name in last and last[name].merged and tests & (red or set())}


async def damaged(name: str, options: argparse.Namespace, out: Path) -> Work:
    """A real package with faults in it."""
    package, folder = pinned(name), out / name
    shutil.rmtree(folder, ignore_errors=True)
    planted = await damage(package, CACHE, folder, options.faults, options.seed)
    files = len({fault.file for fault in planted.faults})
    print(
        f"{name} {package.version}: {len(planted.faults)} faults in {files} files, "
        f"{len(planted.failing)} of {planted.tests} tests fail",
        flush=True,
    )
    return Work(name, folder, TASK.format(sources=package.sources), package.test, planted)


def show(told: Told, single: float | None) -> None:
    """One line of the table."""
    ratio = f"{single / told.wall_s:6.2f}" if single else "     -"
    print(
        f"{told.what:<14}{told.mode:>7}{told.agents:>7}{f'{told.repaired}/{told.faults}':>10}{told.subagents:>8}"
        f"{told.merged:>8}{told.evicted:>8}{told.again:>7}{told.false_runs:>7}{told.false_subtasks:>6}{told.left:>6}"
        f"{told.wall_s:>9.1f}{ratio}  {told.status}",
        flush=True,
    )


HEAD = (
    f"{'':<14}{'mode':>7}{'agents':>7}{'repaired':>10}{'started':>8}{'merged':>8}{'evicted':>8}{'again':>7}"
    f"{'false':>7}{'parts':>6}{'red':>6}{'wall s':>9}  single/ x"
)


async def all_of(options: argparse.Namespace, out: Path) -> list[Told]:
    """Every run that was asked for."""
    found: list[Told] = []
    widths = [int(text) for text in options.agents.split(",") if text]
    for name in [name for name in options.packages.split(",") if name]:
        work = await damaged(name, options, out)
        print(HEAD)
        single = None
        if options.single:
            found.append(await run(work, "single", 1, options, RepairPolicy(), out))
            single = found[-1].wall_s
            show(found[-1], single)
        for agents in widths:
            found.append(await run(work, "plan", agents, options, RepairPolicy(), out))
            show(found[-1], single)
    if options.forced:
        print(HEAD)
        made: Forced
        for made in forced(options.forced, out):
            for agents in widths:
                work = Work(made.name, made.folder, made.task, made.test, made.planted)
                found.append(await run(work, "plan", agents, options, made.policy, out))
                show(found[-1], None)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", default=",".join(PACKAGES))
    parser.add_argument("--faults", type=int, default=20)
    parser.add_argument("--agents", default="4,16,40")
    parser.add_argument("--single", action="store_true", help="one agent as well, and wall time against it")
    parser.add_argument("--forced", type=int, default=4, help="how often each conflict is forced; 0: not at all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=900.0, help="seconds for one run")
    parser.add_argument("--sandbox", default="auto", choices=get_args(SandboxName))
    parser.add_argument("--keep", type=Path, help="keep the trees there")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    print(machine())
    with nullcontext(options.keep) if options.keep else tempfile.TemporaryDirectory() as out:
        Path(out).mkdir(parents=True, exist_ok=True)
        found = anyio.run(all_of, options, Path(out).resolve())
    print(f"falsely reported: {sum(told.false_runs for told in found)} runs; {machine()}")
    save(options.json, runs=[asdict(told) for told in found])


if __name__ == "__main__":
    main()
