"""cargo test, cargo nextest, go test, ctest: runners of languages that are compiled first."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from swarm.gating.outcomes import Outcomes

_CARGO_RUNS = re.compile(r"running (\d+) tests?\s*")
_CARGO_WHAT = re.compile(
    r"\s+(?:Running (?:unittests )?\S+ \((?:.*/)?([^/()]+?)(?:-[0-9a-f]{16})?(?:\.exe)?\)|Doc-tests (\S+))\s*"
)
_CARGO_TEST = re.compile(r"test (\S.*?) \.\.\. FAILED\s*")
_CARGO_LISTED = re.compile(r"    (\S(?:.*\S)?)\s*")
_CARGO_BROKEN = re.compile(r"error: could not compile `([^`]+)`.*")
_CARGO_RED = re.compile(r"error: (?:doc)?test failed, to rerun pass.*")
_CARGO_WENT_ON = re.compile(r"error: \d+ targets? failed:\s*")

_NEXTEST_END = re.compile(r"\s*Summary \[.*\] +(\d+)(?:/\d+)? tests? run: .*")
_NEXTEST_TEST = re.compile(
    r"\s*(?:FAIL|SIG[A-Z]+|ABORT|TIMEOUT|LEAK-FAIL) +\[[^\]]*\] (?:\( *\d+/\d+\) )?(\S+) (\S+)\s*"
)

_GO_TEST = re.compile(r"\s*--- (FAIL|PASS|SKIP): (\S+) \([\d.]+s\)\s*")
_GO_PACKAGE = re.compile(r"(FAIL|ok  |---|\?   )\t(\S+)(?:\t| )(.*)")

_CTEST_END = re.compile(r"\d+% tests passed, (\d+) tests? failed out of (\d+)\s*")
_CTEST_TEST = re.compile(r"\s*\d+ - (\S.*?) \([^()]*\)(?: +\S.*)?\s*")


def cargo(lines: Sequence[str]) -> Outcomes | None:
    """A test is named by its binary and its path, a crate that does not compile by itself. After a binary in which
    tests fail cargo runs no other, unless it is told to go on."""
    counts, failed, what = list[int](), dict[str, None](), ""
    broken, listing = False, False
    for line in lines:
        if match := _CARGO_WHAT.fullmatch(line):
            what = match[1] or f"{match[2]} (doc)"
        elif match := _CARGO_RUNS.fullmatch(line):
            counts.append(int(match[1]))
        elif match := _CARGO_BROKEN.fullmatch(line):
            failed[f"{match[1]}: does not compile"] = None
            broken = True
        elif counts and (match := _CARGO_TEST.fullmatch(line)):
            failed[f"{what} {match[1]}".strip()] = None
        elif counts and line.rstrip() == "failures:":
            listing = True
            continue
        elif listing and (match := _CARGO_LISTED.fullmatch(line)) and not match[1].startswith(("----", "note:")):
            failed[f"{what} {match[1]}".strip()] = None
            continue
        listing = False
    if not counts and not broken:
        return None
    went_on = any(map(_CARGO_WENT_ON.fullmatch, lines))
    complete = not broken and (went_on or not any(map(_CARGO_RED.fullmatch, lines)))
    return Outcomes("cargo", tuple(failed), sum(counts) if counts else None, complete, compiles=True)


def nextest(lines: Sequence[str]) -> Outcomes | None:
    """A test is named by its binary and its path."""
    counts = [int(match[1]) for match in map(_NEXTEST_END.fullmatch, lines) if match]
    if not counts:
        return None
    failed = {f"{match[1]} {match[2]}": None for match in map(_NEXTEST_TEST.fullmatch, lines) if match}
    cut = any("due to test failure" in line or "not run due to" in line for line in lines)
    return Outcomes("nextest", tuple(failed), sum(counts), complete=not cut, compiles=True)


def go(lines: Sequence[str]) -> Outcomes | None:
    """A test is named by its package and its name; of a test with parts, the parts that fail. A package that does not
    build, or that ends otherwise than by a test, is named by itself."""
    failed, waiting, known, run, packages = dict[str, None](), list[str](), False, 0, 0
    for line in lines:
        if match := _GO_TEST.fullmatch(line):
            run += 1
            known = known or match[1] == "PASS"
            if match[1] == "FAIL":
                waiting.append(match[2])
        elif match := _GO_PACKAGE.fullmatch(line):
            verdict, package = match[1].strip(), match[2]
            if verdict == "---":
                continue
            packages += 1
            if verdict == "FAIL":
                leaves = _leaves(waiting)
                failed.update((f"{package} {name}", None) for name in leaves)
                if not leaves:
                    failed[package] = None
            waiting = []
    if not packages:
        return None
    none = not failed and not run and all("[no test" in m[3] for m in map(_GO_PACKAGE.fullmatch, lines) if m)
    ran = 0 if none else run if known and run else None
    return Outcomes("go", tuple(failed), ran, compiles=True)


def go_json(lines: Sequence[str]) -> Outcomes | None:
    """The same from `go test -json`."""
    failed: dict[str, list[str]] = {}
    whole: set[str] = set()
    ran, known = 0, False
    for line in lines:
        if not line.startswith("{") or '"Action"' not in line:
            continue
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if not isinstance(event, dict) or not isinstance(event.get("Package"), str):
            continue
        package, test, action = event["Package"], event.get("Test"), event.get("Action")
        known = True
        if isinstance(test, str) and action in ("pass", "fail", "skip"):
            ran += 1
            if action == "fail":
                failed.setdefault(package, []).append(test)
        elif action == "fail":
            whole.add(package)
    if not known:
        return None
    names = [f"{package} {name}" for package, tests in failed.items() for name in _leaves(tests)]
    return Outcomes("go", (*names, *sorted(whole - set(failed))), ran, compiles=True)


def ctest(lines: Sequence[str]) -> Outcomes | None:
    """A test is named as CMake names it."""
    counts = [int(match[2]) for match in map(_CTEST_END.fullmatch, lines) if match]
    if not counts and not any(line.startswith("No tests were found!!!") for line in lines):
        return None
    failed, listed = dict[str, None](), False
    for line in lines:
        if line.startswith("The following tests FAILED:"):
            listed = True
        elif listed and (match := _CTEST_TEST.fullmatch(line)):
            failed[match[1]] = None
    return Outcomes("ctest", tuple(failed), sum(counts))


def _leaves(names: Sequence[str]) -> list[str]:
    """Without the tests whose parts are there."""
    above = {name[:at] for name in names for at, sign in enumerate(name) if sign == "/"}
    return [name for name in dict.fromkeys(names) if name not in above]
