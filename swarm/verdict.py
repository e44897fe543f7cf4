"""How a run ended, judged from what it came to."""

from __future__ import annotations

from enum import StrEnum

from swarm.errors import BudgetExhausted, PlanError, SwarmError
from swarm.result import GateVerdict
from swarm.totals import Totals
from swarm.types import Outcome, RunStatus

INTERRUPTED = 130


class EndedBy(StrEnum):
    """What ended the loop from outside, if anything did."""

    NOTHING = ""
    CALLER = "stopped by the caller"
    TIME = "the time limit of the run"


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
) -> tuple[RunStatus, int]:
    """Status and exit code. `gated` says that the run has a gate, whether or not it was reached; a dry run is
    done when there is a plan."""
    if ended_by is EndedBy.CALLER:
        return RunStatus.CANCELLED, INTERRUPTED
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
    if whole and passed:
        return RunStatus.COMPLETED, 0
    outcomes = set(totals.outcome_of.values())
    if totals.budget_gone:
        return RunStatus.BUDGET_EXHAUSTED, BudgetExhausted.exit_code
    if outcomes and outcomes <= {Outcome.ERRORED, Outcome.SKIPPED}:
        return RunStatus.ERRORED, 3
    return (RunStatus.PARTIAL if coverage.useful else RunStatus.FAILED), 1
