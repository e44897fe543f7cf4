"""jest, vitest, mocha, node's own runner, and whatever else speaks TAP."""

from __future__ import annotations

import re
from collections.abc import Sequence

from swarm.gating.outcomes import Outcomes

_COUNTS = re.compile(r"(?<!\d)(\d++) (\w+)")

_JEST_END = re.compile(r"Tests: {2,}+(.*\d total)\s*")
_JEST_FILE = re.compile(r"\s?(?:FAIL|PASS) (?:\S+ +)?(\S+)(?: \([\d.]+ m?s\))?\s*")
_JEST_TEST = re.compile(r"  ● (\S(?:.*\S)?)\s*")
_JEST_NONE = re.compile(r"No tests found, exiting with code [01]\s*")

_VITEST_END = re.compile(r"\s+Tests  (.*)\s*")
_VITEST_FAIL = re.compile(r"\s*FAIL  (\S(?:.*\S)?)\s*")
_VITEST_NONE = re.compile(r"No test (?:files )?found.*")

_MOCHA_END = re.compile(r"  (\d+) (passing|failing|pending)(?: \([\d.]+\w+\))?\s*")
_MOCHA_TEST = re.compile(r"  \d+\) (\S.*)")

_TAP = re.compile(r"( *)(not ok|ok)(?: \d+)?(?: -)?(?: (.*))?")
_TAP_PLAN = re.compile(r" *1\.\.\d+(?: #.*)?\s*")
_TAP_SUBTEST = re.compile(r"( *)# Subtest: (.*)")
_TAP_NOTE = re.compile(r" # (?:TODO|SKIP|time=).*|(?<! ) ++# (?:todo|skip).*")
_NODE_TESTS = re.compile(r"(?:#|\u2139) tests (\d+)\s*")

_SPEC_TEST = re.compile(r"( *+)\u2716 (.+?)(?: \([\d.]+m?s\))?")


def jest(lines: Sequence[str]) -> Outcomes | None:
    """A test is named by its file and its titles, a file that could not be run by itself."""
    ends = [match[1] for match in map(_JEST_END.fullmatch, lines) if match]
    none = any(map(_JEST_NONE.fullmatch, lines))
    if not ends and not none:
        return None
    failed, file = dict[str, None](), ""
    for line in lines:
        if match := _JEST_FILE.fullmatch(line):
            file = match[1]
        elif match := _JEST_TEST.fullmatch(line):
            title = match[1]
            named = f"{file}: {title}" if file else title
            failed[file if file and title == "Test suite failed to run" else named] = None
    ran = sum(int(count) for end in ends for count, what in _COUNTS.findall(end) if what == "total")
    return Outcomes("jest", tuple(failed), ran)


def vitest(lines: Sequence[str]) -> Outcomes | None:
    """A test is named by its file and its titles, a file that could not be run by itself."""
    ends = [match[1] for match in map(_VITEST_END.fullmatch, lines) if match]
    none = any(map(_VITEST_NONE.fullmatch, lines))
    if not (ends and any(line.lstrip().startswith("Test Files  ") for line in lines)) and not none:
        return None
    failed: dict[str, None] = {}
    for line in lines:
        if match := _VITEST_FAIL.fullmatch(line):
            failed[match[1].partition(" [ ")[0]] = None
    kinds = ("passed", "failed", "skipped", "todo")
    ran = sum(int(count) for end in ends for count, what in _COUNTS.findall(end) if what in kinds)
    return Outcomes("vitest", tuple(failed), ran)


def mocha(lines: Sequence[str]) -> Outcomes | None:
    """A test is named by its titles."""
    counts = [(int(match[1]), match[2]) for match in map(_MOCHA_END.fullmatch, lines) if match]
    if not any(what == "passing" for _, what in counts):
        return None
    failed, ended, title = dict[str, None](), False, list[str]()
    for line in lines:
        if _MOCHA_END.fullmatch(line):
            ended = True
        elif ended and (match := _MOCHA_TEST.fullmatch(line)):
            title = [match[1].strip()]
        elif title:
            title.append(line.strip())
        if title and (title[-1].endswith(":") or len(title) > 20):
            failed[" > ".join(title).removesuffix(":")] = None
            title = []
    return Outcomes("mocha", tuple(failed), sum(count for count, _ in counts))


def tap(lines: Sequence[str]) -> Outcomes | None:
    """A test is named by the titles from the outermost in. Of a group that is red only because of what it holds, the
    parts are named."""
    if not any(map(_TAP_PLAN.fullmatch, lines)):
        return None
    counted = [int(match[1]) for match in map(_NODE_TESTS.fullmatch, lines) if match]
    titles, failed, leaves = list[tuple[int, str]](), dict[str, None](), 0
    red: set[int] = set()  # how deep the failures lie that no group has taken for its own yet
    deep: set[int] = set()
    for line in lines:
        if match := _TAP_SUBTEST.fullmatch(line):
            depth = len(match[1])
            titles = [*(each for each in titles if each[0] < depth), (depth, match[2].strip())]
        elif match := _TAP.fullmatch(line):
            depth, title = len(match[1]), (match[3] or "").strip()
            holds = bool(deep) and max(deep) > depth
            holds_red = any(each > depth for each in red)
            deep = {each for each in deep if each <= depth} | {depth}
            red = {each for each in red if each <= depth}
            leaves += not holds
            if match[2] == "not ok" and not _TAP_NOTE.search(title):
                red.add(depth)
                if not holds_red:
                    failed[" > ".join((*(name for at, name in titles if at < depth), title or "?"))] = None
    return Outcomes("TAP", tuple(failed), sum(counted) if counted else leaves)


def node_spec(lines: Sequence[str]) -> Outcomes | None:
    """node's own runner as it prints for people."""
    counted = [int(match[1]) for match in map(_NODE_TESTS.fullmatch, lines) if match and match[0][0] != "#"]
    if not counted:
        return None
    failed, listed = dict[str, None](), False
    for line in lines:
        if line.startswith("\u2716 failing tests:"):
            listed = True
        elif listed and " # TODO" not in line and (match := _SPEC_TEST.fullmatch(line.rstrip())):
            failed[match[2]] = None
    return Outcomes("node", tuple(failed), sum(counted))
