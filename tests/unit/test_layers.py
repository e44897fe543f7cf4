"""The import arrow: a file imports only from rooms in the rows above its own, or from its own room.

The syntax tree is read, so imports inside functions and under TYPE_CHECKING count as well.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "swarm"

# From the bottom up. Rooms of one row do not know each other. A new module must be given its place here.
ROWS: tuple[tuple[str, ...], ...] = (
    # values
    ("errors", "values", "steering", "preview", "misnamed", "addresses", "shortage", "whole_file", "tuning", "loading"),
    ("types", "removal", "toml_file", "legible", "hunks", "stopping", "retry", "mishap", "held_folder", "new_folder"),
    ("keys", "foreign", "hosting"),
    ("calls", "stages", "result", "approval"),
    ("events",),
    ("protocols",),
    ("config",),
    # record, bounds
    ("journal", "run_folders"),
    ("prompts", "scheduling", "verdict", "discovery"),
    ("budgets", "documents"),
    ("models", "sandboxes"),
    ("tools",),
    # core: what it needs of the rooms named in GIVEN, it is given
    ("places", "asking", "forecast"),
    ("agents", "gating"),
    ("merging",),
    ("orchestrators", "aggregators", "executors", "parts", "crew"),
    ("hiring",),
    ("site",),
    ("teams", "loop", "wiring", "ground"),
    ("graph", "mission", "stores"),
    ("node",),
    ("elsewhere",),
    ("session",),
    ("resuming",),
    ("run",),
    ("runtime",),
    # edges
    ("embedded", "rl", "langgraph"),
    ("testing", "report", "serving", "tracing", "workers"),
    ("evals",),
    ("cli",),
    ("__main__",),
)
ROW = {room: height for height, row in enumerate(ROWS) for room in row}
COMPOSITION = {"wiring", "ground", "site", "stores", "hiring"}
"""Rooms where names become objects: what is imported inside their functions may stand anywhere."""

CORE = {room for row in ROWS[ROW["tools"] + 1 : ROW["runtime"] + 1] for room in row} - COMPOSITION
GIVEN = {"tools", "sandboxes", "evals", "embedded"}
"""Rooms that the core receives through Protocols and never names."""


def files() -> list[Path]:
    """Every module of the package, the linked folders included."""
    found: list[Path] = []
    folders = [PACKAGE]
    while folders:
        for path in sorted(folders.pop().iterdir()):
            if path.is_dir() and path.name != "__pycache__":
                folders.append(path)
            elif path.suffix == ".py":
                found.append(path)
    return found


def room_of(module: str) -> str:
    """`swarm.models.wire.client` stands in the room `models`."""
    return module.split(".")[1]


def module_of(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


def exported() -> dict[str, str]:
    """The public names and the modules that they come from, as `swarm/__init__.py` tells the type checker."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    froms = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    return {alias.name: node.module or "" for node in froms for alias in node.names}


def imports(path: Path) -> Iterator[tuple[int, str, bool]]:
    """Line, module, and whether it is imported only when a function runs, for each import from this package."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    lazy = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(node)
    }
    lazy |= {inner for node in ast.walk(tree) if _for_types(node) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        for module in _modules(node, path):
            if module.startswith("swarm."):
                yield getattr(node, "lineno", 0), module, node in lazy


def _for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _modules(node: ast.AST, path: Path) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        if node.level:
            package = path.relative_to(ROOT).parts[: -node.level]
            yield from (".".join((*package, node.module or alias.name)) for alias in node.names)
        elif node.module == "swarm":
            home = exported()
            yield from (home.get(a.name, f"swarm.{a.name}") for a in node.names if a.name != "__version__")
        else:
            yield node.module or ""
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name) and node.args:
        called = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
        if called in ("import_module", "__import__") and isinstance(node.args[0], ast.Constant):
            yield str(node.args[0].value)


def test_every_module_has_a_place() -> None:
    homeless = [module_of(p) for p in files() if module_of(p) != "swarm" and room_of(module_of(p)) not in ROW]
    assert not homeless, "give these a room in ROWS"


@pytest.mark.parametrize("path", files(), ids=module_of)
def test_imports_point_down(path: Path) -> None:
    module = module_of(path)
    if module == "swarm":
        pytest.skip("the export list points at what it exports")
    own = room_of(module)
    wrong = []
    for line, target, lazy in imports(path):
        room = room_of(target)
        if room == own or (own in COMPOSITION and lazy):
            continue
        if room not in ROW or ROW[room] >= ROW.get(own, 0):
            wrong.append(f"line {line}: {target} does not stand below {own}")
        elif own in CORE and room in GIVEN:
            wrong.append(f"line {line}: the core is given its {room} by the composition root")
    assert not wrong


def test_outside_modules_are_not_reached_through_the_links() -> None:
    """`import tools` in a checkout would be a second copy of `swarm.tools`."""
    wrong = []
    for path in files():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for module in _modules(node, path):
                if module.split(".")[0] in ("tools", "sandboxes", "evals", "tests"):
                    wrong.append(f"{path.relative_to(ROOT)}: {module}")
    assert not wrong
