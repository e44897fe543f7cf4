"""How long whole graphs of sub-tasks take against the least that they could, in one run: our scheduler and its peers.

    python -m benchmarks.studies.makespan [--graphs 20] [--seed 1] [--clock virtual|real] [--seconds 1.2] [--quick]

Random graphs of 100 to 1,000 sub-tasks of four kinds, with log-normal durations (a sub-task waits, as for a model) that
no scheduler is told before, and a bounded number at once. The bound is max(critical path, work / width): no schedule
is shorter. Rows: ours, ours without kinds; LangGraph with `Send`, one superstep for all that are ready; plain gather
with a semaphore, level by level; and the same where every sub-task awaits its own dependencies first. Beside them two
that cannot be had, longest way first on paper: by the durations themselves (a schedule that exists, so that no graph
allows less than the bound and it shows what one does allow), and by the medians of the kinds, known from the start.
`--clock virtual` (a clock that jumps) compares the orders alone; `real` includes what each costs to run, with
durations scaled so that the bound of every graph is `--seconds`.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import operator
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import anyio
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from benchmarks.studies.measure import machine, save
from swarm.events import Event
from swarm.scheduling.scheduler import Scheduler
from swarm.testing import VirtualClock
from swarm.types import AgentLimits, AgentResult, AgentSpec, Outcome, Plan, SubTask

WITHIN = 1.03
_KINDS = {"search": 1.0, "edit": 2.0, "test": 4.0, "review": 0.5}
_SIGMA = 0.6


@dataclass(frozen=True)
class Graph:
    """`needs` are the sub-tasks before each one; `width` how many may be at work at once."""

    shape: str
    needs: list[list[int]]
    kinds: list[str]
    seconds: list[float]
    width: int

    @property
    def bound(self) -> float:
        ends: list[float] = []
        for needs, seconds in zip(self.needs, self.seconds, strict=True):
            ends.append(seconds + max((ends[i] for i in needs), default=0.0))
        return max(max(ends), sum(self.seconds) / self.width)

    def scaled(self, bound: float) -> Graph:
        factor = bound / self.bound
        return Graph(self.shape, self.needs, self.kinds, [s * factor for s in self.seconds], self.width)

    def plan(self, *, kinds: bool) -> Plan:
        return Plan(
            subtasks=tuple(
                SubTask(
                    id=str(n), title="t", instructions="x", depends_on=tuple(map(str, needs)),
                    kind=self.kinds[n] if kinds else "",
                )
                for n, needs in enumerate(self.needs)
            )
        )  # fmt: skip


def draw(rng: random.Random, number: int) -> Graph:
    size = rng.randint(100, 1000)
    shape = ("sparse", "layers", "chains", "tree", "wide")[number % 5]
    needs: list[list[int]] = []
    chains = rng.randint(8, 40)
    for n in range(size):
        match shape:
            case "sparse":
                some = {rng.randrange(n) for _ in range(rng.choice((0, 1, 1, 2, 3)))} if n else set()
            case "layers":
                layer = size // rng.randint(8, 12)
                some = (
                    {max(0, n - rng.randint(layer // 2, 2 * layer)) for _ in range(rng.randint(1, 3))} if n else set()
                )
            case "chains":  # of unequal length, with some threads between them
                some = {n - chains} if n >= chains and rng.random() < 0.95 else set()
                some |= {rng.randrange(n)} if n and rng.random() < 0.05 else set()
            case "tree":
                some = {(n - 1) // 3} if n else set()
            case _:
                some = {rng.randrange(10)} if n >= 10 and rng.random() < 0.5 else set()
        needs.append(sorted(some))
    kinds = [rng.choice(list(_KINDS)) for _ in range(size)]
    seconds = [_KINDS[kind] * rng.lognormvariate(3.0, _SIGMA) for kind in kinds]
    return Graph(shape, needs, kinds, seconds, rng.choice((8, 16, 32, 64)))


class _Quiet:
    def emit(self, event: Event) -> None: ...

    async def flush(self) -> None: ...


@dataclass
class _Player:
    """An executor whose work is to wait."""

    seconds: Sequence[float]

    def expect(self, count: int, commit: str | None) -> None: ...

    async def run(self, spec: AgentSpec) -> AgentResult:
        await anyio.sleep(self.seconds[int(spec.subtask.id)])
        return AgentResult(spec.subtask.id, spec.trajectory_id, Outcome.COMPLETED, "", "answered")


async def _prepare(subtask: SubTask, attempt: int, needed: Sequence[AgentResult]) -> AgentSpec:
    return AgentSpec(subtask.id, subtask, 1, attempt, 0, "", "", None, AgentLimits())


async def ours(graph: Graph, *, kinds: bool = True) -> None:
    plan = graph.plan(kinds=kinds)
    outcome = await Scheduler(_Player(graph.seconds), _prepare, _Quiet(), graph.width).run(plan, 1, anyio.Event())
    assert all(result.outcome is Outcome.COMPLETED for result in outcome.results)


async def without_kinds(graph: Graph) -> None:
    await ours(graph, kinds=False)


class _Board(TypedDict):
    done: Annotated[list[int], operator.add]


async def supersteps(graph: Graph) -> None:
    async def work(state: dict[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(graph.seconds[state["n"]])
        return {"done": [state["n"]]}

    def ready(state: _Board) -> list[Send] | str:
        done = set(state["done"])
        now = [n for n, needs in enumerate(graph.needs) if n not in done and done.issuperset(needs)]
        return [Send("work", {"n": n}) for n in now] or END

    async def gather(state: _Board) -> dict[str, Any]:
        return {}

    builder = StateGraph(_Board)
    builder.add_node("work", work)  # type: ignore[type-var]  # a Send's own state, which its types cannot say
    builder.add_node("gather", gather)
    builder.add_conditional_edges(START, ready, ["work", END])
    builder.add_edge("work", "gather")
    builder.add_conditional_edges("gather", ready, ["work", END])
    state = await builder.compile().ainvoke(
        {"done": []}, {"max_concurrency": graph.width, "recursion_limit": 2 * len(graph.needs) + 10}
    )
    assert len(state["done"]) == len(graph.needs)


async def gather_levels(graph: Graph) -> None:
    level: list[int] = []
    for needs in graph.needs:
        level.append(1 + max((level[i] for i in needs), default=-1))
    free = asyncio.Semaphore(graph.width)

    async def work(n: int) -> None:
        async with free:
            await asyncio.sleep(graph.seconds[n])

    for wave in range(max(level) + 1):
        await asyncio.gather(*(work(n) for n, at in enumerate(level) if at == wave))


async def gather_awaiting(graph: Graph) -> None:
    free = asyncio.Semaphore(graph.width)
    done = [asyncio.Event() for _ in graph.needs]

    async def work(n: int) -> None:
        for other in graph.needs[n]:
            await done[other].wait()
        async with free:
            await asyncio.sleep(graph.seconds[n])
        done[n].set()

    await asyncio.gather(*(work(n) for n in range(len(graph.needs))))


WAYS: dict[str, Callable[[Graph], Awaitable[None]]] = {
    "swarm": ours,
    "swarm, kinds not known": without_kinds,
    "LangGraph Send": supersteps,
    "gather, level by level": gather_levels,
    "gather, each awaits its own": gather_awaiting,
}


def on_paper(graph: Graph, weight: Callable[[int], float]) -> float:
    """Seconds of a schedule that always starts the ready sub-task with the longest way still behind it, by `weight`."""
    dependents: list[list[int]] = [[] for _ in graph.needs]
    waits = [len(needs) for needs in graph.needs]
    for n, needs in enumerate(graph.needs):
        for other in needs:
            dependents[other].append(n)
    way = [0.0] * len(graph.needs)
    for n in reversed(range(len(way))):
        way[n] = weight(n) + max((way[other] for other in dependents[n]), default=0.0)
    ready = [(-way[n], n) for n, count in enumerate(waits) if count == 0]
    heapq.heapify(ready)
    running: list[tuple[float, int]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < graph.width:
            n = heapq.heappop(ready)[1]
            heapq.heappush(running, (now + graph.seconds[n], n))
        now, ended = heapq.heappop(running)
        for n in dependents[ended]:
            waits[n] -= 1
            if waits[n] == 0:
                heapq.heappush(ready, (-way[n], n))
    return now


def foreseen(graph: Graph) -> float:
    return on_paper(graph, lambda n: graph.seconds[n])


def foreseen_kinds(graph: Graph) -> float:
    return on_paper(graph, lambda n: _KINDS[graph.kinds[n]])


PAPER = {"paper, durations known": foreseen, "paper, kinds known": foreseen_kinds}


def timed(way: Callable[[Graph], Awaitable[None]], graph: Graph, *, virtual: bool) -> float:
    """Seconds of the way's own clock."""

    async def once() -> float:
        started = anyio.current_time()
        await way(graph)
        return anyio.current_time() - started

    return anyio.run(once, backend_options={"loop_factory": VirtualClock} if virtual else {})


def main(options: argparse.Namespace) -> None:
    rng = random.Random(options.seed)
    virtual = options.clock == "virtual"
    ratios: dict[str, list[float]] = {name: [] for name in (*WAYS, *PAPER)}
    about: list[dict[str, object]] = []
    began = time.perf_counter()
    print(f"{'graph':8} {'tasks':>5} {'width':>5}  " + "  ".join(ratios) + "   (times the bound)")
    for number in range(options.graphs):
        graph = draw(rng, number)
        if not virtual:
            graph = graph.scaled(options.seconds)
        for name, way in WAYS.items():
            ratios[name].append(timed(way, graph, virtual=virtual) / graph.bound)
        for name, plan in PAPER.items():
            ratios[name].append(plan(graph) / graph.bound)
        about.append({"shape": graph.shape, "tasks": len(graph.needs), "width": graph.width, "bound_s": graph.bound})
        row = "  ".join(f"{ratios[name][-1]:{len(name)}.3f}" for name in ratios)
        print(f"{graph.shape:8} {len(graph.needs):5} {graph.width:5}  {row}")
    best = [min(found) for found in zip(*(ratios[name] for name in WAYS), strict=True)]
    allow = [ratio <= WITHIN for ratio in ratios["paper, durations known"]]
    print(f"\n{machine()}, {options.clock} clock, seed {options.seed}, {time.perf_counter() - began:.0f} s")
    print(f"{'way':28} {'median':>7} {'mean':>7} {'worst':>7} {'within 3 %':>11} {'behind the best by > 1 %':>25}")
    for name, found in ratios.items():
        near = sum(ratio <= WITHIN for ratio, allowed in zip(found, allow, strict=True) if allowed)
        behind = sum(ratio > 1.01 * least for ratio, least in zip(found, best, strict=True))
        print(
            f"{name:28} {statistics.median(found):7.3f} {statistics.mean(found):7.3f} {max(found):7.3f} "
            f"{near:8}/{sum(allow)} {behind:25}"
        )
    save(options.json, clock=options.clock, seed=options.seed, graphs=about, ratio_to_bound=ratios)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--graphs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clock", choices=("virtual", "real"), default="virtual")
    parser.add_argument("--seconds", type=float, default=1.2, help="the bound of every graph, with the real clock")
    parser.add_argument("--json", help="file for the raw figures")
    parser.add_argument("--quick", action="store_true", help="three graphs: does it work?")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.graphs = 3
    main(chosen)
