"""An edit of a source file, and the ground on which edits are made: spans of text, names in use, suspicion.

Runs inside the sandbox too (Python 3.8 or newer, standard library only).
"""

from __future__ import annotations

import ast
import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

DEFS = (ast.FunctionDef, ast.AsyncFunctionDef)
_OPERAND = (ast.Name, ast.Attribute, ast.Call, ast.Subscript, ast.BinOp)


@dataclass(frozen=True)
class Edit:
    """Replace the bytes `start:end` of the UTF-8 source by `text`.

    `line` to `last` is the head of the statement, `around` the outermost function, or the file. `in_body`: only code
    of a function changes.
    """

    start: int
    end: int
    text: str
    line: int
    last: int
    kind: str
    score: float
    in_body: bool
    around: tuple[int, int]

    def apply(self, source: str) -> str:
        data = source.encode()
        return (data[: self.start] + self.text.encode() + data[self.end :]).decode()


def alike(a: str, b: str) -> float:
    return difflib.SequenceMatcher(None, a, b).ratio()


class Ground:
    """One file. `suspicion(first, last)` of lines is 0 for code that no failing test runs."""

    def __init__(self, source: str, suspicion: Callable[[int, int], float]) -> None:
        self.data = source.encode()
        self.tree = ast.parse(source)
        self.suspicion = suspicion
        self.starts = [0]
        for line in self.data.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))
        docs = {id(n.value) for n in ast.walk(self.tree) if isinstance(n, ast.Expr)}
        nodes = list(ast.walk(self.tree))
        self.strings = Counter(
            n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str) and id(n) not in docs
        )
        self.called = {id(n.func) for n in nodes if isinstance(n, ast.Call)}
        self.callable = {n.name for n in nodes if isinstance(n, (*DEFS, ast.ClassDef))}
        self.callable |= {n.id for n in nodes if isinstance(n, ast.Name) and id(n) in self.called}
        self.callable |= {n.asname or n.name for n in nodes if isinstance(n, ast.alias)}
        self.found: dict[tuple[int, int, str], Edit] = {}
        self.names: Counter[str] = Counter(n.id for n in nodes if isinstance(n, ast.Name))
        self.attributes: Counter[tuple[str, bool]] = Counter()
        self.level, self.in_body = 0.0, False
        self.line, self.last = 1, 1
        self.whole = self.around = 1, max(1, len(self.starts))

    def _place(self, level: float, first: int, last: int, in_body: bool) -> None:
        self.level, self.line, self.last, self.in_body = level, first, last, in_body

    def _scope(self, s: ast.AST) -> None:
        nodes = list(ast.walk(s))
        names = Counter(n.id for n in nodes if isinstance(n, ast.Name))
        names.update(n.arg for n in nodes if isinstance(n, ast.arg))
        self.names = names
        attributes = Counter((n.attr, id(n) in self.called) for n in nodes if isinstance(n, ast.Attribute))
        if isinstance(s, ast.ClassDef):
            attributes.update((n.name, True) for n in s.body if isinstance(n, DEFS) and not n.name.startswith("__"))
            self.attributes = attributes
        else:
            self.attributes = self.attributes + attributes

    def _span(self, node: ast.AST) -> tuple[int, int]:
        n: ast.expr = node  # type: ignore[assignment]  # every node with a position
        return (
            self.starts[n.lineno - 1] + n.col_offset,
            self.starts[(n.end_lineno or n.lineno) - 1] + (n.end_col_offset or 0),
        )

    def _text(self, node: ast.AST) -> str:
        start, end = self._span(node)
        return self.data[start:end].decode()

    def _add(self, span: tuple[int, int], text: str, kind: str, weight: float) -> None:
        if self.data[span[0] : span[1]] == text.encode():
            return
        edit = Edit(*span, text, self.line, self.last, kind, self.level * weight, self.in_body, self.around)
        known = self.found.get((*span, text))
        if known is None or known.score < edit.score:
            self.found[(*span, text)] = edit

    def _put(self, node: ast.AST, text: str, kind: str, weight: float) -> None:
        self._add(self._span(node), text, kind, weight)

    def _operator(self, left: ast.AST, right: ast.AST, old: str, new: tuple[str, ...], kind: str) -> None:
        start, end = self._span(left)[1], self._span(right)[0]
        gap = self.data[start:end].decode()
        found = re.search(re.escape(old).replace(r"\ ", r"\s+"), gap)
        if found:
            at = start + len(gap[: found.start()].encode())
            for n, text in enumerate(new):
                self._add((at, at + len(found.group().encode())), text, kind, max(0.35, 1.0 - 0.2 * n))

    def _swap(self, a: ast.AST, b: ast.AST, kind: str, weight: float) -> None:
        (s1, e1), (s2, e2) = self._span(a), self._span(b)
        text = self.data[s2:e2] + self.data[e1:s2] + self.data[s1:e1]
        self._add((s1, e2), text.decode(), kind, weight)

    def _shift(self, node: ast.AST, weight: float) -> None:
        """Off by one."""
        if isinstance(node, _OPERAND):
            for sign in "+-":
                self._put(node, f"{self._text(node)} {sign} 1", "off by one", weight)

    def _others(self, name: str, pool: Counter[str], limit: int) -> Iterator[tuple[str, float]]:
        """What else stands there nearby, most alike and most used first, with a factor of 0.5 to 1.2."""
        ranked = sorted(
            ((0.5 + 0.7 * alike(name, p) + 0.01 * min(c, 9), p) for p, c in pool.items() if p != name),
            key=lambda x: (-x[0], x[1]),
        )
        return ((p, near) for near, p in ranked[:limit])
