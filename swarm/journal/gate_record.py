"""Verdicts of the gate as records, and back. What a report says stands in its record under the same names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from swarm.events import GateFinished
from swarm.events.merging import GatePurpose
from swarm.stages import GateReport, GateTests

_OF_TESTS = tuple(field.name for field in fields(GateTests))
_OF_REPORT = tuple(field.name for field in fields(GateReport) if field.name != "tests")


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
    """The record of a report. `tests` are those that it was about."""
    said: dict[str, Any] = {name: getattr(report, name) for name in _OF_REPORT}
    said |= {name: getattr(report.tests, name) for name in _OF_TESTS}
    return GateFinished(
        stage=stage,
        commit=commit,
        passed=report.passed,
        purpose=purpose,
        attempt=attempt,
        settled=settled,
        tests=list(tests),
        **said,
    )


def report_of(event: GateFinished) -> GateReport:
    """The report that a record was made of."""
    said = {name: getattr(event, name) for name in (*_OF_REPORT, *_OF_TESTS)}
    said = {name: tuple(value) if isinstance(value, list) else value for name, value in said.items()}
    tests = GateTests(**{name: said[name] for name in _OF_TESTS})
    return GateReport(tests=tests, **{name: said[name] for name in _OF_REPORT})
