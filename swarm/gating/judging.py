"""Judging a run of the gate: beside the base, and after what was red was run once more. All of it is pure."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace

from swarm.gating.outcomes import Outcomes
from swarm.gating.runs import Ran
from swarm.gating.selection import parse
from swarm.stages import GateReport, GateTests

NO_TESTS = "no test was run"
SILENT = "its output tells of no test any more, as it did before: what ended it well was perhaps no test"
KILLED = "it was killed with signal 9, as the sandbox does at its limit of memory"
NOT_FOUND = "the command was not found"
NOT_COLLECTED = "tests could not be collected, so that none was run"

MOST_AGAIN = 100
"""Tests that are run once more: where more are red, it is no matter of luck."""

_SHOWN_HEAD, _SHOWN_TAIL = 20_000, 80_000
_MISSING = (126, 127)
_SIGKILL = 137
_KILLED_WORDS = re.compile(r"^(?:.*\s)?Killed(?:\s.*)?$|\bError 137\b|\bsignal: 9\b|\bSIGKILL\b", re.MULTILINE)
_LAST = 2_000  # characters in which a shell or make would tell


@dataclass(frozen=True, slots=True)
class Seen:
    """One run of a command, understood."""

    command: str
    ran: Ran
    outcomes: Outcomes
    artifact: str = ""


def judged(seen: Seen, base: GateReport | None, flaky: Collection[str] = (), *, chosen: bool = False) -> GateReport:
    """The first judgement of a run. `base` is None for that of the base itself, `flaky` are known to be.

    `chosen`: it was a run of chosen tests, for which only they count: not that there is none, nor what else a command
    may demand of a whole run.
    """
    ran, outcomes = seen.ran, seen.outcomes
    code, why = ran.exit_code, _reason(ran, outcomes)
    if chosen and outcomes.runner and outcomes.complete and not outcomes.failed and (code == 1 or why == NO_TESTS):
        code, why = 0, ""
    if code == 0 and not why and not outcomes.runner and base is not None and _always_tells(base):
        why = SILENT
    tests = GateTests(
        failed=outcomes.failed,
        broken=_broken(outcomes, base, flaky),
        before=_before(outcomes, base) if base else (),
        fixed=() if base is None or chosen or ran.timed_out else _fixed(outcomes, base),
        ran=outcomes.ran,
        complete=outcomes.complete and not ran.timed_out and why != KILLED,
        runner=outcomes.runner,
        fewer=0 if base is None or chosen or ran.timed_out else _fewer(outcomes, base.tests),
    )
    report = GateReport(
        command=seen.command,
        exit_code=code,
        output=shown(ran.output),
        timed_out=ran.timed_out,
        seconds=ran.seconds,
        tests=tests,
        reason=why,
        base_passed=base.passed if base else None,
        artifact=seen.artifact,
    )
    return replace(report, worse=_worse(report, base, flaky))


def doubtful(report: GateReport, flaky: Collection[str] = (), *, base: bool = False) -> tuple[str, ...] | None:
    """What is to be run once more: these tests, all of it where there are none; None where there is no doubt."""
    if report.passed or report.reason in (NO_TESTS, NOT_FOUND, SILENT):
        return None
    tests = report.tests
    lucky = [name for name in tests.failed if name in flaky]
    if (report.timed_out or report.reason or not tests.failed) if base else not (report.worse or lucky):
        return None
    wanted = set(tests.failed if base or not (tests.broken or lucky) else (*tests.broken, *lucky))
    red = tuple(name for name in tests.failed if name in wanted)
    return red if len(red) <= MOST_AGAIN else None


def settled(
    first: GateReport, second: Seen, again: Collection[str], base: GateReport | None, flaky: Collection[str] = ()
) -> GateReport:
    """The judgement after `again` (all, where empty) was run once more. `base` and `flaky` as for `judged`."""
    ran, now, then = second.ran, second.outcomes, first.tests
    green = ran.exit_code == 0 and not ran.timed_out and not _reason(ran, now)
    named = bool(now.runner) and now.complete and ran.exit_code in (0, 1) and not ran.timed_out
    red = set(now.failed)
    if again:
        luck = tuple(name for name in again if name not in red) if named or green else ()
        green = green and set(luck) == set(then.failed) and not first.timed_out and not first.reason
    elif green:
        luck = then.failed
    else:
        luck = _differing(then, now) if named and then.complete else ()
    left = [tuple(name for name in names if name not in set(luck)) for names in (then.failed, then.broken, then.before)]
    # What is red twice on one tree is no luck, whatever it was before.
    twice = red & {*(again or then.failed)} - set(left[2]) if named and base is not None else set[str]()
    new = tuple(name for name in left[0] if name in twice or name in left[1]) if _tells(base) else left[1]
    tests = replace(then, failed=left[0], broken=new, before=left[2], flaky=luck)
    if green and not again:
        tests = replace(tests, ran=now.ran, complete=now.complete, runner=now.runner)
    report = replace(
        first,
        exit_code=0 if green else first.exit_code,
        timed_out=first.timed_out and not green,
        reason="" if green else first.reason,
        output=shown(f"{first.output.rstrip()}\n\n{heading(again)}\n{ran.output}"),
        seconds=first.seconds + ran.seconds,
        tests=tests,
    )
    return replace(report, worse=_worse(report, base, {*flaky, *luck} - twice))


def whole(lucky: GateReport, third: Seen, base: GateReport | None, flaky: Collection[str] = ()) -> GateReport:
    """The judgement after all of it was run again, because chosen tests were green by themselves: those that are red
    again in company depend on it, and are no matter of luck."""
    now, then = third.outcomes, lucky.tests
    ended = not third.ran.timed_out and not _reason(third.ran, now)
    if ended and third.ran.exit_code == 0:
        return replace(lucky, seconds=lucky.seconds + third.ran.seconds)
    named = ended and bool(now.runner) and now.complete
    red = set(now.failed) if named else set(then.flaky)
    back = tuple(name for name in then.flaky if name in red)
    before = {name for name in back if base and {name, file_of(name)} & set(base.tests.failed)}
    new = tuple(name for name in back if name not in before) if _tells(base) else ()
    tests = replace(
        then,
        failed=(*back, *then.failed),
        broken=(*new, *then.broken),
        before=(*(name for name in back if name in before), *then.before),
        flaky=tuple(name for name in then.flaky if name not in red),
    )
    report = replace(
        lucky,
        exit_code=third.ran.exit_code if back else lucky.exit_code,
        output=shown(f"{lucky.output.rstrip()}\n\n{heading(())}\n{third.ran.output}"),
        seconds=lucky.seconds + third.ran.seconds,
        tests=tests,
    )
    return replace(report, worse=_worse(report, base, {*flaky, *tests.flaky} - set(back)))


def by_luck(report: GateReport, tests: Collection[str], base: GateReport | None) -> GateReport:
    """The judgement after tests that were red were green in a further run of all: they are flaky."""
    then, lucky = report.tests, set(tests)
    left = [tuple(name for name in names if name not in lucky) for names in (then.failed, then.broken, then.before)]
    more = tuple(name for name in tests if name not in then.flaky)
    now = replace(then, failed=left[0], broken=left[1], before=left[2], flaky=(*then.flaky, *more))
    green = not left[0]
    found = replace(
        report,
        tests=now,
        exit_code=0 if green else report.exit_code,
        timed_out=report.timed_out and not green,
        reason="" if green else report.reason,
    )
    return replace(found, worse=_worse(found, base, now.flaky))


def _differing(then: GateTests, now: Outcomes) -> tuple[str, ...]:
    """What failed in only one of two whole runs."""
    return tuple(
        name for name in dict.fromkeys((*then.failed, *now.failed)) if (name in then.failed) != (name in now.failed)
    )


def heading(again: Collection[str]) -> str:
    """What stands between the outputs of two runs."""
    what = f"{len(again)} test{'' if len(again) == 1 else 's'}" if again else "all of it"
    return f"[once more on the same tree, in another sandbox: {what}]"


def shown(output: str) -> str:
    """As much of an output as is recorded: its head, and more of its tail."""
    if len(output) <= _SHOWN_HEAD + _SHOWN_TAIL:
        return output
    left_out = len(output) - _SHOWN_HEAD - _SHOWN_TAIL
    return f"{output[:_SHOWN_HEAD]}\n[... {left_out} characters left out ...]\n{output[-_SHOWN_TAIL:]}"


def file_of(test: str) -> str:
    """The file that a name begins with, as pytest's do; empty for others."""
    file, colons, _ = test.partition("::")
    return file if colons and file.endswith(".py") else ""


def hits(failed: Collection[str], tests: Collection[str]) -> bool:
    """Whether one of these tests is red: by its name, or with the file that holds it, or that it is."""
    red = set(failed)
    files = {file_of(name) for name in failed}
    return any(name in red or name in files or file_of(name) in red for name in tests)


def _reason(ran: Ran, outcomes: Outcomes) -> str:
    if ran.timed_out:
        return f"it did not end within {ran.limit:g} s, its limit" if ran.limit else ""
    if ran.exit_code in _MISSING:
        return NOT_FOUND
    if ran.exit_code == _SIGKILL or (
        not outcomes.runner and ran.exit_code and _KILLED_WORDS.search(ran.output[-_LAST:])
    ):
        return KILLED
    if outcomes.ran == 0 and not outcomes.compiles:
        return NOT_COLLECTED if outcomes.failed else NO_TESTS
    return ""


def red_of(report: GateReport, tests: Collection[str]) -> tuple[str, ...]:
    """Which of these tests are red. Where a run tells no names, or did not get to all, it is all of them or none: by
    whether the tree is worse than the base."""
    if report.tests.runner and report.tests.complete and not report.reason and not report.timed_out:
        return tuple(name for name in tests if hits(report.tests.failed, (name,)))
    return tuple(tests) if report.worse else ()


def _always_tells(base: GateReport) -> bool:
    """Whether the command tells of its tests also when all is well: as it did so on the base, or as it does nothing but
    call pytest. Others (Gradle, `mvn -q`, pre-commit) may print counts only when something is red."""
    return bool(base.tests.ran) and (base.passed or parse(base.command) is not None)


def _tells(base: GateReport | None) -> bool:
    """Whether what is red now and is not named there is known to be new."""
    return base is not None and (base.passed or bool(base.tests.complete and base.tests.runner))


def _broken(outcomes: Outcomes, base: GateReport | None, flaky: Collection[str]) -> tuple[str, ...]:
    if base is None or not _tells(base):
        return ()  # what was not seen before is not known to be new
    before = {*_before(outcomes, base), *flaky}
    return tuple(name for name in outcomes.failed if name not in before)


def _before(outcomes: Outcomes, base: GateReport) -> tuple[str, ...]:
    red = set(base.tests.failed)
    return tuple(name for name in outcomes.failed if {name, file_of(name)} & red)


def _fixed(outcomes: Outcomes, base: GateReport) -> tuple[str, ...]:
    if not outcomes.complete or not outcomes.runner:
        return ()
    red, files = set(outcomes.failed), {file_of(name) for name in outcomes.failed}
    return tuple(name for name in base.tests.failed if not {name, file_of(name)} & red and name not in files)


def _fewer(outcomes: Outcomes, base: GateTests) -> int:
    if outcomes.ran is None or base.ran is None or not (outcomes.complete and base.complete):
        return 0
    return max(0, base.ran - outcomes.ran) if outcomes.runner == base.runner else 0


def _worse(report: GateReport, base: GateReport | None, flaky: Collection[str]) -> bool:
    if report.passed:
        return False
    if base is None:
        return True
    tests, limit = report.tests, bool(report.reason or report.timed_out)
    if base.passed:
        by_luck = bool(tests.failed or tests.flaky) and set(tests.failed) <= set(flaky)
        return limit or not by_luck
    if tests.broken or (report.reason and report.reason != base.reason) or (report.timed_out and not base.timed_out):
        return True
    # The base named what failed; where nothing is named now, it ended in another way.
    return base.tests.complete and bool(base.tests.failed) and not (tests.failed or tests.flaky)
