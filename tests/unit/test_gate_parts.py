"""The gate's pure parts: judging beside the base, choosing tests, finding a culprit."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.events import GateFinished
from swarm.gating.affected import reach
from swarm.gating.bisect import Turns
from swarm.gating.imports import imports
from swarm.gating.judging import MOST_AGAIN, Seen, by_luck, doubtful, judged, settled, whole
from swarm.gating.outcomes import Outcomes
from swarm.gating.pytest_rules import Rules, rules
from swarm.gating.reading import read
from swarm.gating.runs import Ran
from swarm.gating.selection import parse
from swarm.journal.gate_record import record, report_of
from swarm.journal.gate_words import words
from swarm.stages import GateReport

pytestmark = pytest.mark.anyio


def seen(code: int, *failed: str, complete: bool = True, runner: str = "pytest", **ran: bool) -> Seen:
    return Seen("t", Ran(code, "out", ran.get("timed_out", False), 1.0), Outcomes(runner, failed, 9, complete))


GREEN = judged(seen(0), None)
RED = judged(seen(1, "t.py::a", "t.py::b"), None)
MUTE = judged(seen(1, runner=""), None)
UNCOLLECTED = judged(replace(seen(2, "t.py", complete=False), outcomes=Outcomes("pytest", ("t.py",), 0, False)), None)


ONE, FIXED = "1 test is newly red: ", "1 test is green that was red before"
BEFORE, UNKNOWN = "1 test was red before", "1 test is red of which nothing is known before"
NONE_BROKE = "nothing that was green broke"


@pytest.mark.parametrize(
    ("now", "base", "worse", "said"),
    [
        (seen(1, "t.py::a"), GREEN, True, f"{ONE}t.py::a"),
        (seen(1, "t.py::a"), RED, False, f"{BEFORE}; {NONE_BROKE}; {FIXED}"),
        (seen(1, "t.py::a", "t.py::c"), RED, True, f"{ONE}t.py::c; {BEFORE}; {FIXED}"),
        (seen(1, "t.py::a"), MUTE, False, UNKNOWN),
        (seen(1, runner=""), MUTE, False,
         "it failed before, too, and its output names no tests: whether anything broke cannot be told"),
        (seen(1, runner=""), GREEN, True, ""),
        (seen(1, runner=""), RED, True, ""),
        (seen(1, "t.py::a"), UNCOLLECTED, False, f"{BEFORE}; {NONE_BROKE}"),
        (seen(1, "u.py::a"), UNCOLLECTED, False, f"{UNKNOWN}; 1 test is green that was red before"),
        (seen(2, "t.py", complete=False), RED, True, f"{ONE}t.py"),
        (seen(124, timed_out=True), RED, True, ""),
        (seen(0), RED, False, "2 tests are green that were red before"),
        (replace(seen(0), outcomes=Outcomes("pytest", (), 7)), GREEN, False, "2 tests fewer than on the base"),
        (seen(137), GREEN, True, "it was killed with signal 9, as the sandbox does at its limit of memory"),
        (seen(1, "t.py::a"), None, True, "1 test is red: t.py::a"),
    ],
)  # fmt: skip
def test_only_what_is_new_is_blamed(now: Seen, base: GateReport | None, worse: bool, said: str) -> None:
    report = judged(now, base)
    assert (report.worse, words(report)) == (worse, said)
    event = record(report, "c", 1, "verdict")
    assert report_of(GateFinished.model_validate_json(event.model_dump_json())) == report
    assert words(event) == said


def test_a_limit_is_named() -> None:
    late = judged(Seen("t", Ran(124, "", True, 9.0, limit=2.0), Outcomes()), GREEN)
    assert words(late) == "it did not end within 2 s, its limit"
    known = judged(seen(1, "t.py::a"), GREEN, {"t.py::a"})
    assert words(known) == "1 test is red that was flaky before: t.py::a"


def test_who_kills_a_command_is_told_also_by_make() -> None:
    for output, killed in (("Killed\nmake: *** [Makefile:2: all] Error 137\n", True), ("Skilled\nError 13\n", False)):
        found = judged(Seen("t", Ran(2, output, False, 1.0), Outcomes()), GREEN)
        assert ("signal 9" in found.reason) == killed


@pytest.mark.parametrize(
    ("command", "before", "now"),
    [
        ("gradle test", "FooTest > bar() FAILED\n\n5 tests completed, 1 failed\n", "BUILD SUCCESSFUL in 2s\n"),
        ("mvn -q test", "[ERROR] Tests run: 3, Failures: 1, Errors: 0, Skipped: 0\n", ""),
        ("pre-commit run", "pytest...Failed\nFAILED a.py::t - x\n1 failed, 3 passed in 0.1s\n", "pytest...Passed\n"),
        ("pytest >log || cat log", "FAILED a.py::t - x\n1 failed, 3 passed in 0.1s\n", ""),
    ],
)
def test_who_counts_only_what_is_red_is_green_in_silence(command: str, before: str, now: str) -> None:
    base = judged(Seen(command, Ran(1, before, False, 1.0), read(before)), None)
    mended = Seen(command, Ran(0, now, False, 1.0), read(now))
    assert base.tests.ran
    report = judged(mended, base)
    assert (report.passed, report.worse) == (True, False)
    for told in (replace(base, command="python -m pytest -q"), replace(base, exit_code=0)):
        ended = judged(mended, told)
        assert (ended.passed, ended.worse) == (False, True), "these tell it also when all is well"


def test_what_is_run_once_more_is_what_is_in_doubt() -> None:
    assert doubtful(judged(seen(1, "t.py::a", "t.py::c"), RED)) == ("t.py::c",)
    assert doubtful(judged(seen(1, "t.py::a"), RED)) is None
    assert doubtful(judged(seen(1, "t.py::a"), RED), {"t.py::a"}) == ("t.py::a",)
    assert doubtful(judged(seen(1, "t.py::a"), GREEN, {"t.py::a"}), {"t.py::a"}) == ("t.py::a",)
    assert doubtful(judged(seen(1, runner=""), GREEN)) == ()
    assert doubtful(judged(seen(124, timed_out=True), GREEN)) == ()
    assert doubtful(judged(seen(124, timed_out=True), None), base=True) is None
    assert doubtful(RED, base=True) == RED.tests.failed
    assert doubtful(judged(seen(1, *(f"t.py::{n}" for n in range(MOST_AGAIN + 1))), GREEN)) is None


def test_luck_is_told_from_breakage() -> None:
    first = judged(seen(1, "t.py::a", "t.py::b"), GREEN)
    names = first.tests.failed
    lucky = settled(first, seen(0), names, GREEN)
    assert (lucky.passed, lucky.worse, lucky.tests.flaky) == (True, False, names)
    assert words(lucky) == "flaky (red, then green on the same tree): t.py::a, t.py::b"
    half = settled(first, seen(1, "t.py::b"), names, GREEN)
    assert (half.passed, half.worse, half.tests.broken, half.tests.flaky) == (False, True, ("t.py::b",), ("t.py::a",))
    for nothing in (seen(4), seen(5), seen(124, timed_out=True), seen(2, "t.py", complete=False)):
        same = settled(first, nothing, names, GREEN)
        assert (same.passed, same.tests.failed, same.tests.flaky) == (False, names, ())
    below = settled(first, seen(1), names, GREEN)  # all green, and still an exit code: too little is covered, say
    assert (below.passed, below.tests.failed) == (False, ())

    whole = settled(first, seen(0), (), GREEN)
    assert (whole.passed, whole.tests.flaky) == (True, names)
    others = settled(first, seen(1, "t.py::b", "t.py::z"), (), GREEN)
    assert (others.tests.failed, others.tests.flaky) == (("t.py::b",), ("t.py::a", "t.py::z"))
    never_twice = settled(first, seen(1, "t.py::z"), (), GREEN)
    assert (never_twice.passed, never_twice.worse) == (False, False)
    known = judged(seen(1, "t.py::a"), GREEN, {"t.py::a"})
    assert not known.worse
    twice = settled(known, seen(1, "t.py::a"), ("t.py::a",), GREEN, {"t.py::a"})
    assert (twice.worse, twice.tests.broken) == (True, ("t.py::a",)), "red twice on one tree is no luck"
    late = settled(judged(seen(124, timed_out=True), GREEN), seen(0), (), GREEN)
    assert (late.passed, late.worse) == (True, False)


def test_what_is_green_only_by_itself_is_no_luck() -> None:
    first = judged(seen(1, "t.py::a", "t.py::b"), GREEN)
    lucky = settled(first, seen(0), first.tests.failed, GREEN)
    assert whole(lucky, seen(0), GREEN).tests == lucky.tests
    one = whole(lucky, seen(1, "t.py::b"), GREEN)
    assert (one.passed, one.worse, one.tests.broken, one.tests.flaky) == (False, True, ("t.py::b",), ("t.py::a",))
    anew = by_luck(one, ("t.py::b",), GREEN)
    assert (anew.passed, anew.worse, anew.tests.flaky) == (True, False, ("t.py::a", "t.py::b"))
    base = judged(seen(1, "t.py::a"), None)
    assert whole(settled(base, seen(0), ("t.py::a",), None), seen(1, "t.py::a"), None).tests.failed == ("t.py::a",)


@pytest.mark.parametrize(
    ("command", "narrowed"),
    [
        ("pytest", "pytest t.py"),
        ("python3 -m pytest -q tests", "python3 -m pytest -q t.py"),
        ("cd sub/dir && A='x y' /v/bin/python -X dev -m pytest -k 'a or b' -n 2 --tb=short tests/unit",
         "cd sub/dir && A='x y' /v/bin/python -X dev -m pytest -k 'a or b' -n 2 --tb=short t.py"),
        ("uv run pytest -x --strict-markers tests", "uv run pytest -x --strict-markers t.py"),
        ("pytest -q | tee log", None),
        ("make test", None),
        ("pytest && flake8", None),
        ("pytest $WHAT", None),
        ("pytest --lf", None),
        ("docker run image pytest", None),
        ("pytest --some-option value", None),
        ("cd .. && pytest", None),
        ("pytest 'unclosed", None),
    ],
)  # fmt: skip
def test_a_command_is_narrowed_only_where_its_form_leaves_no_doubt(command: str, narrowed: str | None) -> None:
    call = parse(command)
    assert (call.only(["t.py"]) if call else None) == narrowed


@given(
    st.text(max_size=40) | st.lists(st.sampled_from(["pytest", "-k", "&&", "cd", "a", "'", "--x", "$("])).map(" ".join)
)
def test_no_command_is_too_odd(command: str) -> None:
    parse(command)
    parse(f"pytest {command}")


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("pyproject.toml", '[tool.pytest.ini_options]\ntestpaths = ["tests"]\npython_files = "check_*.py"\n',
         Rules(("check_*.py",), ("tests",))),
        ("pyproject.toml", "[tool.ruff]\n", None),
        ("pyproject.toml", "no = [toml\n", Rules(doubt="pyproject.toml cannot be read: TOMLDecodeError")),
        ("setup.cfg", "[tool:pytest]\naddopts = -ra\n  --ignore=x\n", Rules(doubt="setup.cfg has --ignore in addopts")),
        ("tox.ini", "[pytest]\ntestpaths =\n  a\n  b\n", Rules(paths=("a", "b"))),
        ("pytest.ini", "", Rules()),
        ("pytest.ini", "[pytest]\na" + " " * 30_000 + "b", Rules(doubt="pytest.ini cannot be read: ValueError")),
        ("pyproject.toml", "a = " + "[" * 5_000, Rules(doubt="pyproject.toml cannot be read: ValueError")),
    ],
)  # fmt: skip
def test_the_projects_rules_are_read(name: str, text: str, expected: Rules | None) -> None:
    assert rules(name, text) == expected


def test_which_files_are_run() -> None:
    names = ["test_a.py", "tests/test_a.py", "tests/helper.py", "build/test_x.py", ".tox/test_x.py", "tests/a_test.py"]
    assert [n for n in names if Rules().runs(n)] == ["test_a.py", "tests/test_a.py", "tests/a_test.py"]
    assert [n for n in names if Rules(paths=("tests",)).runs(n)] == ["tests/test_a.py", "tests/a_test.py"]
    assert [n for n in names if Rules().runs(n, ("tests/helper.py", "./tests/"))] == names[1:3] + names[-1:]


TREE = {
    "src/app/__init__.py": "",
    "src/app/core.py": "import os",
    "src/app/far.py": "",
    "src/app/mid.py": "from .core import (  # why\n    x,\n    y,\n)\n",
    "src/app/top.py": "from . import mid, \\\n    far\n",
    "tests/conftest.py": "import helpers",
    "tests/helpers.py": "",
    "tests/test_core.py": "def test():\n    import app.core as c",
    "tests/test_top.py": "from app.top import z",
    "tests/test_mock.py": "mock.patch('app.core.x')",
    "tests/test_far.py": "from app import far",
    "other/test_other.py": "import json",
}


@pytest.mark.parametrize(
    ("changed", "reached"),
    [
        ("src/app/core.py", "core mock top"),
        ("src/app/far.py", "far top"),
        ("src/app/top.py", "top"),
        ("src/app/__init__.py", "core far mock top"),
        ("tests/helpers.py", "core far mock top"),
        ("tests/conftest.py", "core far mock top"),
        ("tests/test_far.py", "far"),
        ("src/app/removed.py", ""),
        ("json.py", "other"),
    ],
)
def test_a_change_reaches_what_imports_it(changed: str, reached: str) -> None:
    found = reach([changed], {name: imports(text) for name, text in TREE.items()})
    tests = sorted(name.rpartition("/test_")[2].removesuffix(".py") for name in found if "/test_" in name)
    assert " ".join(tests) == reached


@settings(max_examples=60, deadline=None)
@given(
    st.text()
    | st.lists(st.sampled_from(["from ", ".", "a", " import ", "(", ")", ",", "\n", "\\\n", "#"])).map("".join)
)
def test_no_source_is_too_odd(source: str) -> None:
    reach(["a.py"], {"a.py": imports(source), "b/c.py": imports(source)})


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.booleans(), min_size=12, max_size=12), min_size=1, max_size=4), st.integers(1, 4))
def test_for_each_test_a_red_tree_is_found_with_a_green_one_before_it(reds: list[list[bool]], width: int) -> None:
    chains = {f"t{n}": [*own, True] for n, own in enumerate(reds)}
    asked, at_once = list[tuple[int, str]](), [0, 0]

    async def red(at: int, tests: tuple[str, ...]) -> list[str]:
        asked.extend((at, test) for test in tests)
        at_once[0] += 1
        at_once[1] = max(at_once)
        await anyio.lowlevel.checkpoint()
        at_once[0] -= 1
        return [test for test in tests if chains[test][at]]

    turns = Turns(dict.fromkeys(chains, (-1, 12)), width)
    assert anyio.run(turns.search, red)
    for test, (green, first) in turns.spans.items():
        assert first == green + 1
        assert chains[test][first]
        assert green < 0 or not chains[test][green]
        if sorted(chains[test]) == chains[test]:
            assert first == chains[test].index(True)
    assert len(asked) == len(set(asked))
    assert at_once[1] <= width
    if len({*map(tuple, reds)}) == 1 and sorted(reds[0]) == reds[0]:
        rounds = next(n for n in range(99) if (width + 1) ** n >= 13)
        assert len({at for at, _ in asked}) <= rounds * width


async def test_a_search_that_is_stopped_keeps_what_it_knows() -> None:
    turns, asked = Turns({"t": (-1, 8)}), list[int]()

    async def red(at: int, tests: tuple[str, ...]) -> tuple[str, ...]:
        asked.append(at)
        return ()

    assert not await turns.search(red, lambda: bool(asked))
    assert (asked, turns.spans) == ([3], {"t": (3, 8)})
    with pytest.raises(ValueError, match="1 at once"):
        Turns({"t": (0, 0)})
