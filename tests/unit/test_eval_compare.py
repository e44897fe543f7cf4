"""Arms held against each other: what is counted, what is left out and told, what is refused."""

from __future__ import annotations

import argparse
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swarm.cli.evals import compare as command
from swarm.errors import UsageError
from swarm.evals.compare.build import Wanted, compare
from swarm.evals.compare.forms import change, estimate, figure
from swarm.evals.compare.model import Comparison, Estimate
from swarm.evals.compare.pareto import frontier
from swarm.evals.compare.tables import markdown
from swarm.evals.records import RESULTS, TrialResult, read_results
from swarm.types import RunStatus
from tests.evaluations import Made, MadeArm, arm, ids, write, write_lines

FEW = Wanted()


def lines(ends: dict[str, dict[str, str]], **more: Any) -> list[TrialResult]:
    """Trials from marks by arm and instance, one an epoch: `+` resolved, `-` not, `!` lost, `.` not run."""
    found = []
    for name, instances in ends.items():
        for instance, marks in instances.items():
            for epoch, mark in enumerate(marks, start=1):
                resolved = {"+": True, "-": False, "!": None}.get(mark)
                error = "" if mark != "!" else f"no place {epoch} for a sandbox"
                trial = TrialResult(
                    instance_id=instance, arm=name, epoch=epoch, resolved=resolved, error=error, run=f"runs/{epoch}",
                    status=RunStatus.COMPLETED, cost_usd=1.0, wall_s=10.0, score=float(mark == "+"), **more,
                )  # fmt: skip
                found += [] if mark == "." else [trial]
    return found


def made(folder: Path, ends: dict[str, dict[str, str]], **more: Any) -> Path:
    instances = list(dict.fromkeys(name for each in ends.values() for name in each))
    epochs = max(len(marks) for each in ends.values() for marks in each.values())
    write(folder, Made([arm(name, 0.5) for name in ends], instances, epochs, **more))
    write_lines(folder, lines(ends))
    return folder


def test_each_trial_once_by_hand(tmp_path: Path) -> None:
    folder = made(
        tmp_path / "e",
        {
            "single": {"a": "++", "b": "--", "c": "+-", "d": "+!", "e": "!!"},
            "plan-4": {"a": "++", "b": "+-", "c": "--", "d": "++", "e": "++"},
        },
    )
    found = compare([folder], FEW)
    single, plan = found.arms
    assert found.instances == ["a", "b", "c", "d"]
    assert single.figures["resolved"].mean.value == pytest.approx((1 + 0 + 0.5 + 1) / 4)
    assert plan.figures["resolved"].mean.value == pytest.approx((1 + 0.5 + 0 + 1) / 4)
    assert single.coverage.model_dump() == {"asked": 10, "graded": 7, "machine": 3, "missing": 0}
    assert plan.coverage.graded == 10
    assert single.machine == {"no place … for a sandbox": 3}
    assert single.by_kind == {"completed, but wrong": 3}
    assert plan.resolved_alone.value == pytest.approx((1 + 0.5 + 0 + 1 + 1) / 5)
    assert [single.pass_at[2].value, single.pass_all[2].value] == pytest.approx([2 / 3, 1 / 3])
    assert single.short == {2: 1}
    assert [single.best_score.value, single.worst_score.value] == pytest.approx([3 / 4, 2 / 4])
    assert found.flips[0].model_dump() == {"arm": "plan-4", "won": 1, "lost": 1, "both": 2, "neither": 0, "mixed": 0}
    assert single.spent_usd == 10.0
    assert any("single: 3 trials of 10 were lost to the machine" in note for note in found.notes)
    assert any("4 instances of 5" in note for note in found.notes)
    [cell, _] = found.rows[3].cells
    assert (cell.resolved, cell.graded, cell.machine) == (1, 1, 1)
    assert [Path(run).name for run, _ in cell.runs] == ["1", "2"]


def test_single_trials_are_tested_by_mcnemar_and_have_wilsons_interval(tmp_path: Path) -> None:
    names = ids(10)
    ends = {"single": dict(zip(names, "++--------", strict=True)), "parl": dict(zip(names, "+-++++++++", strict=True))}
    found = compare([made(tmp_path / "e", ends)], FEW)
    [difference] = [each for each in found.differences if each.metric == "resolved"]
    assert difference.test == "McNemar, exact"
    assert difference.p == pytest.approx(2 * (1 + 9) / 2**9)
    assert difference.difference.value == pytest.approx(0.7)
    assert found.arms[0].figures["resolved"].mean.low == pytest.approx(0.0567, abs=1e-4)
    assert found.flips[0].won == 8


def test_the_same_arm_of_two_folders_on_what_both_ran(tmp_path: Path) -> None:
    configs = {"single": {"max_steps": 40}}
    before = made(tmp_path / "before", {"single": {"a": "+", "b": "-", "c": "+"}}, more={"configs": configs})
    configs = {"single": {"max_steps": 80}}
    after = made(
        tmp_path / "after",
        {"single": {"b": "+", "c": "+", "d": "+"}},
        more={"versions": {"swarm": "2"}, "configs": configs},
    )
    found = compare([before, after], FEW)
    assert [each.label for each in found.arms] == ["single (before)", "single (after)"]
    assert found.instances == ["b", "c"]
    notes = "\n".join(found.notes)
    assert "single (after) was not to run a." in notes
    assert "single (before) was not to run d." in notes
    assert "single (after) against single (before): other settings: max_steps (40 → 80)." in notes
    assert "other versions: python (3.11.2 → none); swarm (1.0 → 2)" in notes
    assert [row.instance_id for row in found.rows if not row.shared] == ["a", "d"]
    assert "| b | ✗ | ✓ |" in markdown(found)


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    one = made(tmp_path / "one", {"single": {"a": "+"}})
    other = made(tmp_path / "other", {"single": {"z": "+"}})
    newer = made(tmp_path / "newer", {"single": {"a": "+"}}, version="2")
    repair = made(tmp_path / "repair", {"single": {"a": "+"}}, suite="repair")
    lost = made(tmp_path / "lost", {"single": {"a": "!"}, "plan-4": {"a": "+"}})
    (tmp_path / "empty").mkdir()
    for folders, wanted, said in (
        ([one, other], FEW, "no instance has a verdict in all"),
        ([one, newer], FEW, "another version of widesearch"),
        ([one, repair], FEW, "another suite"),
        ([lost], Wanted(arms=("single", "plan-4")), "single has no verdict at all"),
        ([one], Wanted(arms=("parl",)), "there is no arm parl"),
        ([one], Wanted(base="parl"), "there is no arm parl"),
        ([tmp_path / "empty"], FEW, "holds no evaluation"),
        ([one, tmp_path / "other/../one"], FEW, "is given twice"),
        ([one], Wanted(ks=(1, 5)), "--k 5 cannot be told: no instance has more than 1 verdict in an arm"),
    ):
        with pytest.raises(UsageError, match=said):
            compare(folders, wanted)
    [left] = (found := compare([lost], FEW)).arms
    assert left.figures["resolved"].mean.value == 1
    assert found.notes[0] == "single has no verdict at all: it is left out."


def test_lines_of_results_are_read_as_a_crash_left_them(tmp_path: Path) -> None:
    folder = made(tmp_path / "e", {"single": {"a": "!", "b": "-"}})
    again = lines({"single": {"a": "+"}, "stranger": {"a": "+"}})
    with (folder / RESULTS).open("a") as file:
        file.write("".join(each.model_dump_json() + "\n" for each in [*again, again[0]]) + '{"instance_id": "b", "ar')
    found = compare([folder], FEW)
    assert found.arms[0].coverage.model_dump() == {"asked": 2, "graded": 2, "machine": 0, "missing": 0}
    assert found.arms[0].spent_usd == 4.0
    assert any("1 trial graded more than once" in note for note in found.notes)
    assert any("does not name are left out: stranger" in note for note in found.notes)
    (folder / RESULTS).write_text('{"instance_id": "b"}\n')
    with pytest.raises(UsageError, match="line 1: arm: Field required"):
        read_results(folder)


def test_costs_that_are_not_known_are_told_and_left_out(tmp_path: Path) -> None:
    folder = write(tmp_path / "e", Made([arm("single", 0.5), MadeArm(arm("plan-4", 0.5).arm, 0.5, cost=None)], ids(6)))
    found = compare([folder], FEW)
    plan = found.arms[1].figures["cost_usd"]
    assert (plan.mean.value, plan.unknown, found.arms[1].spent_usd) == (None, 6, None)
    assert [point.arm for point in found.pictures[0].points] == ["single"]
    assert "| Cost | $" in markdown(found)
    assert any("plan-4: what some trials cost is not known" in note for note in found.notes)


@given(st.lists(st.binary(max_size=40) | st.just(b'{"instance_id": "a", "arm": "x", "resolved": true}')))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_stands_in_the_results_is_read_or_refused(tmp_path: Path, given: list[bytes]) -> None:
    (tmp_path / RESULTS).write_bytes(b"\n".join(given))
    with suppress(UsageError):
        assert all(trial.resolved for trial in read_results(tmp_path))


points = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=9)


@given(points)
@settings(max_examples=60, deadline=None)
def test_whatever_is_off_the_frontier_is_beaten_by_something_on_it(given: list[tuple[float, float]]) -> None:
    best = [point for point, mark in zip(given, frontier(given), strict=True) if mark]
    for price, success in given:
        assert ((price, success) in best) != any(
            x <= price and y >= success and (x, y) != (price, success) for x, y in best
        )


def test_figures_are_written_with_their_units() -> None:
    assert [figure(0.1234, "share"), figure(0.01, "dollars"), figure(61, "seconds")] == ["12.3 %", "$0.0100", "61.0 s"]
    assert figure(3, "count") == "3"
    assert figure(3725, "seconds") == "1:02:05 h"
    assert figure(1234567, "count") == "1.2M"
    assert estimate(Estimate(value=0.5, low=0.25, high=0.75), "share") == "50.0 % (25.0 to 75.0)"
    assert change(Estimate(value=-0.05, low=-0.1, high=0.0), "share") == "-5.0 points (-10.0 to 0.0)"
    assert change(Estimate(), "count") == "unknown"


def told(*given: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args(given))


def test_the_command_writes_markdown_json_and_a_page(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(write(tmp_path / "e", Made([arm("single", 0.4), arm("plan-4", 0.6), arm("parl-4", 0.6)], ids(12), 3)))
    assert told(folder) == 0
    text = capfdbinary.readouterr().out.decode()
    assert text.startswith("# widesearch 1: 3 arms on 12 instances\n")
    assert "## pass^k: all of k trials" in text
    assert (
        told(folder, "--json", "--metric", "resolved,wall_s", "--k", "2", "--base", "parl-4", "--arms", "single,parl-4")
        == 0
    )
    found = Comparison.model_validate_json(capfdbinary.readouterr().out)
    assert ([each.label for each in found.arms], found.base) == (["single", "parl-4"], "parl-4")
    assert list(found.arms[0].figures) == ["resolved", "wall_s"]
    assert list(found.arms[0].pass_at) == [2]
    assert {each.metric for each in found.differences} == {"resolved", "wall_s"}
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert told(folder) == 0
    screen = capfdbinary.readouterr().out.decode()
    assert "Which arm no other beats" in screen
    assert "| single" not in screen
    page = tmp_path / "page.html"
    assert told(folder, "--html", str(page)) == 0
    assert "default-src 'none'" in page.read_text()
    for wrong in (["--k", "0"], ["--metric", "beauty"], ["--confidence", "2"], ["--html", str(tmp_path)]):
        with pytest.raises(UsageError):
            told(folder, *wrong)
