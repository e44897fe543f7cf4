"""A hook of mkdocs: what is drawn and listed of the code itself, where a page has the mark.

`<!-- course -->`: the stations of the outer loop, from its compiled graph. `<!-- writers -->`: who writes which record,
from what each module constructs. `<!-- providers -->`: the known endpoints, from `providers.toml`.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import get_args

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

from swarm import graph as outer_loop
from swarm.config import Provider
from swarm.events import ANY_EVENT
from swarm.models.providers import known

ROOT = Path(__file__).parents[1]
_JSON = {"json_schema": "JSON by schema", "json_object": "JSON without a schema", "none": "no JSON"}
_WIDE, _END, _GAP, _HIGH, _RISE = 90, 16, 18, 30, 24


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put them where the marks are."""
    for mark, made in (
        ("<!-- course -->", _course),
        ("<!-- writers -->", _writers),
        ("<!-- providers -->", _providers),
    ):
        if mark in markdown:
            markdown = markdown.replace(mark, made())
    return markdown


def _course() -> str:
    """The stations in a row, the ways between them as arcs: on above, back below; dashed where it depends."""
    graph = outer_loop.compiled().get_graph()
    at: dict[str, tuple[int, float, float]] = {}  # number, middle and half the width
    right = 4.0
    for name in graph.nodes:
        wide = _END if name.startswith("__") else _WIDE
        at[name] = (len(at), right + wide / 2, wide / 2)
        right += wide + _GAP
    spans = [at[edge.target][0] - at[edge.source][0] for edge in graph.edges]
    middle, below = max(spans) * _RISE * 0.75 + 24, max(-min(spans), 1) * _RISE * 0.75 + 24
    paths = "".join(
        f'<path d="{_arc(at[edge.source], at[edge.target], middle)}" class="{"may" if edge.conditional else "must"}"/>'
        for edge in graph.edges
    )
    boxes = "".join(
        f'<circle cx="{x:.0f}" cy="{middle:.0f}" r="{half}" class="box"/>'
        if half < _WIDE / 2
        else f'<rect x="{x - half:.0f}" y="{middle - _HIGH / 2:.0f}" width="{_WIDE}" height="{_HIGH}" rx="6" '
        f'class="box"/><text x="{x:.0f}" y="{middle + 4:.0f}">{escape(name)}</text>'
        for name, (_, x, half) in at.items()
    )
    style = (
        "<style>.course path{fill:none;stroke:currentColor;stroke-opacity:.7;stroke-width:1.3;marker-end:url(#tip)}"
        ".course .may{stroke-dasharray:5 4;stroke-opacity:.5}.course .box{fill:var(--md-default-bg-color,#fff);"
        "stroke:currentColor;stroke-opacity:.5}.course text{font:12px monospace;text-anchor:middle;fill:currentColor}"
        "</style>"
    )
    tip = (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 8 4 0 8z" style="fill:currentColor;stroke:none;marker-end:none"/></marker></defs>'
    )
    label = "Stations of the outer loop and the ways between them"
    return (
        f'<div class="wide"><svg class="course" role="img" aria-label="{label}" '
        f'viewBox="0 0 {right:.0f} {middle + below:.0f}">{style}{tip}{paths}{boxes}</svg></div>'
    )


def _arc(a: tuple[int, float, float], b: tuple[int, float, float], middle: float) -> str:
    """To the next station straight, to a farther one above, back below, to the same one as a loop."""
    (here, x, half), (there, to, other), down = a, b, middle + _HIGH / 2
    if there == here + 1:
        return f"M{x + half:.0f} {middle:.0f}H{to - other:.0f}"
    if there == here:
        return f"M{x - 14:.0f} {down:.0f}c-6 24 34 24 28 0"
    side, push = (-1, 12) if there > here else (1, -12)
    edge = middle + side * _HIGH / 2
    top = edge + side * abs(there - here) * _RISE
    bend = f"C{x + push * 2:.0f} {top:.0f} {to - push * 2:.0f} {top:.0f}"
    return f"M{x + push:.0f} {edge:.0f}{bend} {to - push:.0f} {edge:.0f}"


def _writers() -> str:
    kinds = {kind.__name__: kind.model_fields["type"].default for kind in get_args(get_args(ANY_EVENT._type)[0])}
    by: defaultdict[str, set[str]] = defaultdict(set)
    for path in sorted((ROOT / "swarm").rglob("*.py")):
        room = path.relative_to(ROOT / "swarm").parts[0].removesuffix(".py")
        for name in _made(path) & kinds.keys():
            if room not in ("events", "journal", "testing"):
                by[name].add(room)
    rows = "\n".join(
        f"| [`{kind}`](../reference/events.md) | {', '.join(f'`{room}`' for room in sorted(by[name]))} |"
        for name, kind in kinds.items()
        if by[name]
    )
    return f"| record | written by |\n|---|---|\n{rows}"


def _made(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}


def _providers() -> str:
    rows = [f"| `{name}` | `{each.base_url}` | {', '.join(_facts(each))} |" for name, each in known().items()]
    return "| name | address | key, and what is known beforehand |\n|---|---|---|\n" + "\n".join(rows)


def _facts(each: Provider) -> Iterator[str]:
    if each.key_env:
        yield f"`{each.key_env}`" + ("" if each.key_needed else " (where it wants one)")
    can = each.capabilities
    if can.structured:
        yield {"json_schema": "JSON by schema", "json_object": "JSON without a schema", "none": "no JSON"}[
            can.structured
        ]
    if can.tools:
        yield "tools"
    if can.token_ids and can.token_ids != "none":
        yield "token ids"
    if can.reasoning:
        yield f"reasoning in `{can.reasoning}`"
