"""rspec, minitest, PHPUnit, Maven's surefire, Gradle, dotnet test."""

from __future__ import annotations

import re
from collections.abc import Sequence

from swarm.gating.outcomes import Outcomes

_RSPEC_END = re.compile(r"(\d+) examples?, \d+ failures?.*")
_RSPEC_TEST = re.compile(r"rspec (?:\./)?(\S+?)(?::\d+|\[[\d:]+\]) # (.*\S)\s*")
_RSPEC_OUTSIDE = re.compile(r".*, (\d+) errors? occurred outside of examples.*")
_RSPEC_FILE = re.compile(r"An error occurred while loading (?:\./)?(\S+?)\.?\s*")

_MINITEST_END = re.compile(r"(\d+) (?:runs|tests), \d+ assertions, \d+ failures, \d+ errors.*")
_MINITEST_TEST = re.compile(r"([^#]*+#.*\S) \[[^\[\]]*+\]:\s*|([^#]*+#.*\S):\s*")

_PHPUNIT_END = re.compile(r"OK \((\d+) tests?, \d+ assertions?\)\s*|Tests: (\d+), Assertions: \d+.*")
_PHPUNIT_NONE = re.compile(r"No tests executed!\s*")
_PHPUNIT_TEST = re.compile(r"\d+\) (\S+::\S(?:.*\S)?)\s*")
_PHPUNIT_PART = re.compile(r"There (?:was|were) \d+ (\w++).*:\s*")

_MAVEN_END = re.compile(r"\[(?:INFO|ERROR|WARNING)\] Tests run: (\d+), Failures: \d+, Errors: \d+, Skipped: \d+\s*")
_MAVEN_ENDS = (" <<< FAILURE!", " <<< ERROR!")
_MAVEN_CLASS_LAST = re.compile(r"([^.(\[]++(?:\[.*\])?)\(([\w.$]++)\)")
_MAVEN_BROKEN = re.compile(r"\[ERROR\] COMPILATION ERROR.*")

_GRADLE_END = re.compile(r"(\d+) tests? completed(?:, \d+ failed)?(?:, \d+ skipped)?\s*")
_GRADLE_TEST = re.compile(r"(\S+ > .+) FAILED\s*")

_DOTNET_END = re.compile(r"(?:Failed|Passed)! +- Failed: +\d+, Passed: +\d+, Skipped: +\d+, Total: +(\d+).*")
_DOTNET_TEST = re.compile(r"  Failed (\S.*?)(?: \[[^\][]*\])?")


def rspec(lines: Sequence[str]) -> Outcomes | None:
    """An example is named by its file and its description, a file that cannot be loaded by itself."""
    ends = [match for match in map(_RSPEC_END.fullmatch, lines) if match]
    if not ends:
        return None
    failed = {f"{match[1]}: {match[2]}": None for match in map(_RSPEC_TEST.fullmatch, lines) if match}
    outside = any(_RSPEC_OUTSIDE.fullmatch(match[0]) for match in ends)
    failed |= {match[1]: None for match in map(_RSPEC_FILE.fullmatch, lines) if match and outside}
    return Outcomes("rspec", tuple(failed), sum(int(match[1]) for match in ends), complete=not outside)


def minitest(lines: Sequence[str]) -> Outcomes | None:
    """A test is named `Class#test`."""
    counts = [int(match[1]) for match in map(_MINITEST_END.fullmatch, lines) if match]
    if not counts:
        return None
    failed: dict[str, None] = {}
    for before, line in zip(("", *lines), lines, strict=False):
        match = _MINITEST_TEST.fullmatch(line) if before.strip().endswith(("Failure:", "Error:")) else None
        if match:
            failed[match[1] or match[2]] = None
    return Outcomes("minitest", tuple(failed), sum(counts))


def phpunit(lines: Sequence[str]) -> Outcomes | None:
    """A test is named `Class::method`, with its data set."""
    counts = [int(match[1] or match[2]) for match in map(_PHPUNIT_END.fullmatch, lines) if match]
    if not counts and not any(map(_PHPUNIT_NONE.fullmatch, lines)):
        return None
    failed, part = dict[str, None](), ""
    for line in lines:
        if match := _PHPUNIT_PART.fullmatch(line):
            part = match[1]
        elif part.startswith(("failure", "error")) and (match := _PHPUNIT_TEST.fullmatch(line)):
            failed[match[1]] = None
    return Outcomes("phpunit", tuple(failed), sum(counts))


def surefire(lines: Sequence[str]) -> Outcomes | None:
    """A test is named `package.Class.method`, with its parameters as they are printed."""
    counts = [int(match[1]) for match in map(_MAVEN_END.fullmatch, lines) if match]
    broken = any(map(_MAVEN_BROKEN.fullmatch, lines))
    if not counts and not broken:
        return None
    named = [name for name in map(_surefire_name, lines) if name]
    failed = {f"{old[2]}.{old[1]}" if (old := _MAVEN_CLASS_LAST.fullmatch(name)) else name: None for name in named}
    return Outcomes("surefire", tuple(failed), sum(counts) if counts else None, complete=not broken)


def _surefire_name(line: str) -> str:
    """What stands before the time of a line that tells of a failed test; "" for any other."""
    before, found, after = line.removeprefix("[ERROR] ").partition("Time elapsed: ")
    name = before.removesuffix("-- ").rstrip(" ")
    told = found and after.rstrip().endswith(_MAVEN_ENDS) and before.endswith(" ") and not before[:1].isspace()
    return name if told and not name.startswith("Tests run:") else ""


def gradle(lines: Sequence[str]) -> Outcomes | None:
    """A test is named as Gradle does: `package.Class > method`."""
    counts = [int(match[1]) for match in map(_GRADLE_END.fullmatch, lines) if match]
    if not counts:
        return None
    failed = {match[1]: None for match in map(_GRADLE_TEST.fullmatch, lines) if match}
    return Outcomes("gradle", tuple(failed), sum(counts))


def dotnet(lines: Sequence[str]) -> Outcomes | None:
    """A test is named as `dotnet test` does."""
    counts = [int(match[1]) for match in map(_DOTNET_END.fullmatch, lines) if match]
    if not counts:
        return None
    failed = {match[1]: None for match in map(_DOTNET_TEST.fullmatch, map(str.rstrip, lines)) if match}
    return Outcomes("dotnet", tuple(failed), sum(counts))
