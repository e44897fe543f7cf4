"""The kinds of one-line faults: from a file's syntax tree, every small slip that a tired programmer could make in it.

Pure: text in, candidates out. Nothing here knows of tests, or of any policy that will look for the faults.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Candidate:
    """One possible fault. `line` counts from 1; `old` and `new` are that whole line without its end.

    `body` are the lines of the function's own statements, signature and decorators left out.
    """

    function: str
    body: range
    kind: str
    line: int
    old: str
    new: str

    def applied(self, source: str) -> str:
        """The file with this fault in it."""
        lines = source.split("\n")
        lines[self.line - 1] = self.new
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Scope:
    """One function and what a slip inside it could confuse."""

    name: str
    node: Function
    lines: tuple[str, ...]
    names: tuple[str, ...]
    attributes: tuple[str, ...]
    strings: tuple[str, ...]

    def text(self, node: ast.expr | ast.stmt) -> str:
        """The source of a node that stands on one line."""
        return self.lines[node.lineno - 1].encode()[node.col_offset : node.end_col_offset].decode()


Edit = tuple[ast.expr | ast.stmt | ast.ExceptHandler, int, int, str]
"""A node (for its line), a span of bytes in that line, and the text that takes its place."""

_SWAPS = {
    "<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "==",
    "is": "is not", "is not": "is", "in": "not in", "not in": "in",
    "+": "-", "-": "+", "*": "/", "/": "*", "//": "/", "%": "//", "**": "*", "<<": ">>", ">>": "<<", "&": "|", "|": "&",
    "and": "or", "or": "and",
}  # fmt: skip
_OPERATOR = re.compile(r"(?<!\w)(?:is\s+not|not\s+in|is|in|and|or)(?!\w)|//|\*\*|<<|>>|[<>=!]=|[-+*/%<>&|]")
_METHODS = (
    ("startswith", "endswith"), ("lstrip", "rstrip"), ("strip", "lstrip"), ("lower", "upper"), ("find", "rfind"),
    ("index", "rindex"), ("split", "rsplit"), ("partition", "rpartition"), ("keys", "values"), ("items", "keys"),
    ("append", "extend"), ("appendleft", "append"), ("popleft", "pop"), ("min", "max"), ("any", "all"),
    ("floor", "ceil"), ("ljust", "rjust"), ("sorted", "list"), ("add", "discard"), ("setdefault", "get"),
    ("isdigit", "isalpha"), ("union", "intersection"), ("islower", "isupper"), ("most_common", "elements"),
)  # fmt: skip
_OTHER_METHOD = {b: a for a, b in _METHODS} | dict(_METHODS)
_OTHER_ERROR = {
    "KeyError": "IndexError",
    "IndexError": "KeyError",
    "ValueError": "TypeError",
    "TypeError": "ValueError",
}
_OTHER_ERROR |= {"AttributeError": "KeyError", "StopIteration": "ValueError", "OSError": "ValueError"}


def candidates(source: str) -> list[Candidate]:
    """Every fault that could be planted in the functions of a file, in the order of the text.

    A few of them may not compile, or mean the same: see `means_another`.

    Raises:
        SyntaxError: the file is not Python.
    """
    lines = tuple(source.split("\n"))
    found: dict[tuple[int, str], Candidate] = {}
    for scope in _scopes(ast.parse(source), lines):
        body = range(scope.node.body[0].lineno, (scope.node.end_lineno or 0) + 1)
        for kind, edits in KINDS.items():
            for node, start, end, text in edits(scope):
                old = lines[node.lineno - 1]
                new = (old.encode()[:start] + text.encode() + old.encode()[end:]).decode()
                if new != old:
                    found.setdefault((node.lineno, new), Candidate(scope.name, body, kind, node.lineno, old, new))
    return sorted(found.values(), key=lambda c: (c.line, c.kind, c.new))


def means_another(source: str, candidate: Candidate) -> bool:
    """Whether the file still compiles with the fault in it, to another program than before."""
    try:
        faulty = candidate.applied(source)
        compile(faulty, "candidate", "exec", dont_inherit=True)
        return ast.dump(ast.parse(faulty)) != ast.dump(ast.parse(source))
    except (SyntaxError, ValueError):
        return False


def _scopes(tree: ast.AST, lines: tuple[str, ...], prefix: str = "") -> Iterator[Scope]:
    """Functions and methods; what is nested in one belongs to it."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield from _scopes(node, lines, f"{prefix}{node.name}.")
        elif isinstance(node, Function):
            inside = list(ast.walk(node))
            names = {a.arg for a in inside if isinstance(a, ast.arg)}
            names |= {n.id for n in inside if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
            attributes = {a.attr for a in ast.walk(tree) if isinstance(a, ast.Attribute) and _is_self(a.value)}
            strings = {repr(c.value) for c in inside if isinstance(c, ast.Constant) and isinstance(c.value, str)}
            docstring = ast.get_docstring(node, clean=False)
            yield Scope(
                prefix + node.name,
                node,
                lines,
                tuple(sorted(names - {"self", "cls"})),
                tuple(sorted(attributes)),
                tuple(sorted(s for s in strings if s != repr(docstring) and len(s) < 40)),
            )
        else:
            yield from _scopes(node, lines, prefix)


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def _body(scope: Scope) -> Iterator[ast.AST]:
    """What runs when the function runs: without signature, decorators and docstring."""
    stack: list[ast.AST] = [s for s in scope.node.body if not _is_text(s)]
    while stack:
        node = stack.pop()
        yield node
        if not isinstance(node, ast.JoinedStr):  # Python 3.11 does not know where the parts of an f-string stand
            stack.extend(ast.iter_child_nodes(node))


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _span(node: ast.expr | ast.stmt, text: str) -> Edit:
    if node.lineno != node.end_lineno:
        return node, 0, 0, ""  # an edit that changes nothing: only what stands on one line can be a one-line fault
    return node, node.col_offset, node.end_col_offset or node.col_offset, text


def _swap_operator(
    scope: Scope, left: ast.expr | ast.stmt, right: ast.expr, *, begin: int | None = None
) -> Iterator[Edit]:
    """Replace the operator between two operands of one line."""
    if left.end_lineno != right.lineno or right.lineno != right.end_lineno or left.lineno != left.end_lineno:
        return
    start = left.end_col_offset if begin is None else begin
    gap = scope.lines[right.lineno - 1].encode()[start or 0 : right.col_offset].decode()
    match = _OPERATOR.search(gap)
    new = _SWAPS.get(" ".join(match.group().split())) if match else None
    if match and new and start is not None:
        at = start + len(gap[: match.start()].encode())
        yield right, at, at + len(match.group().encode()), new


def _comparison(scope: Scope) -> Iterator[Edit]:
    for node in _body(scope):
        if isinstance(node, ast.Compare):
            yield from _swap_operator(scope, node.left, node.comparators[0])


def _logic(scope: Scope) -> Iterator[Edit]:
    for node in _body(scope):
        if isinstance(node, ast.BoolOp):
            yield from _swap_operator(scope, node.values[0], node.values[1])


def _arithmetic(scope: Scope) -> Iterator[Edit]:
    for node in _body(scope):
        if isinstance(node, ast.BinOp) and not isinstance(node.left, ast.Constant | ast.JoinedStr):
            yield from _swap_operator(scope, node.left, node.right)
        elif isinstance(node, ast.AugAssign):
            yield from _swap_operator(scope, node.target, node.value)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            yield _span(node, scope.text(node.operand))


def _off_by_one(scope: Scope) -> Iterator[Edit]:
    for node in _body(scope):
        if isinstance(node, ast.Constant) and type(node.value) is int:
            yield _span(node, str(node.value + 1))
            if node.value > 0:
                yield _span(node, str(node.value - 1))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "len":
            yield _span(node, scope.text(node) + " - 1")


def _constant(scope: Scope) -> Iterator[Edit]:
    for node in _body(scope):
        if not isinstance(node, ast.Constant):
            continue
        if isinstance(node.value, bool):
            yield _span(node, str(not node.value))
        elif isinstance(node.value, str) and scope.text(node)[:1] in "'\"":
            others = [s for s in scope.strings if s != repr(node.value)]
            yield from (_span(node, other) for other in others[:2])


def _negation(scope: Scope) -> Iterator[Edit]:
    for node in _body(scope):
        if isinstance(node, ast.If | ast.While | ast.IfExp) and node.test.lineno == node.test.end_lineno:
            if isinstance(node.test, ast.UnaryOp) and isinstance(node.test.op, ast.Not):
                yield _span(node.test, scope.text(node.test.operand))
            else:
                yield _span(node.test, f"not ({scope.text(node.test)})")


def _arguments(scope: Scope) -> Iterator[Edit]:
    for node in _body(scope):
        if isinstance(node, ast.Call) and len(node.args) > 1 and node.lineno == node.end_lineno:
            first, second = node.args[:2]
            if not isinstance(first, ast.Starred) and not isinstance(second, ast.Starred):
                raw = scope.lines[node.lineno - 1].encode()
                between = raw[first.end_col_offset : second.col_offset].decode()
                text = scope.text(second) + between + scope.text(first)
                yield node, first.col_offset, second.end_col_offset or 0, text


def _unlike(name: str, other: str) -> tuple[int, str]:
    return -len({*name} & {*other}), other


def _variable(scope: Scope) -> Iterator[Edit]:
    for node in _body(scope):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in scope.names:
            near = [n for n in scope.names if n != node.id]
            near.sort(key=functools.partial(_unlike, node.id))
            yield from (_span(node, other) for other in near[:2])


def _attribute(scope: Scope) -> Iterator[Edit]:
    for node in _body(scope):
        if isinstance(node, ast.Attribute) and _is_self(node.value) and isinstance(node.ctx, ast.Load):
            near = sorted(a for a in scope.attributes if a[:2] == node.attr[:2] and a != node.attr)
            yield from (_span(node, f"self.{other}") for other in near[:2])


def _method(scope: Scope) -> Iterator[Edit]:
    for node in _body(scope):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _OTHER_METHOD:
            end = node.func.end_col_offset or 0
            yield node.func, end - len(node.func.attr), end, _OTHER_METHOD[node.func.attr]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _OTHER_METHOD:
            yield _span(node.func, _OTHER_METHOD[node.func.id])


def _early_exit(scope: Scope) -> Iterator[Edit]:
    for node in _body(scope):
        if isinstance(node, ast.Break | ast.Continue):
            yield _span(node, "pass")
        elif isinstance(node, ast.Return) and node.value is not None and not isinstance(node.value, ast.Constant):
            yield _span(node, scope.text(node.value))
        elif isinstance(node, ast.Raise) and node.lineno == node.end_lineno:
            yield _span(node, "pass")


def _choice(scope: Scope) -> Iterator[Edit]:
    for node in _body(scope):
        if isinstance(node, ast.IfExp) and node.lineno == node.end_lineno:
            yield _span(node, f"{scope.text(node.orelse)} if {scope.text(node.test)} else {scope.text(node.body)}")


def _slice(scope: Scope) -> Iterator[Edit]:
    for node in _body(scope):
        if isinstance(node, ast.Slice) and node.lineno == node.end_lineno and not node.step:
            low = scope.text(node.lower) if node.lower else ""
            high = scope.text(node.upper) if node.upper else ""
            yield _span(node, f"{high}:{low}")


def _exception(scope: Scope) -> Iterator[Edit]:
    for node in _body(scope):
        if isinstance(node, ast.ExceptHandler) and isinstance(node.type, ast.Name) and node.type.id in _OTHER_ERROR:
            yield _span(node.type, _OTHER_ERROR[node.type.id])


def _default(scope: Scope) -> Iterator[Edit]:
    for node in (*scope.node.args.defaults, *(d for d in scope.node.args.kw_defaults if d is not None)):
        if isinstance(node, ast.Constant) and isinstance(node.value, bool):
            yield _span(node, str(not node.value))
        elif isinstance(node, ast.Constant) and type(node.value) is int:
            yield _span(node, str(node.value + 1))


KINDS: dict[str, Callable[[Scope], Iterator[Edit]]] = {
    "wrong default": _default,
    "wrong exception": _exception,
    "swapped slice": _slice,
    "swapped choice": _choice,
    "swapped arguments": _arguments,
    "wrong method": _method,
    "and/or swapped": _logic,
    "dropped early exit": _early_exit,
    "negated condition": _negation,
    "wrong comparison": _comparison,
    "wrong operator": _arithmetic,
    "wrong constant": _constant,
    "off by one": _off_by_one,
    "wrong attribute": _attribute,
    "wrong variable": _variable,
}
"""Every kind, the rarer ones first: where two kinds give the same line, it counts as the rarer."""
