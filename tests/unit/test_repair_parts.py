"""Candidate edits, hot code, the test command taken apart."""

from __future__ import annotations

import ast
import sys
import types
from pathlib import Path

import pytest

from swarm.embedded.repair import command, hotswap, mutations
from swarm.embedded.repair.lines import Ours, Tracer
from swarm.embedded.repair.mutations import Mutator


@pytest.mark.parametrize(
    ("faulty", "right"),
    [
        ("if a <= b:\n        a", "if a < b:\n        a"),
        ("x = a and b", "x = a or b"),
        ("x = not a", "x = a"),
        ("x = s[n:]", "x = s[:n]"),
        ("x = s[n - 1]", "x = s[n]"),
        ("for i in range(n):\n        a", "for i in range(n + 1):\n        a"),
        ("x = f(b, a)", "x = f(a, b)"),
        ("x = s.lstrip()", "x = s.rstrip()"),
        ("x += a", "x -= a"),
        ("x = 1 if a else 2", "x = 2 if a else 1"),
        ("for i in a:\n        break", "for i in a:\n        continue"),
        ("f(a)", "return f(a)"),
        ("if a:\n        a", "if not (a):\n        a"),
        ("return b", "return a"),
        ("x = f'{a}é' + (b)", "x = f'{a}é' - (b)"),
    ],
)
def test_typical_slips_are_found(faulty: str, right: str) -> None:
    def around(text: str) -> str:
        return f"def g(a, b, s, n, x):\n    é = 'ä'; {text}\n" if "\n" not in text else f"def g(a, n):\n    {text}\n"

    source = around(faulty)
    assert around(right) in {e.apply(source) for e in Mutator(source, lambda a, b: 1.0).edits()}


def test_all_edits_of_a_real_file_are_exact() -> None:
    source = Path(mutations.__file__).read_text(encoding="utf-8")
    edits = Mutator(source, lambda a, b: 1.0).edits()
    valid = 0
    for edit in edits[:: max(1, len(edits) // 300)]:
        text = edit.apply(source)
        assert text != source
        try:
            ast.parse(text)
        except SyntaxError:
            continue
        valid += 1
    assert valid > 250


def test_loaded_functions_get_the_code_of_a_mutant(tmp_path: Path) -> None:
    source = "class A:\n    def f(self):\n        return (lambda: 1)()\n\n    g = staticmethod(lambda: 2)\n"
    path = tmp_path / "hot.py"
    module = types.ModuleType("hot")
    exec(compile(source, str(path), "exec", dont_inherit=True), module.__dict__)
    file = hotswap.HotFile(str(path), source)
    changes = file.changes(source.replace("1", "5"), 3)
    assert changes
    for function, code in changes:
        function.__code__ = code
    assert module.A().f() == 5
    assert file.changes(source + " ", 3) == []
    assert file.changes("x = 1\n" + source, 99) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("python -m pytest -q tests", command.TestCommand("", "python", ())),
        ("cd sub && PYTHONPATH=src python3.11 -m pytest -x -p no:cov -k 'a b'",
         command.TestCommand("cd sub && PYTHONPATH=src ", "python3.11", ("-p", "no:cov"))),
        ("/opt/v/bin/pytest --import-mode=importlib -n 4 2>&1 | tail",
         command.TestCommand("", "/opt/v/bin/python", ("--import-mode=importlib",))),
        ("A='x y' pytest", command.TestCommand("A='x y' ", "", ())),
        ("make test", command.TestCommand()),
        ("pytest 'unclosed", command.TestCommand()),
    ],
)  # fmt: skip
def test_the_test_command_is_taken_apart(text: str, expected: command.TestCommand) -> None:
    assert command.parse(text) == expected


def test_each_tracer_of_a_process_sees_its_own_lines(tmp_path: Path) -> None:
    """From Python 3.12 on all tracers share one tool of `sys.monitoring`, which holds one callback."""
    path = tmp_path / "m.py"
    code = compile("def f():\n    return 1\n", str(path), "exec")
    for _ in range(2):
        tracer, names = Tracer(Ours(str(tmp_path))), dict[str, types.FunctionType]()
        tracer.start()
        exec(code, names)
        names["f"]()
        assert tracer.take() == {str(path.resolve()): [1, 2]}


def test_the_program_needs_nothing_of_swarm() -> None:
    from swarm.embedded.repair.worker import PROGRAM

    folder = Path(mutations.__file__).parent
    for name in PROGRAM:
        for node in ast.walk(ast.parse((folder / f"{name}.py").read_text(encoding="utf-8"), feature_version=(3, 8))):
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                assert (
                    node.module in ("__future__", "pytest")
                    or (node.module or "").split(".")[0] in sys.stdlib_module_names
                )
