"""The regular expressions of the product, found in its source, each with the ways in which it is used."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("swarm", "tools", "sandboxes", "evals")
METHODS = ("match", "fullmatch", "search", "findall", "finditer", "sub", "subn", "split")
_ANY = frozenset({"search", "fullmatch"})


class Used(NamedTuple):
    """`place` is MODULE.NAME, or MODULE:FUNCTION where it has none."""

    place: str
    pattern: re.Pattern[Any]
    how: str


def modules() -> Iterator[tuple[str, Path]]:
    """Every module of the product, by its name."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            inside = path.relative_to(ROOT)
            if inside.parts[:2] not in (("swarm", "tools"), ("swarm", "sandboxes"), ("swarm", "evals")):
                parts = inside.with_suffix("").parts if folder == "swarm" else ("swarm", *inside.with_suffix("").parts)
                yield ".".join(parts).removesuffix(".__init__"), path


def expressions() -> list[Used]:
    """Of every module, also those that are written where they are used; not those that are made at run time."""
    found: dict[tuple[str, Any, int, str], Used] = {}
    for name, path in modules():
        source = path.read_text(encoding="utf-8")
        if "re." not in source:
            continue
        for each in _of_module(name, source):
            found.setdefault((name, each.pattern.pattern, each.pattern.flags, each.how), each)
    return list(found.values())


def _of_module(name: str, source: str) -> Iterator[Used]:
    tree = ast.parse(source)
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None and _compiles(node.value):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            assert isinstance(target, ast.Name), f"{name}: a pattern without a name"
            hows = set(re.findall(rf"\b{target.id}\.({'|'.join(METHODS)})\b", source)) or _ANY
            for pattern in _patterns(getattr(importlib.import_module(name), target.id)):
                yield from (Used(f"{name}.{target.id}", pattern, how) for how in sorted(hows))
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for call in ast.walk(function):
                if (written := _written(call)) is not None:
                    assert isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)
                    yield Used(f"{name}:{function.name}", written, call.func.attr)


def _compiles(value: ast.expr) -> bool:
    return any(_is_of_re(each, ("compile",)) for each in ast.walk(value))


def _is_of_re(node: ast.AST, names: tuple[str, ...]) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "re"
        and node.func.attr in names
    )


def _written(node: ast.AST) -> re.Pattern[Any] | None:
    """A pattern that is a literal in a call such as `re.search`."""
    if not _is_of_re(node, METHODS):
        return None
    assert isinstance(node, ast.Call)
    first = node.args[0]
    if not isinstance(first, ast.Constant) or not isinstance(first.value, str | bytes):
        return None
    flags = 0
    for given in (*node.args[1:], *(keyword.value for keyword in node.keywords)):
        for name in re.findall(r"re\.([A-Z]+)", ast.unparse(given)):
            flags |= int(getattr(re, name))
    return re.compile(first.value, flags)


def _patterns(value: object) -> Iterator[re.Pattern[Any]]:
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, dict):
        yield from (pattern for each in value.values() for pattern in _patterns(each))
    elif isinstance(value, tuple | list):
        yield from (pattern for each in value for pattern in _patterns(each))
