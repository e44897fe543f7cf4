"""Candidate edits of Python source: small, typical slips, each as an exact span of text and its replacement.

Runs inside the sandbox too (Python 3.8 or newer, standard library only).
"""

from __future__ import annotations

import ast
import sys
from collections import Counter

from .edits import DEFS, Edit, Ground, alike
from .slips import ARITHMETIC, COMPARE, SIBLINGS, SYMBOL

_MAX_OTHERS = 6


class Mutator(Ground):
    """All candidates of one file."""

    def edits(self) -> list[Edit]:
        """Most promising first."""
        self._block(self.tree.body, None)
        return sorted(self.found.values(), key=lambda e: -e.score)

    # -- walking ------------------------------------------------------------------------------------------------

    def _block(self, body: list[ast.stmt], func: ast.AST | None) -> None:
        for s in body:
            self._statement(s, func)

    def _statement(self, s: ast.stmt, func: ast.AST | None) -> None:
        inner = func
        blocks = [getattr(s, f) for f in ("body", "orelse", "finalbody") if isinstance(getattr(s, f, None), list)]
        handlers: list[ast.ExceptHandler] = list(getattr(s, "handlers", []))
        blocks += [h.body for h in handlers]
        blocks += [c.body for c in getattr(s, "cases", [])]
        first = s.lineno
        last = max(first, s.body[0].lineno - 1) if getattr(s, "body", None) else (s.end_lineno or first)  # type: ignore[attr-defined]  # the compound ones
        if isinstance(s, (*DEFS, ast.ClassDef)):
            saved = self.names, self.attributes, self.around
            if self.around == self.whole and isinstance(s, DEFS):
                self.around = first, s.end_lineno or first
            if isinstance(s, ast.ClassDef) or func is None:
                self._scope(s)
            inner = s if isinstance(s, DEFS) else None
            # Defaults and decorators run where the function is defined: judge them by its body.
            level = self.suspicion(first, s.end_lineno or first) * 0.5
            self._expressions(s, level, first, last, func is not None)
            for block in blocks:
                self._block(block, inner)
            self.names, self.attributes, self.around = saved
            return
        level = self.suspicion(first, last)
        self._expressions(s, level, first, last, func is not None)
        if level > 0:
            self._simple(s)
        for h in handlers:
            level = self.suspicion(h.lineno, max(h.lineno, h.body[0].lineno - 1))
            if h.type is not None and level > 0:
                self._place(level, h.lineno, h.lineno, func is not None)
                self._walk(h.type, h)
        for block in blocks:
            self._block(block, inner)

    def _expressions(self, s: ast.stmt, level: float, first: int, last: int, in_body: bool) -> None:
        if level <= 0:
            return
        self._place(level, first, last, in_body)
        if isinstance(s, DEFS):
            for default in [*s.args.defaults, *(d for d in s.args.kw_defaults if d is not None)]:
                self._walk(default, s)
            return
        if isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant):
            return
        for child in ast.iter_child_nodes(s):
            if not isinstance(child, (ast.stmt, ast.ExceptHandler)) and type(child).__name__ != "match_case":
                self._walk(child, s)

    def _walk(self, node: ast.AST, parent: ast.AST) -> None:
        if isinstance(node, ast.JoinedStr) and sys.version_info < (3, 12):
            return  # positions inside are wrong there
        handler = getattr(self, "_on_" + type(node).__name__, None)
        if handler is not None:
            handler(node, parent)
        for child in ast.iter_child_nodes(node):
            self._walk(child, node)

    def _condition(self, test: ast.AST) -> None:
        text = self._text(test)
        plain = isinstance(test, (ast.Compare, ast.UnaryOp)) and len(getattr(test, "ops", "x")) == 1
        self._put(test, f"not ({text})", "negated condition", 0.3 if plain else 0.9)
        self._put(test, "True", "condition always true", 0.35)
        self._put(test, "False", "condition always false", 0.35)

    # -- statements ---------------------------------------------------------------------------------------------

    def _simple(self, s: ast.stmt) -> None:
        if isinstance(s, (ast.If, ast.While)):
            self._condition(s.test)
        elif isinstance(s, ast.Return) and s.value is not None:
            self._put(s.value, f"not ({self._text(s.value)})", "negated result", 0.35)
            self._shift(s.value, 0.35)
            if not isinstance(s.value, ast.Name):
                for name, near in self._others("", self.names, 5):
                    self._put(s.value, name, "another result", 0.2 * near)
        elif isinstance(s, ast.Expr):
            # A value that nobody takes is a slip; a call may be there for what it does.
            if not isinstance(s.value, (ast.Constant, ast.Yield, ast.YieldFrom, ast.Await)):
                self._put(
                    s, "return " + self._text(s.value), "missing return", 0.35 if isinstance(s.value, ast.Call) else 1.2
                )
            self._put(s, "pass", "statement removed", 0.3)
        elif isinstance(s, ast.AugAssign):
            gap_start, gap_end = self._span(s.target)[1], self._span(s.value)[0]
            at = self.data.find(b"=", gap_start, gap_end)
            old = SYMBOL.get(type(s.op), "")
            for n, new in enumerate((*(x for x in ARITHMETIC.get(old, ()) if not x.isalpha()), "")):
                self._add((at - len(old), at), new, "augmented assignment", 0.9 - 0.2 * n)
            self._put(s, "pass", "statement removed", 0.25)
        elif isinstance(s, ast.Assign):
            self._put(s, "pass", "statement removed", 0.25)
            if isinstance(s.targets[0], (ast.Name, ast.Attribute)) and len(s.targets) == 1:
                target = self._text(s.targets[0])
                if target.partition(".")[2] in self.names:  # `self.x = None` where a parameter x is at hand
                    self._put(s.value, target.partition(".")[2], "another name", 0.8)
                for op in "+-":
                    self._put(s, f"{target} {op}= {self._text(s.value)}", "augmented assignment", 0.15)
        elif isinstance(s, (ast.Break, ast.Continue, ast.Pass)):
            for text, weight in (("break", 0.7), ("continue", 0.7), ("pass", 0.4)):
                self._put(s, text, "loop control", weight)
        elif isinstance(s, (ast.Raise, ast.Delete, ast.Assert)):
            self._put(s, "pass", "statement removed", 0.3)

    # -- expressions --------------------------------------------------------------------------------------------

    def _on_Compare(self, n: ast.Compare, parent: ast.AST) -> None:
        sides = [n.left, *n.comparators]
        for i, op in enumerate(n.ops):
            old = SYMBOL[type(op)]
            self._operator(sides[i], sides[i + 1], old, COMPARE[old], "comparison")
        for side in sides:
            if not isinstance(n.ops[0], (ast.Is, ast.IsNot, ast.In, ast.NotIn)):
                self._shift(side, 0.3)
        if not isinstance(parent, (ast.If, ast.While, ast.BoolOp)):
            self._put(n, f"not ({self._text(n)})", "negated condition", 0.2)

    def _on_BoolOp(self, n: ast.BoolOp, parent: ast.AST) -> None:
        old = SYMBOL[type(n.op)]
        for i, value in enumerate(n.values):
            if i + 1 < len(n.values):
                self._operator(value, n.values[i + 1], old, ("or" if old == "and" else "and",), "boolean operator")
                self._add((self._span(value)[0], self._span(n.values[i + 1])[0]), "", "operand dropped", 0.4)
            if i:
                self._add((self._span(n.values[i - 1])[1], self._span(value)[1]), "", "operand dropped", 0.4)
            if not isinstance(value, ast.Compare):
                self._put(value, f"(not {self._text(value)})", "negated condition", 0.7)

    def _on_UnaryOp(self, n: ast.UnaryOp, parent: ast.AST) -> None:
        self._put(n, self._text(n.operand), "unary operator dropped", 0.9)

    def _on_BinOp(self, n: ast.BinOp, parent: ast.AST) -> None:
        old = SYMBOL[type(n.op)]
        self._operator(n.left, n.right, old, ARITHMETIC[old], "arithmetic")
        if old == "%" and isinstance(n.left, ast.Constant):
            return
        self._put(n, self._text(n.left), "operand dropped", 0.3)
        self._put(n, self._text(n.right), "operand dropped", 0.25)
        if old not in "*|&^":
            self._swap(n.left, n.right, "swapped operands", 0.4)

    def _on_Constant(self, n: ast.Constant, parent: ast.AST) -> None:
        v = n.value
        if isinstance(v, bool):
            self._put(n, str(not v), "constant", 0.9)
            self._put(n, "None", "constant", 0.2)
        elif v is None:
            for text in ("True", "False", "0", "''"):
                self._put(n, text, "constant", 0.2)
        elif isinstance(v, int):
            for other, weight in ((v + 1, 0.95), (v - 1, 0.95), (0, 0.4), (1, 0.4), (-v, 0.35), (v * 10, 0.1)):
                self._put(n, str(other), "constant", weight)
            self._put(n, "None", "constant", 0.15)
        elif isinstance(v, float):
            for near in (v + 1, v - 1, 0.0, 1.0, -v, v * 10, v / 10):
                self._put(n, repr(near), "constant", 0.3)
        elif isinstance(v, str) and not isinstance(parent, (ast.JoinedStr, ast.FormattedValue)) and len(v) < 40:
            for word, factor in self._others(v, self.strings, 5):
                self._put(n, repr(word), "string", 0.35 * factor)
            for word in sorted({"", " ", v.lower(), v.upper(), v.strip()} - {v}):
                self._put(n, repr(word), "string", 0.15)

    def _on_Subscript(self, n: ast.Subscript, parent: ast.AST) -> None:
        index: ast.AST = n.slice
        if type(index).__name__ == "Index":  # before Python 3.9
            index = index.value  # type: ignore[attr-defined]  # not in newer stubs
        if not isinstance(index, ast.Slice):
            self._shift(index, 0.5)
            return
        for bound in (index.lower, index.upper):
            if bound is not None:
                self._shift(bound, 0.6)
        low, high = (self._text(b) if b is not None else "" for b in (index.lower, index.upper))
        step = f":{self._text(index.step)}" if index.step is not None else ""
        head, tail = self._text(n.value), "]"
        for a, b, weight in ((high, low, 0.6), ("", high, 0.35), (low, "", 0.35), (low or "1", high, 0.3)):
            self._put(n, f"{head}[{a}:{b}{step}{tail}", "slice", weight)
        self._put(n, f"{head}[{low}:{high or '-1'}{step}]", "slice", 0.25)

    def _on_Call(self, n: ast.Call, parent: ast.AST) -> None:
        args = n.args
        simple = isinstance(n.func, ast.Name)
        for a, b in ((args[i], args[i + 1]) for i in range(len(args) - 1)):
            self._swap(a, b, "swapped arguments", 0.7)
        if len(args) > 2:
            self._swap(args[0], args[2], "swapped arguments", 0.4)
        if simple and n.func.id in ("range", "xrange", "islice"):  # type: ignore[attr-defined]  # a Name
            for arg in args:
                self._shift(arg, 0.8)
            self._put(n, f"{self._text(n.func)}(1, {self._text(n)[6:]}", "off by one", 0.4)
        if simple and n.func.id == "enumerate" and len(args) == 1:  # type: ignore[attr-defined]  # a Name
            self._put(args[0], self._text(args[0]) + ", 1", "off by one", 0.5)
        if len(args) == 1 and not n.keywords:
            self._put(n, self._text(args[0]), "call dropped", 0.3 if simple else 0.15)
        if isinstance(n.func, ast.Attribute):
            self._put(n, self._text(n.func.value), "call dropped", 0.35 if not args else 0.15)
        parts: list[ast.AST] = [*args, *(k for k in n.keywords if sys.version_info >= (3, 9))]
        for i, part in enumerate(parts):
            if len(parts) > 1:
                cut = (self._span(part)[0], self._span(parts[i + 1])[0]) if i + 1 < len(parts) else (
                    self._span(parts[i - 1])[1], self._span(part)[1])  # fmt: skip
                self._add(cut, "", "argument dropped", 0.25)

    def _on_IfExp(self, n: ast.IfExp, parent: ast.AST) -> None:
        self._swap(n.body, n.orelse, "swapped branches", 0.7)
        self._condition(n.test)

    def _on_comprehension(self, n: ast.comprehension, parent: ast.AST) -> None:
        for test in n.ifs:
            self._condition(test)

    def _on_Tuple(self, n: ast.Tuple, parent: ast.AST) -> None:
        for i in range(min(len(n.elts) - 1, 3)):
            self._swap(n.elts[i], n.elts[i + 1], "swapped elements", 0.35)

    def _on_Name(self, n: ast.Name, parent: ast.AST) -> None:
        for other in SIBLINGS.get(n.id, ()):
            self._put(n, other, "sibling name", 0.7)
        pool = self.names
        if id(n) in self.called:
            pool = Counter({d: 1 for d in self.callable if alike(d, n.id) > 0.5})
        weight = 0.4 if isinstance(n.ctx, ast.Load) else 0.15
        for other, near in self._others(n.id, pool, _MAX_OTHERS):
            self._put(n, other, "another name", weight * near)
        if id(n) in self.called:  # a local name may hold a function
            for other, near in self._others(n.id, self.names, _MAX_OTHERS):
                self._put(n, other, "another name", 0.2 * near)

    def _on_Attribute(self, n: ast.Attribute, parent: ast.AST) -> None:
        end = self._span(n)[1]
        span = (end - len(n.attr.encode()), end)
        for other in SIBLINGS.get(n.attr, ()):
            self._add(span, other, "sibling method", 0.8)
        pool = Counter({a: c for (a, called), c in self.attributes.items() if called == (id(n) in self.called)})
        weight = 0.4 if isinstance(n.ctx, ast.Load) else 0.15
        for other, near in self._others(n.attr, pool, _MAX_OTHERS):
            self._add(span, other, "another attribute", weight * near)
