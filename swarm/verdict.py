"""How a run ended, judged from what it came to."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from itertools import groupby
from typing import NamedTuple

from swarm.errors import BudgetExhausted, PlanError, SwarmError
from swarm.journal.course import OUT_OF_TIME
from swarm.journal.gate_words import words
from swarm.journal.totals import NOT_MERGED, Totals
from swarm.result import Coverage, GateVerdict
from swarm.stages import FOLDED_FROM
from swarm.types import Outcome, RunStatus

INTERRUPTED = 130
_MOST_NAMED = 20


class EndedBy(StrEnum):
    """What ended the loop from outside, if anything did."""

    NOTHING = ""
    CALLER = "stopped by the caller"
    TIME = OUT_OF_TIME
    PLAN = "the plan was declined"
    SPENDING = "further spending was declined"
    PATCH = "the patch was declined"


class Verdict(NamedTuple):
    """What a run may call itself, and in words why it is not completed: empty only where it is."""

    status: RunStatus
    exit_code: int
    reason: str = ""


def orchestrators_end(fault: SwarmError | None, *, stopped: bool, late: bool) -> tuple[Outcome, str]:
    """How the orchestrator's trajectory ended, and why. A model that decides nothing usable has failed, and one that
    comes to a limit is cut off: a trainer must tell both from what the machine did. `late`: it was
    stopped for the time of the run."""
    match fault:
        case None if late:
            return Outcome.TIMED_OUT, "timeout"
        case None:
            return (Outcome.CANCELLED if stopped else Outcome.COMPLETED), "finished"
        case PlanError():
            return Outcome.FAILED, "no_decision"
        case BudgetExhausted(what="seconds"):
            return Outcome.TIMED_OUT, "timeout"
        case BudgetExhausted():
            return Outcome.BUDGET_EXHAUSTED, "budget"
        case _:
            return Outcome.ERRORED, type(fault).__name__


def gate_verdict(totals: Totals, commit: str | None) -> GateVerdict | None:
    """The gate's word on this very commit, None where it was not run on it."""
    gate = totals.gates.get(commit or "") if not totals.gate_left_out else None
    return GateVerdict(command=gate.command, passed=gate.passed) if gate else None


def only_planned(totals: Totals, fault: SwarmError | None, ended_by: EndedBy, *, dry_run: bool) -> bool:
    """Whether a run came to no tree of its own: the gate's word on the base is none on an answer."""
    return dry_run or (not totals.stage and (fault is not None or ended_by is not EndedBy.NOTHING))


def gate_note(totals: Totals, commit: str | None) -> str:
    """What the gate's word on a commit means, where it is not passed as plainly as it should be."""
    gate = totals.gates.get(commit or "") if not totals.gate_left_out else None
    return words(gate) if gate and (gate.flaky or gate.fewer or gate.ran == 0 or not gate.passed) else ""


def judge(
    totals: Totals,
    fault: SwarmError | None,
    ended_by: EndedBy,
    gate: GateVerdict | None,
    *,
    gated: bool,
    dry_run: bool = False,
    empty: bool = False,
    note: str = "",
) -> Verdict:
    """How a run ended. `gated` says that the run has a gate, whether or not it was reached; a dry run is done when
    there is a plan. `empty`: there is neither an answer nor a patch, so nothing was completed. An answer of the
    orchestrator itself is one where it asked nothing of sub-agents. `note`: what the gate's word means."""
    if ended_by not in (EndedBy.NOTHING, EndedBy.TIME):
        return Verdict(RunStatus.CANCELLED, INTERRUPTED, str(fault or ended_by))
    late = isinstance(fault, BudgetExhausted) and fault.what == "seconds"
    if isinstance(fault, BudgetExhausted) and not late:
        return Verdict(RunStatus.BUDGET_EXHAUSTED, fault.exit_code, str(fault))
    if isinstance(fault, PlanError):
        return Verdict(RunStatus.FAILED, fault.exit_code, str(fault))
    if fault is not None and not late:  # the time of the run is no budget that could be raised: what is there is judged
        return Verdict(RunStatus.ERRORED, fault.exit_code, str(fault))
    coverage = totals.coverage
    if dry_run and coverage.asked:
        return Verdict(RunStatus.COMPLETED, 0)
    something = coverage.asked > 0 or gate is not None or not (totals.subtasks or empty)
    passed = gate.passed if gate is not None else not gated
    if something and not coverage.missing and passed and not (empty and coverage.asked):
        return Verdict(RunStatus.COMPLETED, 0)
    why = str(fault or ended_by) or _lacks(totals, gate, passed, empty, note)
    outcomes = set(totals.outcome_of.values())
    if totals.budget_gone:
        return Verdict(RunStatus.BUDGET_EXHAUSTED, BudgetExhausted.exit_code, f"the budget is used up: {why}")
    if outcomes and outcomes <= {Outcome.ERRORED, Outcome.SKIPPED}:
        if totals.broken and fault is None:
            why = f"{_useful(coverage)}: {totals.broken}"
        return Verdict(RunStatus.ERRORED, 3, why)
    return Verdict(RunStatus.PARTIAL if coverage.useful and not empty else RunStatus.FAILED, 1, why)


def _lacks(totals: Totals, gate: GateVerdict | None, passed: bool, empty: bool, note: str) -> str:
    """What a run that came to its end lacks."""
    coverage, lacks = totals.coverage, list[str]()
    if coverage.missing:
        lacks.append(_useful(coverage))
    elif not coverage.asked:
        lacks.append("all sub-tasks were dropped" if totals.subtasks else "nothing was asked of sub-agents")
    if not passed:
        fails = "fails on the result" if gate is not None else "was not run on the result"
        lacks.append(f"the test command {fails}" + (f" ({note})" if note else ""))
    if empty:
        lacks.append("there is neither an answer nor a patch")
    return ", and ".join(lacks)


def coverage_note(totals: Totals) -> str:
    """What of the task is missing in the answer, and why; nothing where nothing is."""
    missing = totals.missing
    if not missing:
        return ""
    named = list(_named(missing))
    more = f", and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
    return f"{_useful(totals.coverage)}. Missing: {', '.join(named[:_MOST_NAMED])}{more}."


def _named(missing: dict[str, str]) -> Iterator[str]:
    """Each by its name; many in a row for the same reason by the first and the last."""
    for where, group in groupby(missing, lambda name: _where(name, missing[name])):
        names = list(group)
        if len(names) >= FOLDED_FROM:
            yield f"{names[0]} to {names[-1]} ({where})"
        else:
            yield from (f"{name} ({where})" for name in names)


def _where(name: str, why: str) -> str:
    """A patch that is not in the answer lies beside it."""
    return f"{why}: see unmerged/{name}.diff" if why == NOT_MERGED else why


def _useful(of: Coverage) -> str:
    return f"{of.useful} of {of.asked} sub-task{'' if of.asked == 1 else 's'} gave a useful result"
