"""Repair sub-agents: each brings one evicted patch into what is merged.

They are sub-agents like all others, by the same scheduler, out of the same funds, headcount and places; no patch is
repaired more often than the run allows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence, Set
from dataclasses import dataclass, field, replace

import anyio

from swarm.budgets.funds import Funds
from swarm.budgets.headcount import Headcount
from swarm.errors import MachineError
from swarm.events import RepairsStarted
from swarm.journal.past import Past
from swarm.merging.chain import Picker
from swarm.merging.patch import Eviction, Patch, named
from swarm.merging.undone import FileLines, lines_of, place_of, same_file, tests_gone, told, undone
from swarm.prompts.briefing import Briefing, Occasion
from swarm.prompts.repairs import Case, repair_instructions
from swarm.protocols import EventSink, Executor
from swarm.scheduling.controls import Controls
from swarm.scheduling.scheduler import Scheduler
from swarm.scheduling.stragglers import StragglerPolicy
from swarm.scheduling.width import Width
from swarm.types import AgentResult, AgentSpec, Outcome, Plan, SubTask

REPAIR = "repair"
"""The kind of such sub-tasks."""

_WORTH = ("conflict", "gate", "alone")
_LONGEST_ID = 64
_MOST_OTHERS = 4
_LONGEST_TITLE = 200
_LONGEST_WORD = 300


@dataclass(frozen=True, slots=True)
class Crew:
    """What repairs are done with: as for any sub-agent of the run."""

    executor: Executor
    briefing: Briefing
    width: Width
    funds: Funds
    headcount: Headcount
    sink: EventSink
    stragglers: StragglerPolicy = field(default_factory=StragglerPolicy)
    controls: Controls = field(default_factory=Controls)
    past: Past = field(default_factory=Past)


@dataclass(frozen=True, slots=True)
class _Job:
    """A repair: what it is for, its sub-task, the commit that it starts from, and whether the patch `applies` there;
    where it does not, `marks` begin the lines around conflicts."""

    eviction: Eviction
    subtask: SubTask
    start: str
    applies: bool
    marks: tuple[str, ...] = ()


@dataclass(slots=True)
class Repaired:
    """What came of some repairs: patches to be merged, those that stay evicted, and how many were asked for."""

    patches: list[Patch] = field(default_factory=list)
    evicted: list[Eviction] = field(default_factory=list)
    count: int = 0
    fault: MachineError | None = None


class Repairs:
    """`most`: tries for one patch. `stop` ends what is at work."""

    def __init__(self, crew: Crew, picker: Picker, most: int, stop: anyio.Event) -> None:
        self._crew = crew
        self._picker = picker
        self._most = most
        self._stop = stop

    def next(self, evicted: Sequence[Eviction]) -> list[Eviction]:
        """Those that can be repaired now, side by side: no two of them are about the same file."""
        worth = [each for each in evicted if each.kind in _WORTH and not each.given_up]
        open_ = [each for each in worth if each.patch.repairs < self._most]
        found, ids, taken = list[Eviction](), list[str](), set[str]()
        for each in open_ if not self._stop.is_set() else ():
            files, asked = each.patch.files | set(each.conflicts), [*ids, repair_id(each.patch)]
            if taken.isdisjoint(files) and not self._crew.headcount.excess(asked):
                found, ids, taken = [*found, each], asked, taken | files
        return found

    async def run(
        self, wave: Sequence[Eviction], tip: str, stage: int, merged: Sequence[Patch], plan: Plan
    ) -> Repaired:
        """Let the patches of a wave be repaired on top of `tip`, which holds the `merged` ones."""
        originals = {subtask.id: subtask for subtask in plan.subtasks}
        jobs = [await self._job(each, tip, merged, originals[each.patch.subtask_id]) for each in wave]
        crew, by_id = self._crew, {job.subtask.id: job for job in jobs}
        repairs = Plan(subtasks=tuple(job.subtask for job in jobs))
        crew.sink.emit(
            RepairsStarted(
                stage=stage,
                commit=tip,
                subtasks=list(repairs.subtasks),
                repairs={job.subtask.id: job.eviction.patch.subtask_id for job in jobs},
                reasons={job.subtask.id: job.eviction.reason for job in jobs},
            )
        )
        crew.briefing.announce(repairs)
        occasion = Occasion(stage, tip, 1, siblings=crew.width.count > 1 and len(jobs) > 1)

        async def prepare(subtask: SubTask, attempt: int, needed: Sequence[AgentResult]) -> AgentSpec:
            steps = crew.funds.afford(stage, subtask.id)
            own = replace(occasion, onto=by_id[subtask.id].start, steps=steps)
            return await crew.briefing.spec(subtask, attempt, needed, own)

        crew.executor.expect(len(jobs), tip)
        scheduler = Scheduler(crew.executor, prepare, crew.sink, crew.width, crew.stragglers, crew.controls)
        outcome = await scheduler.run(repairs, stage, self._stop, crew.past.turns(stage))
        found = Repaired(count=len(jobs), fault=outcome.fault)
        for result in outcome.results:
            became = await self._became(by_id[result.subtask_id], result, tip, merged)
            if isinstance(became, Patch):
                found.patches.append(became)
            else:
                found.evicted.append(became)
        return found

    async def _job(self, eviction: Eviction, tip: str, merged: Sequence[Patch], original: SubTask) -> _Job:
        patch, repository = eviction.patch, self._picker.repository
        picked = await self._picker.pick(tip, patch)
        message = f"{patch.subtask_id} on top of what is merged\n"
        start = await repository.record(picked.tree, tip, message=message, author=patch.author)
        case = Case(
            subtask_id=patch.subtask_id,
            title=patch.title,
            instructions=original.instructions,
            report=patch.summary,
            change=await self._diff(patch),
            applies=picked.commit is not None,
            reason=eviction.reason,
            files=picked.conflicts,
            notes=picked.notes,
            tests=eviction.tests,
            others=await self._others(eviction, picked.conflicts, tip, merged),
            output=eviction.output,
        )
        subtask = SubTask(
            id=repair_id(patch),
            title=f"bring in {patch.subtask_id}: {patch.title}"[:_LONGEST_TITLE],
            instructions=repair_instructions(case),
            system_prompt=original.system_prompt,
            kind=REPAIR,
        )
        return _Job(eviction, subtask, start, picked.commit is not None, picked.marks)

    async def _others(
        self, eviction: Eviction, conflicts: Sequence[str], tip: str, merged: Sequence[Patch]
    ) -> list[tuple[str, str, str]]:
        """The patches that are in the way, the last ones merged first: ids, titles and diffs."""
        files = set(conflicts)
        near = [p for p in merged if files & p.files or p.subtask_id in eviction.against][::-1][:_MOST_OTHERS]
        found = []
        for patch in near:
            found.append((patch.subtask_id, patch.title, of_files(await self._diff(patch), files)))
        return found

    async def _diff(self, patch: Patch) -> str:
        return (await self._picker.repository.diff(f"{patch.commit}^", patch.commit)).decode(errors="replace")

    async def _lines(self, old: str, new: str) -> dict[str, FileLines]:
        return lines_of(await self._picker.repository.diff(old, new))

    async def _became(self, job: _Job, result: AgentResult, tip: str, merged: Sequence[Patch]) -> Patch | Eviction:
        """The patch with which the queue goes on, or why there is none."""
        eviction, repository = job.eviction, self._picker.repository
        old = eviction.patch
        tried = replace(old, repairs=old.repairs + 1)

        def lost(why: str, *, for_good: bool = False) -> Eviction:
            return replace(eviction, patch=tried, tried=f"its repair {job.subtask.id} {why}", given_up=for_good)

        if result.outcome is not Outcome.COMPLETED:
            how, word = result.outcome.replace("_", " "), " ".join(result.text.split())[:_LONGEST_WORD]
            for_good = result.outcome is Outcome.FAILED  # whatever else it met, another may not
            return lost(f"{how}: {word}" if word not in ("", how) else f"was {how}", for_good=for_good)
        if result.commit is None:  # nor is git's half of a conflict a repair
            return lost("changed nothing")
        if left := await repository.holding(result.commit, job.marks):
            return lost(f"left conflict marks in {named(left)}")
        made = await repository.record(result.commit, tip, message=f"{job.subtask.id}\n", author=result.trajectory_id)
        changes = tuple(await repository.changes(made))
        if not changes and job.applies:
            return lost("took the change back")
        if gone := await self._gone(job, made):
            return lost(f"took away {named(gone)}")
        undid, instead = await self._undid(old, made, tip, merged)
        if instead and tried.repairs < self._most:  # who is told so and does it again may have a reason
            return lost(f"put the change in place of what {named(instead)} merged")
        return replace(
            tried,
            commit=made,
            author=result.trajectory_id,
            summary=result.text,
            changes=changes,
            needs=(),
            repair=job.subtask.id,
            undid=undid,
        )

    async def _gone(self, job: _Job, made: str) -> list[str]:
        """The tests for which the patch was evicted that are no longer there."""
        found = []
        for test in tests_gone(await self._lines(job.start, made), job.eviction.tests):
            path, function = place_of(test)
            there = await self._picker.repository.holding(made, (f"def {function}(",))
            if not any(same_file(name, path) for name in there):  # between marks it stood twice
                found.append(test)
        return found

    async def _undid(
        self, old: Patch, made: str, tip: str, merged: Sequence[Patch]
    ) -> tuple[tuple[str, ...], list[str]]:
        """What a repair takes back of what others merged, in words, and those in whose place the evicted patch's
        version of a file stands as it was."""
        mine = await self._lines(tip, made)
        as_it_was = mine.keys() - set(await self._picker.repository.changed_files(old.commit, made))
        found, instead = list[str](), list[str]()
        for other in merged:
            if other.subtask_id == old.subtask_id or other.files.isdisjoint(mine):
                continue
            if files := undone(mine, await self._lines(f"{other.commit}^", other.commit)):
                found.append(told(other.subtask_id, files))
                if as_it_was & files.keys():
                    instead.append(other.subtask_id)
        return tuple(found), instead


def repair_id(patch: Patch) -> str:
    """The id of the next repair of a patch."""
    end, name = f".{REPAIR}-{patch.repairs + 1}", patch.subtask_id
    if len(name) + len(end) > _LONGEST_ID:
        sign = hashlib.sha256(name.encode()).hexdigest()[:8]
        name = f"{name[: _LONGEST_ID - len(end) - len(sign) - 1]}-{sign}"
    return name + end


def of_files(diff: str, files: Set[str]) -> str:
    """The parts of a diff that are about these files; all of it where none is named, or none is found."""
    parts = diff.split("\ndiff --git ")
    heads = [parts[0], *(f"diff --git {part}" for part in parts[1:])]
    chosen = [part for part in heads if any(f" b/{name}\n" in f"{part.partition(chr(10))[0]}\n" for name in files)]
    return "\n".join(chosen or heads)
