"""A comparison as one page of HTML, in the form of the report of a run."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from swarm.evals.compare.model import Comparison
from swarm.evals.compare.tables import headline
from swarm.report.render import one_file, part

_SCRIPTS = ("forms", "pictures", "figures", "instances", "start")


def page(found: Comparison, place: Path | None) -> str:
    """The page. `place` is the folder in which it will lie: links lead from there to the folders of the runs; without
    it runs are named, not linked."""
    data: dict[str, Any] = found.model_dump(mode="json")
    for row in data["rows"]:
        for cell in row["cells"]:
            cell["runs"] = [[run, end, _link(run, place)] for run, end in cell["runs"]]
    title = f"swarm eval: {headline(found)}"
    data["headline"] = headline(found)
    return one_file(title, data, [part("base.js"), *(_own(f"{name}.js") for name in _SCRIPTS)], (), _own("compare.css"))


def _own(name: str) -> str:
    return (files("swarm.evals.compare") / "page" / name).read_text(encoding="utf-8")


def _link(run: str, place: Path | None) -> str:
    """The address of a run's folder as seen from the page: always a relative path."""
    if not run or place is None:
        return ""
    return "./" + quote(os.path.relpath(run, place)) + "/"
