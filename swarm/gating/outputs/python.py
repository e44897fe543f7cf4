"""pytest and unittest, also within tox, nox or make."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from swarm.gating import pytest_output
from swarm.gating.outcomes import Outcomes

_END = re.compile(r"(?:=+ )?((?:\d+ [a-z ]+, )*\d+ [a-z ]+|no tests ran) in [\d.]+ ?s(?: \([\d:]+\))?(?: =+)?\s*")
_TESTS = re.compile(r"no tests ran|\b(?:failed|passed|errors?|skipped|deselected|xfailed|xpassed)\b")
_COUNTED = re.compile(r"(?<!\d)(\d++) (failed|passed|error|errors|skipped|xfailed|xpassed)\b")
_STOPPED = re.compile(r"!{3,} .+ !{3,}\s*")
_SUMMARY = re.compile(r"=+ short test summary info =+\s*")

_UNITTEST = re.compile(r"(?:FAIL|ERROR|UNEXPECTED SUCCESS): (\S+) \(([^()\s]+)\)")
_UNITTEST_RAN = re.compile(r"Ran (\d+) tests? in [\d.]+s\s*")


def pytest(lines: Sequence[str]) -> Outcomes | None:
    """By its last line of counts, or its summary."""
    ends = [match[1] for match in map(_END.fullmatch, lines) if match and _TESTS.search(match[1])]
    if not ends and not any(map(_SUMMARY.fullmatch, lines)):
        return None
    failed = [failure.nodeid for part in _parts(lines) for failure in pytest_output.parse(part)]
    failed = list(dict.fromkeys(failed))
    counted = [(int(count), what) for end in ends for count, what in _COUNTED.findall(end)]
    uncollected = sum(1 for name in failed if "::" not in name)
    ran = sum(count for count, _ in counted) - uncollected
    red = sum(count for count, what in counted if what in ("failed", "error", "errors"))
    complete = not any(map(_STOPPED.fullmatch, lines))
    if red and not failed:  # the summary is hidden
        failed = pytest_output.headed("\n".join(lines))
        failed, complete = (failed, complete) if len(failed) >= red else ([], False)
    return Outcomes("pytest", tuple(failed), max(0, ran) if ends else None, complete)


def _parts(lines: Sequence[str]) -> Iterator[str]:
    """The outputs of several runs of pytest, one after the other."""
    part: list[str] = []
    for line in lines:
        part.append(line)
        if _END.fullmatch(line):
            yield "\n".join(part)
            part = []
    yield "\n".join(part)


def unittest(lines: Sequence[str]) -> Outcomes | None:
    """By the count in its last lines."""
    counts = [int(match[1]) for match in map(_UNITTEST_RAN.fullmatch, lines) if match]
    if not counts:
        return None
    failed: dict[str, None] = {}
    for before, line in zip(("", *lines), lines, strict=False):
        if before.startswith("=====") and (match := _UNITTEST.match(line)):
            test, where = match.groups()
            if where.startswith("unittest.loader._FailedTest"):
                failed[test] = None
            else:
                failed[where if where.endswith(f".{test}") else f"{where}.{test}"] = None
    return Outcomes("unittest", tuple(failed), sum(counts))
