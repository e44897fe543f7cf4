"""Reading pytest's output: real runs in every traceback style, and node ids that try to confuse."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.gating.pytest_output import parse

SOURCE = """
def inner(x):
    return 1 // x

def outer(x):
    return inner(x)
"""
TESTS = """
import pytest
from pkg.core import outer

class TestIt:
    @pytest.mark.parametrize("x", [0], ids=["a - b] [c::d"])
    def test_zero(self, x):
        outer(x)

def test_wrong():
    assert outer(1) == 2, "one - two"

@pytest.fixture
def broken():
    outer(0)

def test_fixture(broken):
    pass
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("package")
    for name, text in (("pkg/core.py", SOURCE), ("pkg/__init__.py", ""), ("tests/test_core.py", TESTS)):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    (root / "tests/test_import.py").write_text("import pkg.missing\n")
    return root


def run(package: Path, *options: str) -> str:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--continue-on-collection-errors", *options]
    env = {"PATH": os.environ["PATH"], "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(command, cwd=package, env=env, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    "options",
    [("--tb=short",), ("--tb=long", "-q"), ("--tb=auto", "-v"), ("--tb=native",), ("--tb=short", "--color=yes")],
)
def test_every_style_leads_to_the_fault(package: Path, options: tuple[str, ...]) -> None:
    found = {f.nodeid: f for f in parse(run(package, *options))}
    zero = "tests/test_core.py::TestIt::test_zero[a - b] [c::d]"
    assert set(found) == {
        zero,
        "tests/test_core.py::test_wrong",
        "tests/test_core.py::test_fixture",
        "tests/test_import.py",
    }
    for name in (zero, "tests/test_core.py::test_fixture"):
        last = found[name].frames[-1]
        assert last.path.endswith("pkg/core.py") and last.line == 3 and last.function == "inner"
    assert found[zero].message.startswith("ZeroDivision")  # cut to the width of a terminal
    assert found["tests/test_core.py::test_wrong"].frames[-1].path.endswith("tests/test_core.py")
    assert found["tests/test_import.py"].error


def test_one_line_style_gives_the_place(package: Path) -> None:
    found = {f.function: f for f in parse(run(package, "--tb=line"))}
    last = found["tests/test_core.py::TestIt::test_zero"].frames[-1]
    assert last.path.endswith("pkg/core.py") and last.line == 3


def test_other_output_has_no_failures() -> None:
    assert parse("make: *** [all] Error 1\nERROR    root:app.py:3 a log line\nFAILED to open x.py\n") == []


@given(st.text())
def test_any_text_can_be_read(text: str) -> None:
    parse(text)
    for failure in parse(f"FAILED tests/test_a.py::test_b[{text}] - x"):
        assert failure.nodeid.startswith("tests/test_a.py::test_b[")
