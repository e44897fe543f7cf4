"""Faults are planted as promised: seeded, one line each, noticed by the package's own tests, and never for ever."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.errors import UsageError
from swarm.evals.fault_kinds import KINDS, candidates, means_another
from swarm.evals.faults import FaultConfig, plant
from swarm.evals.repair.rollouts import repair_tasks

pytestmark = pytest.mark.anyio

SHAPES = '''
def area(width, height, unit=1):
    """Not a place for a fault: 3 < 4."""
    if width < 0 or height < 0:
        raise ValueError("negative")
    return width * height * unit

def largest(shapes):
    best = None
    for shape in shapes:
        if best is None or area(*shape) > area(*best):
            best = shape
    return best
'''
QUEUES = """
class Queue:
    def __init__(self, items=()):
        self.items = list(items)
        self.taken = 0

    def take(self):
        if not self.items:
            return None
        self.taken += 1
        return self.items.pop(0)

    def drain(self):
        out = []
        while self.items:
            out.append(self.take())
        return out

    def never(self):
        return len(self.items) + 1
"""
TESTS = """
from pkg.queues import Queue
from pkg.shapes import area, largest

def test_area():
    assert area(2, 3) == 6

def test_largest():
    assert largest([(1, 2), (3, 3), (2, 2)]) == (3, 3)
    assert largest([]) is None

def test_take():
    queue = Queue("ab")
    assert (queue.take(), queue.taken, queue.take(), queue.take()) == ("a", 1, "b", None)

def test_drain():
    assert Queue([1, 2, 3]).drain() == [1, 2, 3]

def test_temp(tmp_path):
    import pathlib  # what others left in the machine's own folder must not matter
    assert pathlib.Path.home() in tmp_path.parents
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    for name, text in {
        "pkg/__init__.py": "",
        "pkg/shapes.py": SHAPES,
        "pkg/queues.py": QUEUES,
        "tests/test_all.py": TESTS,
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


CONFIG = FaultConfig("pkg", count=4, seed=3, share=1.0, try_timeout=1.0, workers=1)


def failing(root: Path) -> set[str]:
    temp = root.parent / "temp"
    command = [sys.executable, "-m", "pytest", "-q", "-rf", "--tb=no", "-p", "no:cacheprovider", f"--basetemp={temp}"]
    env = {"PATH": os.environ["PATH"], "HOME": str(root.parent), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, timeout=300)
    return {line.split(" ")[1] for line in done.stdout.splitlines() if line.startswith("FAILED ")}


async def test_the_seed_decides_and_each_fault_is_one_line_that_the_tests_notice(package: Path, tmp_path: Path) -> None:
    sound, again, other = (tmp_path / name for name in ("sound", "again", "other"))
    for copy in (sound, again, other):
        shutil.copytree(package, copy)

    planted = await plant(package, CONFIG)
    assert planted == await plant(again, replace(CONFIG, workers=2))
    assert planted.faults[:2] != (await plant(other, replace(CONFIG, seed=4, count=2))).faults

    assert len(planted.faults) == 4
    assert planted.tests == 5
    assert len({(fault.file, fault.function) for fault in planted.faults}) == 4
    assert len({fault.file for fault in planted.faults}) == 2
    assert failing(package) == set(planted.failing)
    for path in sorted(sound.rglob("*.py")):
        name = path.relative_to(sound).as_posix()
        lines = path.read_text(encoding="utf-8").split("\n")
        for fault in planted.faults:
            if fault.file == name:
                assert lines[fault.line - 1] == fault.old
                lines[fault.line - 1] = fault.new
        assert (package / name).read_text(encoding="utf-8").split("\n") == lines, "only the faults were written"
    for fault in planted.faults:
        alone = tmp_path / f"alone-{fault.line}-{Path(fault.file).stem}"
        shutil.copytree(sound, alone, ignore=shutil.ignore_patterns("__pycache__"))
        text = (alone / fault.file).read_text(encoding="utf-8").split("\n")
        text[fault.line - 1] = fault.new
        (alone / fault.file).write_text("\n".join(text), encoding="utf-8")
        assert failing(alone) == set(fault.failing), fault


async def test_what_cannot_be_planted_is_said(package: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        await plant(package, replace(CONFIG, package="missing"))
    with pytest.raises(UsageError, match="ask for fewer"):
        await plant(package, replace(CONFIG, count=50))
    (package / "tests/test_all.py").write_text("def test_red():\n    assert 0\n", encoding="utf-8")
    with pytest.raises(UsageError, match="do not pass as they are: tests/test_all"):
        await plant(package, CONFIG)
    assert (package / "pkg/shapes.py").read_text(encoding="utf-8") == SHAPES


async def test_a_suite_that_never_ends_is_refused(package: Path) -> None:
    (package / "tests/test_all.py").write_text("def test_stuck():\n    while True: pass\n", encoding="utf-8")
    with pytest.raises(UsageError, match="run out of time"):
        await plant(package, replace(CONFIG, suite_timeout=1.0))


def test_candidates_change_one_line_of_a_function() -> None:
    for source in (SHAPES, QUEUES):
        lines = source.split("\n")
        found = [c for c in candidates(source) if means_another(source, c)]
        assert found
        for candidate in found:
            assert lines[candidate.line - 1] == candidate.old != candidate.new
            assert candidate.kind in KINDS
            assert "Not a place for a fault" not in candidate.old
            compile(candidate.applied(source), "candidate", "exec")


@given(st.sampled_from(["<", "<=", "==", "is not", "not in", "and", "+", "//"]), st.text("äß字 ", max_size=3))
def test_operators_are_found_behind_any_text(operator: str, text: str) -> None:
    source = f"def f(a, b):\n    return '{text}', (a) {operator} (b)  # a < b and b\n"
    kinds = {"wrong comparison", "and/or swapped", "wrong operator"}
    [candidate] = [c for c in candidates(source) if c.kind in kinds]
    before, after = (ast.dump(ast.parse(s)) for s in (source, candidate.applied(source)))
    assert before != after
    assert candidate.new.endswith("# a < b and b")
    assert text in candidate.new


async def test_tasks_of_repair_for_rollouts(package: Path, tmp_path: Path) -> None:
    (task,) = await repair_tasks(package, CONFIG, tmp_path / "made", [1])
    assert task.repo is not None
    assert (task.id, task.kind, len(task.answer), task.about["tests"]) == ("repair-pkg-s3-1", "repair", 1, 5)
    assert set(task.about["failing"]) == set(task.answer[0]["failing"])
    assert (Path(task.repo) / task.answer[0]["file"]).read_text().count(task.answer[0]["new"]) == 1
    assert task.answer[0]["old"].strip() not in task.prompt
    assert (Path(task.repo) / ".git").is_dir()
    with pytest.raises(UsageError, match="there already"):
        await repair_tasks(package, CONFIG, tmp_path / "made", [1])
