"""Holds back a part of a package's tests: which, and how they are taken out of the files."""

from __future__ import annotations

import ast
import random
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path, PurePosixPath

_SETTINGS = frozenset(
    ("conftest.py", "pytest.ini", ".pytest.ini", "tox.ini", "setup.cfg", "pyproject.toml", "sitecustomize.py")
)
"""Files that say how tests are run."""

_Defined = (ast.FunctionDef, ast.AsyncFunctionDef)


def function_of(test: str) -> str:
    """A test's name without its parameters."""
    return test.partition("[")[0]


def is_test_file(path: PurePosixPath) -> bool:
    """Whether a file belongs to the tests, or says how they are run."""
    name = path.name
    tests = not {"test", "tests"}.isdisjoint(path.parts[:-1])
    return tests or name in _SETTINGS or name.startswith("test_") or name.endswith("_test.py")


def chosen(tests: Iterable[str], faults: Sequence[Collection[str]], share: float, seed: int) -> frozenset[str]:
    """The test functions to hold back: about this share of all, by the seed. Of the tests that a fault turns red
    (`faults`) one function at least is left, and one held back where there are two or more."""
    functions = sorted({function_of(test) for test in tests if "::" in test})
    red = [sorted({function_of(test) for test in fault}) for fault in faults]
    random.Random(f"{seed} hidden").shuffle(functions)
    hidden = set(functions[: round(share * len(functions))])
    for own in red:
        if hidden.issuperset(own):
            hidden.discard(own[0])
    for own in red:
        if len(own) > 1 and hidden.isdisjoint(own):
            free = [name for name in own if all(set(other) - hidden - {name} for other in red if name in other)]
            hidden.update(free[-1:])
    return frozenset(hidden)


def take_out(root: Path, functions: Iterable[str]) -> frozenset[str]:
    """Take test functions, named as pytest does, out of the files of a tree; blocks. Those that were found: functions
    and methods of classes, no others."""
    by_file: defaultdict[str, set[str]] = defaultdict(set)
    for function in functions:
        file, _, name = function.partition("::")
        by_file[file].add(name)
    found: set[str] = set()
    for file, names in by_file.items():
        path = root / file
        if path.suffix != ".py" or not path.is_file():
            continue
        source = path.read_bytes().decode("utf-8")
        text, gone = without(source, names)
        path.write_bytes(text.encode("utf-8"))
        found |= {f"{file}::{name}" for name in gone}
    return frozenset(found)


def without(source: str, names: Collection[str]) -> tuple[str, frozenset[str]]:
    """A file's text without some functions (`name`, `Class::name`), and those that were in it. A class that would be
    left empty gets a `pass`."""
    lines = source.split("\n")
    gone: set[str] = set()
    spans: list[tuple[int, int, str]] = []
    for body, prefix in _bodies(ast.parse(source), ""):
        own = [node for node in body if isinstance(node, _Defined) and f"{prefix}{node.name}" in names]
        for number, node in enumerate(own):
            start = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            end = node.end_lineno or node.lineno
            if ";" in lines[start - 1].partition("def ")[0]:
                continue
            filler = " " * node.col_offset + "pass" if prefix and len(own) == len(body) and not number else ""
            spans.append((start, end, filler))
            gone.add(f"{prefix}{node.name}")
    for start, end, filler in sorted(spans, reverse=True):
        lines[start - 1 : end] = [filler] if filler else []
    return "\n".join(lines), frozenset(gone)


def _bodies(node: ast.Module | ast.ClassDef, prefix: str) -> Iterable[tuple[list[ast.stmt], str]]:
    yield node.body, prefix
    for child in node.body:
        if isinstance(child, ast.ClassDef):
            yield from _bodies(child, f"{prefix}{child.name}::")
