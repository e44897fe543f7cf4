"""`examples.wide` and `examples.deep` with the embedded endpoint: each cell and claim has a source that holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples import deep, wide
from examples.corpora import ISLANDS, PLANTED


def test_a_wide_table_is_right_in_every_cell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert wide.main(["--out", str(tmp_path), "--sandbox", "process"]) == 0
    table = (tmp_path / "table.md").read_text()
    rows = {line.split(" | ")[0].strip("| "): line.split(" | ")[1:] for line in table.splitlines() if "[d" in line}
    for island in ISLANDS:
        area, population, harbour, charted = rows[island.name]
        assert f"{island.area} square" in area and f"{island.population:,}" in population
        assert island.harbour in harbour and str(island.charted) in charted
        assert all("[d" in cell for cell in rows[island.name])
    assert "32 claims with a source that holds, 0 without" in capsys.readouterr().out


def test_a_deep_report_finds_what_stands_far_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert deep.main(["--out", str(tmp_path), "--sandbox", "process", "--days", "400"]) == 0
    report = (tmp_path / "report.md").read_text()
    for sentence in (each for planted in PLANTED.values() for each in planted):
        assert sentence in report
    assert "unsupported" not in report and ", 0 without" in capsys.readouterr().out
