"""The plans of a run as one graph: what was asked for, what came of it, and where it stands on the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from swarm.journal.totals import Totals
from swarm.report.layout import lay_out
from swarm.report.model import Agent, Band, Graph, Node
from swarm.stages import edges
from swarm.types import Outcome, Plan, Role, SubTask

NEEDS, REPLACES, OWN = range(3)
Needs = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for: plans and what waits for what by stage, and sub-tasks that stand in no plan: sub-agents' own,
    and repairs of the sub-tasks that `repairs` names."""

    plans: Mapping[int, Plan]
    needs: Mapping[int, Needs]
    others: Mapping[str, SubTask]
    repairs: Mapping[str, str]


def draw(asked: Asked, agents: Sequence[Agent], totals: Totals, skipped: Mapping[str, str], ended: bool) -> Graph:
    """The graph, its nodes placed; marks the agents that were on the longest ways as well. `skipped` tells why a
    sub-task was never started."""
    plans, own, needs = asked.plans, asked.others, asked.needs
    nodes = {task.id: _node(task, stage) for stage, plan in plans.items() for task in plan.subtasks}
    for agent in agents:
        if agent.role != Role.SUBAGENT:
            continue
        if agent.subtask not in nodes:
            task = own.get(agent.subtask)
            made = _node(task, agent.stage) if task else Node(id=agent.name, title="", stage=agent.stage, state="")
            made.origin = asked.repairs.get(agent.subtask, agent.parent)
            nodes[agent.subtask or agent.name] = made
    for index, agent in enumerate(agents):
        if agent.role == Role.SUBAGENT:
            nodes[agent.subtask or agent.name].agents.append(index)
    _mark_ways(nodes, needs, agents, totals)
    for name, node in nodes.items():
        node.state, node.why = _state(name, node, agents, totals, skipped, ended)
    return _placed(nodes, asked)


def _node(task: SubTask, stage: int) -> Node:
    return Node(
        id=task.id,
        title=task.title,
        stage=stage,
        state="",
        needs=list(task.depends_on),
        files=list(task.files),
        instructions=task.instructions,
    )


def _state(
    name: str, node: Node, agents: Sequence[Agent], totals: Totals, skipped: Mapping[str, str], ended: bool
) -> tuple[str, str]:
    if any(agents[index].outcome in ("working", "lost") for index in node.agents):
        return ("lost", "its process ended before it did") if ended else ("working", "")
    outcome = totals.outcome_of.get(name)
    if name in totals.unmerged and outcome in (None, Outcome.COMPLETED):
        return "unmerged", totals.unmerged[name]
    if outcome is not None:
        return outcome.value, totals.unmerged.get(name, skipped.get(name, ""))
    return ("over", "never started") if ended else ("waiting", "")


def _mark_ways(nodes: Mapping[str, Node], needs: Mapping[int, Needs], agents: Sequence[Agent], totals: Totals) -> None:
    for stage in sorted({agent.stage for agent in agents if agent.role == Role.SUBAGENT}):
        inside = needs.get(stage, {})
        _, steps = totals.steps_of_stage(stage)
        ends: dict[str, int] = {}
        for agent in agents:
            if agent.stage == stage and agent.subtask in inside:
                ends[agent.subtask] = max(ends.get(agent.subtask, 0), agent.end)
        for name in way_by_steps(inside, steps):
            if name in nodes:
                nodes[name].by_steps = True
        for name in way_by_time(inside, ends):
            if name in nodes:
                nodes[name].by_time = True
    for node in nodes.values():
        chosen = [agents[index] for index in node.agents]
        for agent in chosen:
            agent.by_steps, agent.by_time = node.by_steps, node.by_time
    for agent in agents:
        if agent.role == Role.ORCHESTRATOR:
            agent.by_steps = agent.by_time = True


def _placed(nodes: dict[str, Node], asked: Asked) -> Graph:
    number = {name: index for index, name in enumerate(nodes)}
    waits: dict[str, list[str]] = {}
    planned = {stage: edges(plan) for stage, plan in asked.plans.items()}
    for name, node in nodes.items():
        inside = planned.get(node.stage, {})
        named = [*inside.get(name, ()), *(other for other in node.needs if other not in inside)]
        waits[name] = _members(named, inside, number)
    pairs = [(number[other], number[name], NEEDS) for name, others in waits.items() for other in others]
    for plan in asked.plans.values():
        for task in plan.subtasks:
            pairs += [(number[old], number[task.id], REPLACES) for old in task.replaces if old in number]
    for name, node in nodes.items():
        if node.origin in number and node.origin != name:
            pairs.append((number[node.origin], number[name], REPLACES if name in asked.repairs else OWN))
            waits[name] = [*waits[name], node.origin]
    stages: dict[int, list[str]] = {}
    for name, node in sorted(nodes.items(), key=lambda each: each[1].stage):
        stages.setdefault(node.stage, []).append(name)
    layout = lay_out(stages, waits)
    for name, node in nodes.items():
        node.x, node.y = layout.places[name]
    return Graph(
        nodes=list(nodes.values()),
        edges=list(dict.fromkeys(pair for pair in pairs if pair[0] != pair[1])),
        bands=[Band(stage=stage, y=y, height=height) for stage, (y, height) in layout.bands.items()],
        width=layout.width,
        height=layout.height,
        node_width=layout.node_width,
        node_height=layout.node_height,
    )


def _members(names: Sequence[str], inside: Needs, number: Mapping[str, int]) -> list[str]:
    """Sub-tasks alone: a group stands for its members."""
    found: list[str] = []
    for name in names:
        found += [name] if name in number else [other for other in inside.get(name, ()) if other in number]
    return list(dict.fromkeys(found))


# Which sub-tasks of a stage the run waited for: the longest way through its graph, by steps or by the clock.


def way_by_steps(needs: Needs, steps: Mapping[str, int]) -> list[str]:
    """The way whose steps `swarm.journal.critical.longest_way` counts, first to last."""
    best: dict[str, tuple[int, str]] = {}
    try:
        for node in TopologicalSorter(needs).static_order():
            before = max(needs.get(node, ()), key=lambda other: best[other][0], default="")
            best[node] = (steps.get(node, 0) + (best[before][0] if before else 0), before)
    except CycleError:
        best.clear()
    best |= {node: (own, "") for node, own in steps.items() if node not in best}
    return _back(max(best, key=lambda name: best[name][0], default=""), lambda node: best[node][1])


def way_by_time(needs: Needs, ends: Mapping[str, int]) -> list[str]:
    """What ended last, what it had waited for that ended last, and so on; first to last. A group ends as its last."""

    def end(node: str, seen: frozenset[str] = frozenset()) -> int:
        if node in ends or node in seen:
            return ends.get(node, -1)
        return max((end(other, seen | {node}) for other in needs.get(node, ())), default=-1)

    def before(node: str) -> str:
        latest = max(needs.get(node, ()), key=end, default="")
        return latest if latest and end(latest) >= 0 else ""

    return _back(max(ends, key=lambda name: ends[name], default=""), before)


def _back(last: str, before: Callable[[str], str]) -> list[str]:
    way: list[str] = []
    while last and last not in way:
        way.append(last)
        last = before(last)
    return way[::-1]
