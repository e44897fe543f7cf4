"""What a verdict of the gate means, in words: what is red, whose fault it is not, and what was only bad luck."""

from __future__ import annotations

from collections.abc import Sequence

from swarm.events import GateFinished
from swarm.journal.gate_record import report_of
from swarm.stages import GateReport, GateTests

MOST_NAMED = 5


def words(said_by: GateFinished | GateReport) -> str:
    """All that is to be said beside passed or failed, in clauses; empty where there is nothing."""
    gate = said_by if isinstance(said_by, GateReport) else report_of(said_by)
    tests = gate.tests
    said: list[str] = []
    if gate.reason:
        said.append(gate.reason)
    if not gate.passed and gate.base_passed is not None:
        said += _blame(tests, gate.worse, gate.base_passed)
    elif not gate.passed and tests.failed:
        said.append(f"{_tests_are(len(tests.failed))} red: {named(tests.failed)}")
    if tests.fixed:
        said.append(f"{_tests_are(len(tests.fixed))} green that {_were(len(tests.fixed))} red before")
    if tests.flaky:
        said.append(f"flaky (red, then green on the same tree): {named(tests.flaky)}")
    if tests.fewer:
        said.append(f"{tests.fewer} {'test' if tests.fewer == 1 else 'tests'} fewer than on the base")
    if gate.passed and tests.ran == 0:
        said.append("though there was no test to run")
    return "; ".join(said)


def ended(gate: GateFinished) -> str:
    """How a run of it ended."""
    how = "timed out" if gate.timed_out else f"failed with exit code {gate.exit_code}"
    return f"passed in {gate.seconds:.1f} s" if gate.passed else f"{how} after {gate.seconds:.1f} s"


def named(tests: Sequence[str]) -> str:
    """The first of some tests."""
    more = f" and {len(tests) - MOST_NAMED} more" if len(tests) > MOST_NAMED else ""
    return ", ".join(tests[:MOST_NAMED]) + more


def _blame(tests: GateTests, worse: bool, base_passed: bool) -> list[str]:
    """What is new, and what was there before anything was changed."""
    said = [f"{_tests_are(len(tests.broken))} newly red: {named(tests.broken)}"] if tests.broken else []
    if base_passed:
        known = [name for name in tests.failed if name not in {*tests.broken, *tests.before}]
        return (
            [*said, f"{_tests_are(len(known))} red that {_were(len(known))} flaky before: {named(known)}"]
            if known
            else said
        )
    before, unknown = len(tests.before), len(tests.failed) - len(tests.broken) - len(tests.before)
    if before:
        said.append(f"{before} test{'' if before == 1 else 's'} {_were(before)} red before")
    if unknown > 0:
        said.append(f"{_tests_are(unknown)} red of which nothing is known before")
    if before and not unknown and not worse:
        said.append("nothing that was green broke")
    if not tests.failed and not worse:
        said.append("it failed before, too, and its output names no tests: whether anything broke cannot be told")
    return said


def _tests_are(number: int) -> str:
    return "1 test is" if number == 1 else f"{number} tests are"


def _were(number: int) -> str:
    return "was" if number == 1 else "were"
