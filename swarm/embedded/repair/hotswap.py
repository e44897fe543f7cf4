"""New code for functions that are already loaded: a mutant without importing anything again.

Runs inside the sandbox (Python 3.8 or newer, standard library only).
"""

from __future__ import annotations
import __future__

import ast
import gc
import os
import types
from dataclasses import dataclass, field


@dataclass
class _Statement:
    first: int
    last: int
    code: types.CodeType | None = field(default=None)


class HotFile:
    """One source file of the program under test, as it is loaded in this process."""

    def __init__(self, path: str, source: str) -> None:
        self.path = path
        self.lines = source.splitlines(keepends=True)
        self.source = source
        flags = compile(source, path, "exec", dont_inherit=True).co_flags
        features = [getattr(__future__, name) for name in __future__.all_feature_names]
        self.flags = sum(f.compiler_flag for f in features if flags & f.compiler_flag)
        self.statements = [
            _Statement(min([s.lineno, *(d.lineno for d in getattr(s, "decorator_list", ()))]), s.end_lineno or s.lineno)
            for s in ast.parse(source).body
        ]
        self.live: dict[types.CodeType, list[types.FunctionType]] = {}
        real = os.path.realpath(path)
        known: dict[str, bool] = {}
        for o in gc.get_objects():
            if type(o) is types.FunctionType:
                name = o.__code__.co_filename
                if name not in known:
                    known[name] = os.path.realpath(name) == real
                if known[name]:
                    self.live.setdefault(o.__code__, []).append(o)

    def changes(self, mutant: str, line: int) -> list[tuple[types.FunctionType, types.CodeType]] | None:
        """What to set so that the loaded functions run `mutant`, which differs in the statement at `line`.

        Empty: the same code. None: it cannot be done here, import the mutant instead.

        Raises:
            SyntaxError, ValueError: the mutant is no valid Python.
        """
        for s in self.statements:
            if s.first <= line <= s.last:
                break
        else:
            return None
        if s.code is None:
            s.code = self._compile(self.lines, s.first, s.last)
        lines = mutant.splitlines(keepends=True)
        new = self._compile(lines, s.first, s.last + len(lines) - len(self.lines))
        if new == s.code:
            return []
        found: list[tuple[types.FunctionType, types.CodeType]] = []
        return found if self._pair(s.code, new, found) and found else None

    def _compile(self, lines: list[str], first: int, last: int) -> types.CodeType:
        text = "\n" * (first - 1) + "".join(lines[first - 1 : last])
        code: types.CodeType = compile(text, self.path, "exec", flags=self.flags, dont_inherit=True)
        return code

    def _pair(
        self, old: types.CodeType, new: types.CodeType, found: list[tuple[types.FunctionType, types.CodeType]]
    ) -> bool:
        functions = self.live.get(old, [])
        if functions and len(old.co_freevars) != len(new.co_freevars):
            return False
        found.extend((f, new) for f in functions)
        before = [c for c in old.co_consts if isinstance(c, types.CodeType)]
        after = [c for c in new.co_consts if isinstance(c, types.CodeType)]
        if len(before) != len(after):
            return not any(c in self.live for c in before)
        return all(a == b or self._pair(a, b, found) for a, b in ((before[i], after[i]) for i in range(len(before))))
