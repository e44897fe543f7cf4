"""How a run ended, judged from what it came to."""

from __future__ import annotations

from enum import StrEnum

from swarm.errors import BudgetExhausted, PlanError, SwarmError
from swarm.journal.totals import Totals
from swarm.result import GateVerdict
from swarm.types import Outcome, RunStatus

INTERRUPTED = 130
_MOST_NAMED = 20


class EndedBy(StrEnum):
    """What ended the loop from outside, if anything did."""

    NOTHING = ""
    CALLER = "stopped by the caller"
    TIME = "the time limit of the run"
    PLAN = "the plan was declined"
    SPENDING = "further spending was declined"
    PATCH = "the patch was declined"


def gate_verdict(totals: Totals, commit: str | None) -> GateVerdict | None:
    """The gate's word on this very commit, None where it was not run on it."""
    gate = totals.last_gate
    return GateVerdict(command=gate.command, passed=gate.passed) if gate and gate.commit == (commit or "") else None


def judge(
    totals: Totals,
    fault: SwarmError | None,
    ended_by: EndedBy,
    gate: GateVerdict | None,
    *,
    gated: bool,
    dry_run: bool = False,
    empty: bool = False,
) -> tuple[RunStatus, int]:
    """Status and exit code. `gated` says that the run has a gate, whether or not it was reached; a dry run is
    done when there is a plan. `empty`: there is neither an answer nor a patch, so nothing was completed."""
    if ended_by not in (EndedBy.NOTHING, EndedBy.TIME):
        return RunStatus.CANCELLED, INTERRUPTED
    if isinstance(fault, BudgetExhausted) and fault.what == "seconds":
        fault = None  # the time of the run is no budget that could be raised: what is there is judged
    if isinstance(fault, BudgetExhausted):
        return RunStatus.BUDGET_EXHAUSTED, fault.exit_code
    if isinstance(fault, PlanError):
        return RunStatus.FAILED, fault.exit_code
    if fault is not None:
        return RunStatus.ERRORED, fault.exit_code
    coverage = totals.coverage
    if dry_run and coverage.asked:
        return RunStatus.COMPLETED, 0
    nothing_to_do = coverage.asked == 0 and gate is not None
    whole = (coverage.asked > 0 or nothing_to_do) and coverage.missing == 0
    passed = gate.passed if gate is not None else not gated
    if whole and passed and not (empty and coverage.asked):
        return RunStatus.COMPLETED, 0
    outcomes = set(totals.outcome_of.values())
    if totals.budget_gone:
        return RunStatus.BUDGET_EXHAUSTED, BudgetExhausted.exit_code
    if outcomes and outcomes <= {Outcome.ERRORED, Outcome.SKIPPED}:
        return RunStatus.ERRORED, 3
    return (RunStatus.PARTIAL if coverage.useful and not empty else RunStatus.FAILED), 1


def coverage_note(totals: Totals) -> str:
    """What of the task is missing in the answer, and why; nothing where nothing is."""
    missing = totals.missing
    if not missing:
        return ""
    named = [f"{name} ({why})" for name, why in missing.items()]
    more = f", and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
    asked = totals.coverage
    of = f"{asked.useful} of {asked.asked} sub-task{'' if asked.asked == 1 else 's'} gave a useful result"
    return f"{of}. Missing: {', '.join(named[:_MOST_NAMED])}{more}."
