"""From a gate's output to a plan, over several stages."""

from __future__ import annotations

import json
from typing import Any

from swarm.embedded.policy import PolicyRequest
from swarm.embedded.repair.policy import RepairPolicy
from swarm.types import Plan

FORM = {"type": "json_schema", "json_schema": {"name": "plan", "schema": {}}}

FAILING = """
=================================== FAILURES ===================================
______________________________ test_split[a - b] _______________________________
tests/test_text.py:9: in test_split
    assert split("a") == 1
pkg/text.py:20: in split
    return cut(s)
pkg/text.py:31: in cut
    raise ValueError(s)
E   ValueError: a
_________________________________ test_cut _________________________________
tests/test_text.py:14: in test_cut
    cut("a")
pkg/text.py:31: in cut
    raise ValueError(s)
E   ValueError: a
_________________________________ test_mean _________________________________
tests/test_stats.py:5: in test_mean
    assert mean([1, 2]) == 1.5
E   assert 3 == 1.5
_________________________________ test_mean_of_one _________________________________
tests/test_stats.py:8: in test_mean_of_one
    assert mean([1]) == 1
E   assert 2 == 1
=========================== short test summary info ============================
FAILED tests/test_text.py::test_split[a - b] - ValueError: a
FAILED tests/test_text.py::test_cut - ValueError: a
FAILED tests/test_stats.py::test_mean - assert 3 == 1.5
FAILED tests/test_stats.py::test_mean_of_one - assert 2 == 1
4 failed in 0.03s
"""
COMMAND = "Test command: `python -m pytest -q`"


def gate(output: str, code: int = 1) -> str:
    return f"Output of the test command (exit code {code}):\n```\n{output}\n```"


def plan(*users: str) -> dict[str, Any]:
    messages = tuple({"role": "user", "content": text} for text in users)
    content = RepairPolicy().reply(PolicyRequest(messages, (), FORM)).content
    Plan.model_validate_json(content)
    found: dict[str, Any] = json.loads(content)
    return found


def test_what_a_command_without_a_failing_test_said_last_is_told() -> None:
    found = plan(gate("collecting\nImportError: no plugin  named x"))
    assert found["subtasks"] == []
    assert found["rationale"].endswith("its output ends with: ImportError: no plugin named x")
    assert plan(gate(""))["rationale"].endswith("shows no failing pytest test.")


def test_one_sub_task_for_each_suspected_fault() -> None:
    subtasks = plan(f"Fix it.\n\n{COMMAND}\n\n{gate(FAILING)}")["subtasks"]
    assert [t["files"] for t in subtasks] == [["pkg/text.py"], []]
    assert "\ntests/test_text.py::test_split[a - b]\ntests/test_text.py::test_cut\n" in subtasks[0]["instructions"]
    assert "function cut" in subtasks[0]["instructions"]
    assert "test_mean\ntests/test_stats.py::test_mean_of_one" in subtasks[1]["instructions"]


def test_many_faults_are_bounded() -> None:
    lines = "\n".join(f"FAILED tests/test_{n}.py::test_x - boom" for n in range(100))
    found = plan(gate(f"=== short test summary info ===\n{lines}"))["subtasks"]
    assert len(found) == 40
    assert sum(t["instructions"].count("::test_x\n") for t in found) == 100
    few = plan(gate(f"=== short test summary info ===\n{lines}") + "\n\nAt most 4 sub-tasks may be asked for in all.")
    assert len(few["subtasks"]) == 4
    first = plan(
        gate(f"=== short test summary info ===\n{lines}") + "\n\nAt most 4 sub-tasks may be asked for from here on."
    )
    assert len(first["subtasks"]) == 3, "one is kept for what is left"


def test_green_ends_and_drops_what_did_not_succeed() -> None:
    stage = "## Stage 1: what came back\n\n- 01-a (Repair x (y)): completed: ok [merged]\n- 02-b (B): failed: none\n"
    found = plan(f"{COMMAND}\n\n{gate(FAILING)}", f"{stage}\n{gate('519 passed', 0)}")
    assert found["subtasks"] == [] and found["dropped"] == ["02-b"]


def test_red_plans_again_for_what_is_left() -> None:
    first = plan(f"{COMMAND}\n\n{gate(FAILING)}")["subtasks"]
    stage = "\n".join(
        f"- {t['id']} ({t['title']}): {how}"
        for t, how in zip(first, ("completed: ok [merged]", "failed: no"), strict=True)
    )
    text_lines = ("FAILED tests/test_text.py::test_split[a - b] - ValueError: a", "FAILED tests/test_text.py::test_cut")
    left = "\n".join(line for line in FAILING.splitlines() if not line.startswith(text_lines))
    found = plan(f"{COMMAND}\n\n{gate(FAILING)}", f"## Stage 1: what came back\n\n{stage}\n\n{gate(left)}")
    (again,) = found["subtasks"]
    assert again["id"].startswith("r2-") and again["replaces"] == [first[1]["id"]] and found["dropped"] == []


def test_the_same_failures_after_a_search_end_it() -> None:
    stage = "## Stage 1: what came back\n\n- 01-a (A): failed: no\n"
    found = plan(f"{COMMAND}\n\n{gate(FAILING)}", f"{stage}\n{gate(FAILING)}")
    assert found["subtasks"] == [] and found["dropped"] == []


def test_what_it_cannot_do_is_said() -> None:
    for text in ("Write a poem.", gate("make: *** [all] Error 1", 2)):
        found = plan(text)
        assert found["subtasks"] == [] and "not a language model" in found["rationale"]


def test_results_are_joined_plainly() -> None:
    text = "# The task\n\nx\n\n# Result of a (A)\n\nOne.\n\n# Result of b (B)\n\nTwo."
    content = RepairPolicy().reply(PolicyRequest(({"role": "user", "content": text},))).content
    assert "not a language model" in content and content.endswith("a (A): One.\n\nb (B): Two.")
