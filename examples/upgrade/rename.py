"""Rename what Python files use: names, attributes, imports and arguments. Runs inside the sandbox, by itself,
with Python 3.10 or newer.

python rename.py RULES FILE...      # RULES: JSON, {"names": {old: new}, "arguments": {old: new}}
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

Place = tuple[int, int, str, str]
"""Line, column in bytes, and what stands there before and after."""


def renamed(source: bytes, names: Mapping[str, str], arguments: Mapping[str, str]) -> tuple[bytes, list[Place]]:
    """The source with its uses renamed, and where. What the file defines under an old name itself, it keeps.

    Raises:
        SyntaxError: it is no Python.
    """
    tree = ast.parse(source)
    own = set(_defined(tree))
    theirs = {old: new for old, new in names.items() if old not in own}
    lines = source.splitlines(keepends=True)
    done: list[Place] = []
    for line, column, old, new in sorted(set(_uses(tree, theirs, arguments)), reverse=True):
        text = lines[line - 1]
        if text[column : column + len(old)] == old.encode():  # else the file is not UTF-8: places are told in it
            lines[line - 1] = text[:column] + new.encode() + text[column + len(old) :]
            done.append((line, column, old, new))
    return b"".join(lines), done[::-1]


def _defined(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


def _uses(tree: ast.AST, names: Mapping[str, str], arguments: Mapping[str, str]) -> Iterator[Place]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in names and node.end_lineno and node.end_col_offset:
            yield node.end_lineno, node.end_col_offset - len(node.attr.encode()), node.attr, names[node.attr]
        elif isinstance(node, ast.Name) and node.id in names:
            yield node.lineno, node.col_offset, node.id, names[node.id]
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if alias.name in names:
                    yield alias.lineno, alias.col_offset, alias.name, names[alias.name]
        elif isinstance(node, ast.keyword) and node.arg is not None and node.arg in arguments:
            yield node.lineno, node.col_offset, node.arg, arguments[node.arg]


def main() -> int:
    """Change the files in place; a line for each place that was changed."""
    rules = json.loads(sys.argv[1])
    for name in sys.argv[2:]:
        path = Path(name)
        text, done = renamed(path.read_bytes(), rules["names"], rules["arguments"])
        path.write_bytes(text)
        for line, _, old, new in done:
            print(f"{name}:{line}: {old} -> {new}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
