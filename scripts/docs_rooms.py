"""A hook of mkdocs: a picture and a list of the package's rooms, made from the test that holds their order and from
what each module says of itself. `<!-- rooms -->` in a page is replaced by them."""

from __future__ import annotations

import ast
from html import escape
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
_MARK = "<!-- rooms -->"
_WIDTH, _ROW, _GAP, _LETTER = 860, 44, 8, 7.4


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put them where the mark is."""
    if _MARK not in markdown:
        return markdown
    rows = _rows()
    table = "\n".join(
        f"| `swarm/{_place(room)}` | {_about(room)} |" for row in rows for room in row if _file(room) is not None
    )
    return markdown.replace(_MARK, f"{_picture(rows)}\n\n| room | what it holds |\n|---|---|\n{table}")


def _rows() -> list[list[str]]:
    """The rows of the test, lowest last imports nothing."""
    tree = ast.parse((ROOT / "tests/unit/test_layers.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "ROWS":
            assert node.value is not None
            return [list(row) for row in ast.literal_eval(node.value)]
    raise AssertionError("tests/unit/test_layers.py has no ROWS")


def _file(room: str) -> Path | None:
    for path in (ROOT / "swarm" / room / "__init__.py", ROOT / "swarm" / f"{room}.py"):
        if path.exists():
            return path
    return None


def _place(room: str) -> str:
    path = _file(room)
    return f"{room}/" if path is not None and path.name == "__init__.py" else f"{room}.py"


def _about(room: str) -> str:
    path = _file(room)
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) if path is not None else None
    return " ".join((text or "").split("\n\n")[0].split()).replace("|", "\\|").replace("<", "&lt;")


def _picture(rows: list[list[str]]) -> str:
    """Rows as bands; each imports only from those above it."""
    parts, y = [], 4
    for row in rows:
        lines: list[list[str]] = [[]]
        width = 0.0
        for room in row:
            need = len(room) * _LETTER + 28
            if width + need > _WIDTH - 20:
                lines.append([])
                width = 0.0
            lines[-1].append(room)
            width += need
        height = len(lines) * (_ROW - 14) + 14
        parts.append(f'<rect x="2" y="{y}" width="{_WIDTH - 4}" height="{height}" rx="6" class="row"/>')
        for number, line in enumerate(lines):
            x = 12.0
            for room in line:
                wide = len(room) * _LETTER + 18
                top = y + 9 + number * (_ROW - 14)
                parts.append(f'<rect x="{x:.0f}" y="{top}" width="{wide:.0f}" height="24" rx="4" class="room"/>')
                parts.append(f'<text x="{x + wide / 2:.0f}" y="{top + 16}">{escape(room)}</text>')
                x += wide + 10
        y += height + _GAP
    style = (
        "<style>.rooms .row{fill:none;stroke:currentColor;stroke-opacity:.25}.rooms .room{fill:currentColor;"
        "fill-opacity:.08}.rooms text{font:12px monospace;text-anchor:middle;fill:currentColor}</style>"
    )
    label = "Rooms of the package in rows; each imports only from rows above its own"
    return (
        f'<div class="wide"><svg class="rooms" role="img" aria-label="{label}" viewBox="0 0 {_WIDTH} {y}" width="100%">'
        f"{style}{''.join(parts)}</svg></div>"
    )
