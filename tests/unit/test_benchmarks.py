"""`make bench` without its times: rows, the file of results, tables, lock files."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks import aims, environments, publishing, ray_throughput, table
from benchmarks.record import Axis, Entrant, Figure, Heading, Results, Sample, load
from benchmarks.rows import ROWS, chosen
from benchmarks.runner import run
from benchmarks.shape import Competitor, Measure, Place, Row, Taken
from benchmarks.sums import ours_of, summed
from benchmarks.workers.agents import WHERE

CPU = Figure("cpu_ms", "CPU ms / call")
RATE = Figure("calls_s", "calls / s", "more")
PYTHON = Figure("python_calls", "Python calls / call")
WHO = (Entrant("swarm", "swarm", "ours"), Entrant("slow", "Slow", "peer"), Entrant("gone", "Gone", "peer", "no wheel"))
CALLS = Heading("calls", "Model calls", "A note.", (CPU, RATE, PYTHON), WHO)


def recorded() -> Results:
    """Two rounds, in the second of which the machine was three times as slow, and a failure."""
    results = Results("2026-11-22T16:00:00+0000", "make bench", "abc", {"cores": 2, "cpu": "x", "python": "3.11.7"})
    results.rows.append(CALLS)
    for number, slower in ((1, 1.0), (2, 3.0)):
        for name, cpu in (("swarm", 0.5), ("slow", 4.0)):
            figures = {"cpu_ms": cpu * slower, "calls_s": 1000 / cpu / slower}
            failed = int(name == "slow" and number == 2)
            results.samples.append(
                Sample("calls", name, number, 0.4, figures, failed, 100, "Timeout | x" if failed else "")
            )
    return results


def test_every_row_has_ours_and_knows_how_its_competitors_are_started() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
    for row in ROWS:
        kinds = [each.kind for each in row.competitors]
        assert kinds[0] == "ours" and len(kinds) > 1 and set(kinds) <= {"ours", "floor", "peer"}, row.name
        assert len({each.name for each in row.competitors}) == len(kinds), row.name
        wanted = {each.environment for each in row.competitors} - {""}
        assert wanted <= set(environments.names()), row.name
    for row in chosen("calls,memory,makespan,thousand"):
        assert {each.name for each in row.competitors} <= set(WHERE)
    assert [row.name for row in chosen("memory calls")] == ["calls", "memory"]
    with pytest.raises(ValueError, match="no row is called colls"):
        chosen("colls")


def test_competitors_take_turns_and_what_fails_stays_in_the_file(tmp_path: Path) -> None:
    order: list[tuple[int, str]] = []

    @contextmanager
    def opened(place: Place) -> Iterator[Measure]:
        def measure(competitor: Competitor, number: int) -> Taken:
            order.append((number, competitor.name))
            broken = competitor.name == "peer" and number == 2
            return Taken({}, 3, 3, "it broke") if broken else Taken({"cpu_ms": float(number)}, 0, 3)

        yield measure

    who = (
        Competitor("swarm", "swarm", "ours"),
        Competitor("peer", "Peer", "peer"),
        Competitor("once", "Once", "peer", slow=True),
        Competitor("absent", "Absent", "peer", missing=lambda place: "no engine"),
    )
    row = Row("calls", "Calls", "", (CPU,), who, opened, rounds=3)
    said: list[str] = []
    results = run([row], Place(tmp_path, tmp_path), "make bench", tmp_path / "out.json", said.append)
    first = [(1, "swarm"), (1, "peer"), (1, "once")]
    assert order == [*first, (2, "swarm"), (2, "peer"), (3, "swarm"), (3, "peer")]
    assert load(tmp_path / "out.json") == results
    text = table.section(results.rows[0], results)
    assert "3 of 9: it broke" in text and "Left out: Absent (no engine)." in text
    assert any("left out: absent: no engine" in line for line in said)


def test_a_ratio_is_taken_within_its_round() -> None:
    results = recorded()
    for name, cpu in (("swarm", 0.5), ("slow", 10.0)):  # a disturbance that met one of them alone
        results.samples.append(Sample("calls", name, 3, 0.4, {"cpu_ms": cpu, "calls_s": 1000 / cpu}))
    ours = summed(results, CALLS, "swarm", CPU)
    slow, rate = (summed(results, CALLS, "slow", figure) for figure in (CPU, RATE))
    assert ours and slow and rate and ours_of(CALLS) == WHO[0]
    assert (ours.median, ours.times, slow.times, round(rate.times or 0, 6)) == (0.5, None, 8.0, 8.0)
    assert summed(results, CALLS, "slow", PYTHON) is None


def test_the_table_says_what_is_behind_it_and_the_page_is_filled_between_its_marks() -> None:
    results = recorded()
    page = publishing.filled(
        "a\n<!-- bench: calls -->\nold\n<!-- /bench -->\n<!-- bench: other -->\nkept\n<!-- /bench -->\n", [results]
    )
    assert "old" not in page and "kept" in page and page.startswith("a\n<!-- bench: calls -->\n### Model calls")
    assert "| Slow | **8x** · 8 (4-12) | **8x** · 167 (83.3-250) | 1 of 200: Timeout / x |" in page
    assert "`make bench`, 2026-11-22 16:00, 2 cores (x), Python 3.11.7, commit abc" in page
    assert publishing.filled(page, [results]) == page
    found = {aim.text: aim for aim in aims.found_in([(CALLS, results)])}
    assert [aim.met for aim in found.values()] == [False, True]  # 1 ms is too much; an eighth is less than a fifth


def test_the_aims_of_ray_are_beside_as_many_processes_and_alone() -> None:
    row = Heading(
        "ray-throughput",
        "",
        "",
        (RATE, CPU),
        (Entrant("beside", "", "ours"), Entrant("local", "", "ours"), Entrant("ray", "", "peer")),
    )
    results = recorded()
    results.rows.append(row)
    for name, rate, cpu in (("beside", 2000.0, 0.7), ("local", 1500.0, 0.5), ("ray", 1800.0, 0.75)):
        results.samples.append(Sample(row.name, name, 1, 0.1, {"calls_s": rate, "cpu_ms": cpu}))
    throughput, alone = aims.found_in([(row, results)])
    assert (throughput.met, "0.90 of as many" in throughput.found) == (True, True)
    assert (alone.met, "1.50 times" in alone.found) == (False, True)


def test_versions_stay_on_the_page_where_a_file_tells_none() -> None:
    results = recorded()
    page = "<!-- bench: versions -->\npeer 1.0.\n<!-- /bench -->\n"
    assert publishing.filled(page, [results]) == page
    results.versions["peer"] = {"peer": "2.0"}
    assert publishing.filled(page, [results]) == page.replace("1.0", "2.0")


def test_a_curve_has_a_line_for_each_point(tmp_path: Path) -> None:
    row = Heading("growth", "Growth", "", (CPU,), WHO[:1], Axis("agents", log=True))
    results = recorded()
    results.rows.append(row)
    results.samples += [Sample("growth", "swarm", 1, 0.1, {"cpu_ms": 0.6}, 0, at, "", float(at)) for at in (10, 1000)]
    results.save(tmp_path / "growth.json")
    again = load(tmp_path / "growth.json")
    assert again == results
    assert "| 1,000 | swarm | 0.6 | 0 of 1000 |" in table.text([again])


@pytest.mark.parametrize("text", ["[]", '{"format": "other/1"}', '{"format": "swarm-bench/1"}', "{"])
def test_a_file_that_is_none_of_ours_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError):
        load(tmp_path / "x.json")


def test_the_peers_lock_files_hold_names_versions_and_hashes_only() -> None:
    line = re.compile(r"[a-z0-9-]+==[^ ;]+( ; .+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?|#.*|")
    for name in environments.names():
        path = environments.lock_file(name)
        assert not [text for text in path.read_text(encoding="utf-8").splitlines() if not line.fullmatch(text)], name
        assert environments.asked(name)


def test_runs_beside_each_other_end_with_what_started_them(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[str]] = []
    start = subprocess.Popen

    def instead(command: object, **given: object) -> subprocess.Popen[str]:
        run = start(["sleep", "60"] if started else ["echo", "no JSON"], stdout=subprocess.PIPE, text=True)
        started.append(run)
        return run

    monkeypatch.setattr(subprocess, "Popen", instead)
    with pytest.raises(ValueError, match="Expecting value"):
        ray_throughput.beside(ray_throughput.Load("x", "", 4, 1, 0.0), 2, "http://localhost")
    assert [run.poll() is None for run in started] == [False, False]


def test_rounds_count_from_one() -> None:
    """The caption of a table says how many there were by the last one's number."""
    for file in Path("benchmarks/results").glob("*.json"):
        assert min(sample.round for sample in load(file).samples) == 1, file


def test_rounds_on_ray_count_from_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    @contextmanager
    def child(*command: str, **given: str) -> Iterator[str]:
        yield "ready http://localhost"

    def taken(*given: object) -> dict[str, object]:
        return {"figures": {}, "failed": 0, "of": 1, "error": ""}

    for name, value in (("child", child), ("beside", taken), ("sample", taken), ("IDLE_S", 0.001)):
        monkeypatch.setattr(ray_throughput, name, value)
    out = tmp_path / "ray.json"
    monkeypatch.setattr("sys.argv", ["ray_throughput", "--rounds", "2", "--out", str(out)])
    ray_throughput.main()
    found = load(out)
    assert [sample.round for sample in found.samples] == [1, 1, 1, 2, 2, 2] * len(found.rows)
    monkeypatch.setattr("sys.argv", ["ray_throughput", "--agents", "8"])
    with pytest.raises(SystemExit):  # half a load
        ray_throughput.main()
