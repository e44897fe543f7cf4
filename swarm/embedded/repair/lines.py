"""Which lines of the program a test runs, and how suspicious that makes them.

Runs inside the sandbox (Python 3.8 or newer, standard library only).
"""

from __future__ import annotations

import ast
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from math import sqrt
from typing import Any

_NOT_OURS = {"site-packages", "dist-packages", "node_modules", "__pycache__", "build", "dist"}
_TESTS = {"test", "tests"}


def is_test(path: str) -> bool:
    """By the usual names: test_x.py, x_test.py, conftest.py, anything under a folder test or tests."""
    *folders, name = path.split("/")
    return name.startswith("test_") or name.endswith("_test.py") or name == "conftest.py" or bool(_TESTS & {*folders})


class Ours:
    """Whether a path is source of the program under test: below `root`, no test, no installed package."""

    def __init__(self, root: str) -> None:
        self.root = os.path.realpath(root)
        self._known: dict[str, bool] = {}

    def __call__(self, path: str) -> bool:
        if path not in self._known:
            inside = os.path.relpath(os.path.realpath(path), self.root)
            folders = inside.split("/")[:-1]
            self._known[path] = (
                path.endswith(".py")
                and not is_test(inside)
                and not _NOT_OURS & {*folders}
                and not any(f.startswith(".") for f in folders)
            )
        return self._known[path]


class Tracer:
    """Collects the lines that run between `start` and `take`."""

    def __init__(self, ours: Ours) -> None:
        self._ours = ours
        self._hits: dict[str, set[int]] = {}

    def start(self) -> None:
        self._hits = {}
        if sys.version_info >= (3, 12):
            m = sys.monitoring
            if m.get_tool(3) is None:
                m.use_tool_id(3, "repair")
            m.register_callback(3, m.events.LINE, self._on_line)  # always: a fork inherits another's callback
            m.set_events(3, m.events.LINE)
            m.restart_events()
        else:
            threading.settrace(self._on_call)
            sys.settrace(self._on_call)

    def take(self) -> dict[str, list[int]]:
        """Stop, and give what was seen by real path."""
        if sys.version_info >= (3, 12):
            sys.monitoring.set_events(3, 0)
        else:
            sys.settrace(None)
        found: dict[str, set[int]] = {}
        for path, lines in self._hits.items():
            found.setdefault(os.path.realpath(path), set()).update(lines)
        return {path: sorted(lines) for path, lines in found.items()}

    def _on_line(self, code: Any, line: int) -> Any:
        if self._ours(code.co_filename):
            self._hits.setdefault(code.co_filename, set()).add(line)
        if sys.version_info >= (3, 12):
            return sys.monitoring.DISABLE  # once a test is enough
        return None

    def _on_call(self, frame: Any, event: str, arg: Any) -> Any:
        if not self._ours(frame.f_code.co_filename):
            return None
        add = self._hits.setdefault(frame.f_code.co_filename, set()).add

        def local(frame: Any, event: str, arg: Any) -> Any:
            if event == "line":
                add(frame.f_lineno)
            return local

        return local


def suspicion(
    failing: Iterable[str],
    extra: Iterable[str],
    cover: Mapping[str, Mapping[str, list[int]]],
    frames: Mapping[str, list[tuple[str, int]]],
) -> dict[str, dict[int, float]]:
    """Score by path and line, of lines that `failing` tests run: Ochiai over the traced tests, and where they broke.

    `cover` and `frames` are by test; `extra` fail too, all others passed.
    """
    mine = set(failing)
    bad = mine | set(extra)
    ran: dict[str, Counter[tuple[str, int]]] = {"mine": Counter(), "bad": Counter(), "good": Counter()}
    for test, files in cover.items():
        counts = [ran["bad" if test in bad else "good"]] + ([ran["mine"]] if test in mine else [])
        for path, lines in files.items():
            for count in counts:
                count.update((path, line) for line in lines)
    score: dict[str, dict[int, float]] = {}
    for path, line in ran["mine"]:
        n, good = ran["bad"][path, line], ran["good"][path, line]
        ochiai = n / sqrt(max(1, len(bad)) * (n + good))
        score.setdefault(path, {})[line] = max(ochiai, 0.45 / sqrt(1 + good))
    for test in mine:
        for depth, (path, line) in enumerate(reversed(frames.get(test, []))):
            of = score.setdefault(os.path.realpath(path), {})
            of[line] = max(of.get(line, 0.0), 0.3) + (0.3 if depth == 0 else 0.1) / len(mine)
    return score


def spread(source: str, score: dict[int, float], runs_at_import: Callable[[int], bool]) -> None:
    """Let suspicion reach the module's and classes' own assignments whose names suspicious lines use."""
    tree = ast.parse(source)
    uses: dict[str, float] = {}
    for n in ast.walk(tree):
        if isinstance(n, (ast.Name, ast.Attribute)) and isinstance(n.ctx, ast.Load):
            name = n.id if isinstance(n, ast.Name) else n.attr
            uses[name] = max(uses.get(name, 0.0), score.get(n.lineno, 0.0))
    for holder in ast.walk(tree):
        if isinstance(holder, (ast.Module, ast.ClassDef)):
            for s in holder.body:
                if isinstance(s, (ast.Assign, ast.AnnAssign)) and runs_at_import(s.lineno):
                    names = [n for n in ast.walk(s) if isinstance(n, (ast.Name, ast.Attribute))]
                    level = max((uses.get(getattr(n, "id", getattr(n, "attr", "")), 0.0)
                                 for n in names if isinstance(n.ctx, ast.Store)), default=0.0)  # fmt: skip
                    for line in range(s.lineno, (s.end_lineno or s.lineno) + 1):
                        score[line] = max(score.get(line, 0.0), 0.5 * level)
