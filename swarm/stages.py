"""What an orchestrator sees, and what it decides: the stages of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from swarm.errors import SwarmError
from swarm.types import AgentResult, Outcome, Plan
from swarm.values import value

FOLDED_FROM = 4
"""Sub-tasks in a row of which the same is to be said, from which on it is said once for all of them."""


@value(frozen=True, slots=True)
class GateTests:
    """The tests of one verdict by name, as far as the output names them; empty where it does not.

    `failed` are red. Of them `broken` were green on the base or are new, and `before` were red there; of others it is
    not known. `fixed` were red there, and are not now. `flaky` were red and then green on the same tree, and are not
    among the failed. `ran` is how many were run, None where nothing tells, `fewer` how many less than on the base; not
    `complete`: some were left out because of what went wrong before. `runner` is whose output was understood, "" for
    nobody's.
    """

    failed: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    flaky: tuple[str, ...] = ()
    ran: int | None = None
    complete: bool = True
    runner: str = ""
    fewer: int = 0


@value(frozen=True, slots=True)
class GateReport:
    """The gate's verdict on a tree. `seconds` is wall time; `exit_code` that of the run which settled it.

    `reason` says what is wrong beside tests that fail: no test was run, a limit, ...; the gate is not passed then.
    `base_passed`: what the gate said of the base, None where it was not run there. `worse`: as far as can be told,
    something is red that was green on the base. `artifact` is the handle of the whole output, "" where none is kept.
    """

    command: str
    exit_code: int
    output: str
    timed_out: bool
    seconds: float
    tests: GateTests = field(default_factory=GateTests)
    reason: str = ""
    base_passed: bool | None = None
    worse: bool = False
    artifact: str = ""

    @property
    def passed(self) -> bool:
        return self.exit_code == 0 and not self.timed_out and not self.reason


@value(frozen=True, slots=True)
class Captured:
    """What an attempt left behind. `commit` holds it, None where nothing changed, or nothing can be held: `failure`
    says why. `left_out` names files that are not in it though they changed, with the reason."""

    commit: str | None
    left_out: tuple[str, ...] = ()
    failure: str = ""


@value(frozen=True, slots=True)
class Change:
    """A file that a patch changes, and in how many lines; in none where it is binary, or only its mode changed."""

    path: str
    lines: int


@value(frozen=True, slots=True)
class Picked:
    """A patch on top of a commit. `commit` holds both, and is the one below where the patch adds nothing to it; None
    where they conflict.

    `conflicts` are the files that do, `notes` what git says of them. `tree` is the merged tree: of a text in conflict
    it holds both sides between lines that begin with `marks`, of others one side.
    """

    commit: str | None
    conflicts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    tree: str = ""
    marks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Merged:
    """What the aggregator made of a stage's results: a text, and where there is a repository the merged commit.

    `evicted` maps a sub-task whose patch could not be merged to the reason, `left` to the commit that holds the patch;
    `repaired` one that a repair sub-agent had to bring in to what that says of it. `repairs` is how many of those were
    asked for. `gate`: its verdict on the commit, where it was run. `fault` ended the merging early. A `whole` text
    stands for all stages so far; another is added to theirs. Of `passed_over` sub-tasks a better one of their group was
    kept. A text that is `void` is no answer: it tells why there is none.
    """

    text: str
    commit: str | None = None
    evicted: Mapping[str, str] = field(default_factory=dict)
    whole: bool = False
    passed_over: frozenset[str] = frozenset()
    void: bool = False
    left: Mapping[str, str] = field(default_factory=dict)
    repaired: Mapping[str, str] = field(default_factory=dict)
    repairs: int = 0
    gate: GateReport | None = None
    fault: SwarmError | None = None


@value(frozen=True, slots=True)
class StageReport:
    """One finished stage: what was asked, what came back, what became of it. `posted`: what its agents told each other
    that they had found."""

    stage: int
    plan: Plan
    results: tuple[AgentResult, ...]
    merged: Merged
    gate: GateReport | None
    posted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Harvest:
    """What an aggregator is given: the results of a stage in the plan's order, the commit that was merged so far, and
    the stages before."""

    plan: Plan
    results: tuple[AgentResult, ...]
    onto: str | None = None
    earlier: tuple[StageReport, ...] = ()

    @property
    def stage(self) -> int:
        return len(self.earlier) + 1

    @property
    def useful(self) -> tuple[AgentResult, ...]:
        """The results of this stage that are worth keeping."""
        return tuple(result for result in self.results if result.keep)

    @property
    def titles(self) -> dict[str, str]:
        """The titles of all sub-tasks so far, by id."""
        plans = [*(report.plan for report in self.earlier), self.plan]
        return {subtask.id: subtask.title for plan in plans for subtask in plan.subtasks}


@dataclass(frozen=True, slots=True)
class RunState:
    """What an orchestrator sees when it decides. `tree` is a listing of the repository, empty without one; `commit`
    is what was merged so far. `closing` says why no further sub-agents can be started, empty while they can;
    `guidance` is what the repository's owner asks of agents."""

    task: str
    test: str | None
    tree: str
    base_gate: GateReport | None
    stages: tuple[StageReport, ...] = ()
    commit: str | None = None
    closing: str = ""
    guidance: str = ""


@dataclass(frozen=True, slots=True)
class Dispatch:
    """The orchestrator's decision to run these sub-tasks as the next stage.

    `commit` holds what it changed itself; `calls` are the tool calls that asked for the sub-tasks, by their id.
    """

    plan: Plan
    commit: str | None = None
    calls: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finish:
    """The orchestrator's decision to end; `dropped` names sub-tasks that are no longer needed, `note` what the user
    should know about it, `commit` holds what it changed itself. `limit`: what it met before it had an answer."""

    answer: str
    dropped: tuple[str, ...] = ()
    note: str = ""
    commit: str | None = None
    limit: str = ""


def all_is_well(stages: Sequence[StageReport]) -> bool:
    """Whether the last stage left nothing to be done: all complete, all merged, the gate green."""
    if not stages:
        return False
    last = stages[-1]
    useful = {result.subtask_id for result in last.results if result.outcome is Outcome.COMPLETED}
    settled = useful | spare(last.plan, useful)
    good = all(r.subtask_id in settled for r in last.results) and not last.merged.evicted
    return good and (last.gate is None or last.gate.passed)


def spare(plan: Plan, useful: Collection[str]) -> set[str]:
    """The sub-tasks without use that are not missed: enough others of their group are of use."""
    got = Counter(subtask.group for subtask in plan.subtasks if subtask.id in useful)
    enough = {group for group in got if group and got[group] >= plan.need.get(group, 1)}
    return {s.id for s in plan.subtasks if s.group in enough and s.id not in useful}


def edges(plan: Plan) -> dict[str, Sequence[str]]:
    """What each sub-task of a plan, and each group, waits for within the plan. A group waits for its members."""
    nodes: dict[str, list[str]] = {subtask.id: [] for subtask in plan.subtasks}
    nodes |= {subtask.group: [] for subtask in plan.subtasks if subtask.group}
    for subtask in plan.subtasks:
        nodes[subtask.id] += [other for other in dict.fromkeys(subtask.depends_on) if other in nodes]
        if subtask.group:
            nodes[subtask.group].append(subtask.id)
    return {node: tuple(others) for node, others in nodes.items()}
