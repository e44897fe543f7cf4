"""Tests are held back as promised, and nobody passes by changing tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.errors import UsageError
from swarm.evals.faults import Fault
from swarm.evals.repair.damage import Damaged
from swarm.evals.repair.hiding import chosen, function_of, take_out, without
from swarm.evals.repair.origins import local, pinned
from swarm.evals.repair.retest import Retested, applied
from swarm.evals.repair.suite import judged, restore_tests

SOURCE = """import pytest

@pytest.mark.parametrize(
    "n", [1, 2]
)
def test_one(n):
    assert n

class TestQueue:
    def test_take(self):
        assert True

class TestBoth:
    async def test_a(self):
        pass
    x = 1
    def test_b(self):
        pass

def helper(): return 1
def test_last(): assert helper()
"""


def test_a_function_goes_with_all_that_belongs_to_it_and_nothing_else() -> None:
    text, gone = without(SOURCE, {"test_one", "TestQueue::test_take", "TestBoth::test_a", "helper::no", "test_last"})
    assert gone == {"test_one", "TestQueue::test_take", "TestBoth::test_a", "test_last"}
    assert text == (
        "import pytest\n\n\nclass TestQueue:\n    pass\n\nclass TestBoth:\n    x = 1\n    def test_b(self):\n"
        "        pass\n\ndef helper(): return 1\n"
    )
    compile(text, "x", "exec")


TESTS = [f"tests/test_{name}.py::test_{n}" for name in "ab" for n in range(12)]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(TESTS), min_size=1, max_size=5, unique=True), max_size=6),
    st.floats(0, 0.9),
    st.integers(0, 99),
)
def test_of_each_fault_something_is_left_to_be_seen(faults: list[list[str]], share: float, seed: int) -> None:
    parametrized = [f"{test}[{n}]" for test in TESTS for n in (1, 2)]
    hidden = chosen(parametrized, faults, share, seed)
    assert hidden == chosen(reversed(parametrized), faults, share, seed)
    assert hidden <= {function_of(test) for test in parametrized}
    assert all(set(fault) - hidden for fault in faults)
    if len(faults) == 1 and len(faults[0]) > 1:
        assert hidden.intersection(faults[0])


def laid_out(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


FILES = {"pkg/__init__.py": "", "pkg/area.py": "def area(a, b):\n    return a + b\n"}
FILES |= {"tests/test_area.py": "def test_a():\n    pass\n\ndef test_b():\n    pass\n", "pyproject.toml": "[x]\n"}


def test_who_changes_tests_does_not_pass_by_it(tmp_path: Path) -> None:
    whole = laid_out(tmp_path / "whole", FILES)
    final = laid_out(tmp_path / "final", FILES | {"conftest.py": "x", "tests/conftest.py": "x", "new.py": "y"})
    outside = laid_out(tmp_path / "outside", {"test_area.py": "theirs"})
    (final / "tests/test_area.py").unlink()
    (final / "tests/conftest.py").unlink()
    (final / "tests").rmdir()
    (final / "tests").symlink_to(outside)
    (final / "pyproject.toml").write_text("[tool.pytest.ini_options]\naddopts = '-k nothing'\n", encoding="utf-8")
    (final / "pkg/area.py").write_text("def area(a, b):\n    return a * b\n", encoding="utf-8")
    restore_tests(whole, final)
    assert (outside / "test_area.py").read_text(encoding="utf-8") == "theirs"
    files = {path.relative_to(final).as_posix(): path.read_text("utf-8") for path in final.rglob("*") if path.is_file()}
    assert files == FILES | {"new.py": "y", "pkg/area.py": "def area(a, b):\n    return a * b\n"}


def test_the_verdict_is_about_all_tests_and_the_score_about_faults(tmp_path: Path) -> None:
    a, b, c = (f"tests/test_area.py::test_{name}" for name in "abc")
    faults = (
        Fault("pkg/area.py", 2, "area", "", "    return a * b", "    return a + b", (a, b)),
        Fault("pkg/area.py", 1, "area", "", "def area(a, b=1):", "def area(a, b):", (c,)),
    )
    laid_out(tmp_path / "whole", FILES)
    damaged = Damaged(tmp_path, faults, frozenset((a, b, c)), frozenset((b,)))
    final = laid_out(tmp_path / "final", FILES)

    def verdict(*passed: str, ended: bool = True) -> tuple[bool | None, float, str]:
        told = judged(damaged, final, Retested(frozenset(passed), ended=ended))
        return told.resolved, told.score, told.details.get("kind", "")

    assert verdict(a, b, c) == (True, 1.0, "")
    assert verdict(a, c) == (False, 0.5, "hidden tests fail")
    assert verdict(b) == (False, 0.0, "tests fail")
    assert verdict(ended=False) == (False, 0.0, "tests come to no end")


def test_a_patch_applies_or_is_said_not_to(tmp_path: Path) -> None:
    tree = laid_out(tmp_path / "tree", FILES)
    head = "--- a/pkg/area.py\n+++ b/pkg/area.py\n@@ -1,2 +1,2 @@\n def area(a, b):\n"
    good = f"{head}-    return a + b\n+    return a * b\n"
    for number, (text, fits) in enumerate(((good, True), (good.replace("a + b", "a % b"), False), ("", True))):
        patch = tmp_path / f"{number}.diff"
        patch.write_text(text, encoding="utf-8")
        final = tmp_path / f"final-{number}"
        assert applied(tree, patch, final) is fits
        assert ("a * b" in (final / "pkg/area.py").read_text(encoding="utf-8")) is (fits and bool(text))


def test_tests_are_taken_out_of_files_that_are_there(tmp_path: Path) -> None:
    tree = laid_out(tmp_path, FILES)
    names = ["tests/test_area.py::test_a", "tests/test_area.py::test_z", "docs/x.rst::x.rst", "gone.py::test_y"]
    assert take_out(tree, names) == {"tests/test_area.py::test_a"}
    assert "test_a" not in (tree / "tests/test_area.py").read_text(encoding="utf-8")


def test_a_package_of_ones_own_is_found_or_said_not_to_be(tmp_path: Path) -> None:
    root = laid_out(tmp_path / "mine", FILES)
    origin = local(root)
    assert (origin.name, origin.sources) == ("mine", "pkg")
    laid_out(root, {"pkg/__pycache__/area.pyc": "x", "tests/__init__.py": ""})
    assert local(root).sources == "pkg"
    assert local(root).digest != origin.digest  # of tests/__init__.py
    laid_out(root, {"other/__init__.py": ""})
    with pytest.raises(UsageError, match="2 folders of sources"):
        local(root)
    assert local(root, "other").sources == "other"
    with pytest.raises(UsageError, match="not among the pinned"):
        pinned("numpy")
