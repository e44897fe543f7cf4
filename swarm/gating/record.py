"""Verdicts of the gate as records, and back."""

from __future__ import annotations

from collections.abc import Sequence

from swarm.events import GateFinished
from swarm.events.merging import GatePurpose
from swarm.stages import GateReport, GateTests


def record(
    report: GateReport,
    commit: str,
    stage: int,
    purpose: GatePurpose,
    *,
    attempt: int = 1,
    settled: bool = True,
    tests: Sequence[str] = (),
) -> GateFinished:
    """The record of a report."""
    return GateFinished(
        stage=stage,
        command=report.command,
        commit=commit,
        passed=report.passed,
        exit_code=report.exit_code,
        timed_out=report.timed_out,
        output=report.output,
        seconds=report.seconds,
        purpose=purpose,
        attempt=attempt,
        settled=settled,
        tests=list(tests),
        failed=list(report.tests.failed),
        broken=list(report.tests.broken),
        before=list(report.tests.before),
        fixed=list(report.tests.fixed),
        flaky=list(report.tests.flaky),
        ran=report.tests.ran,
        complete=report.tests.complete,
        runner=report.tests.runner,
        fewer=report.tests.fewer,
        reason=report.reason,
        base_passed=report.base_passed,
        worse=report.worse,
        artifact=report.artifact,
    )


def report_of(event: GateFinished) -> GateReport:
    """The report that a record was made of."""
    return GateReport(
        command=event.command,
        exit_code=event.exit_code,
        output=event.output,
        timed_out=event.timed_out,
        seconds=event.seconds,
        tests=GateTests(
            failed=tuple(event.failed),
            broken=tuple(event.broken),
            before=tuple(event.before),
            fixed=tuple(event.fixed),
            flaky=tuple(event.flaky),
            ran=event.ran,
            complete=event.complete,
            runner=event.runner,
            fewer=event.fewer,
        ),
        reason=event.reason,
        base_passed=event.base_passed,
        worse=event.worse,
        artifact=event.artifact,
    )
