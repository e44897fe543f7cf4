"""Results into the documents: tables between the marks of docs/performance.md, pictures beside it."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import aims, table
from benchmarks.environments import NotInstalled, make
from benchmarks.record import Results, merged
from benchmarks.shape import ROOT

PAGE = ROOT / "docs/performance.md"
IMAGES = ROOT / "docs/images"
_MARK = re.compile(r"(<!-- bench: ([a-z0-9-]+) -->\n).*?(<!-- /bench -->)", re.DOTALL)


def filled(page: str, files: Sequence[Results]) -> str:
    """The page with what stands between `<!-- bench: NAME -->` and `<!-- /bench -->` made anew.

    NAME is a row, `aims`, `versions` or `more` (the rows without marks of their own); what there are no results of
    stays as it is.
    """
    rows = merged(files)
    bodies = {row.name: f"{table.section(row, results)}\n\n{table.pictured(row)}" for row, results in rows}
    marked = {found[2] for found in _MARK.finditer(page)}
    bodies["more"] = "\n\n".join(text for name, text in bodies.items() if name not in marked)
    bodies["aims"] = aims.text(rows)
    versions = table.versions(files)
    bodies["versions"] = f"{versions}." if versions else ""

    def body(found: re.Match[str]) -> str:
        text = bodies.get(found[2])
        return f"{found[1]}{text}\n{found[3]}" if text else found[0]

    return _MARK.sub(body, page)


def publish(files: Sequence[Results], cache: Path) -> None:
    """Write the tables of docs/performance.md and the pictures of docs/images (as PNG: .cache/bench)."""
    old = PAGE.read_text(encoding="utf-8")
    new = filled(old, files)
    PAGE.write_text(new, encoding="utf-8")
    pictures(files, IMAGES, cache)
    for picture in IMAGES.glob("bench-*.png"):  # the page shows the others
        picture.replace(cache / picture.name)


def pictures(files: Sequence[Results], folder: Path, cache: Path) -> None:
    """SVG and PNG of every row, by matplotlib in an environment of its own."""
    try:
        python = make(cache, "pictures")
    except NotInstalled as error:
        sys.exit(f"pictures: {error}")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        paths = []
        for number, results in enumerate(files):
            paths.append(Path(place) / f"{number}.json")
            results.save(paths[-1])
        command = [str(python), "-m", "benchmarks.drawing", str(folder), *map(str, paths)]
        subprocess.run(command, check=True, cwd=ROOT)
