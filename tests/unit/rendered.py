"""What models are shown, rendered for made-up runs: the golden files hold it. `python -m tests.unit.rendered` prints it
as JSON, for a process with another hash seed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from swarm.agents.agent import _NUDGE as AGENT_NUDGE
from swarm.agents.checkpoints import RESTARTED
from swarm.agents.landing import FINISH_ANSWER
from swarm.orchestrators.delegation import SCHEMAS
from swarm.orchestrators.parl import _NUDGE as ORCHESTRATOR_NUDGE
from swarm.prompts.messages import (
    agent_report,
    gate_report,
    judge_request,
    merge_request,
    orchestrator_request,
    plan_problems,
    planner_request,
    ranking_format,
    single_request,
    sources_lost,
    stage_report,
    subagent_request,
)
from swarm.prompts.plan_form import plan_format, read_plan
from swarm.prompts.repairs import Case, repair_instructions
from swarm.prompts.texts import own_prompts
from swarm.scheduling.plan_graph import problems
from swarm.scheduling.stragglers import FINISH, FINISH_WORK
from swarm.stages import GateReport, Merged, RunState, StageReport
from swarm.types import AgentResult, Outcome, Plan, SubTask

TASK = "Make the calendar accept years before 1970, and say in CHANGES.md what changed."
TEST = "pytest -q"
TREE = (
    "CHANGES.md\ncalendar/__init__.py\ncalendar/parse.py\ncalendar/zones.py\ntests/test_parse.py\ntests/test_zones.py"
)
RED = "FAILED tests/test_parse.py::test_old_year - ValueError: year 1969 is out of range\n1 failed, 41 passed in 0.52s"

PLAN = Plan(
    rationale="Parsing and zones can be mended apart.",
    subtasks=(
        SubTask(
            id="parse",
            title="Parse years before 1970",
            instructions="`parse.py::year` refuses years before 1970. Take them.\nCheck: pytest -q tests/test_parse.py",
            files=("calendar/parse.py", "tests/test_parse.py"),
            kind="fix",
        ),
        SubTask(
            id="zones",
            title="Zones before 1970",
            instructions="`zones.py` looks offsets up by a positive timestamp. Allow negative ones.",
            files=("calendar/zones.py",),
            kind="fix",
        ),
        SubTask(
            id="changes",
            title="Say what changed",
            instructions="Write two lines into CHANGES.md.",
            depends_on=("parse", "zones"),
            files=("CHANGES.md",),
        ),
    ),
)


def result(name: str, outcome: Outcome, text: str, *, keep: bool = False) -> AgentResult:
    return AgentResult(name, name, outcome, text, "submitted", keep=keep, commit="c0ffee" if keep else None)


RESULTS = (
    result(
        "parse", Outcome.COMPLETED, "year() takes 1..9999.\nChecked: tests/test_parse.py, 12 passed.\n\nLeft: none.",
        keep=True,
    ),
    result("zones", Outcome.FAILED, "The table of offsets begins in 1970: without another source I cannot go on."),
    result("changes", Outcome.SKIPPED, "it depends on zones, which did not complete"),
)  # fmt: skip
GATE = GateReport(TEST, 1, RED, False, 3.0)
STAGE = StageReport(1, PLAN, RESULTS, Merged("", "c1", evicted={}), GATE)
CONFLICT = StageReport(
    2, PLAN, RESULTS[:1], Merged("", "c1", evicted={"parse": "conflict with what was merged before in parse.py"}), GATE
)
STATE = RunState(TASK, TEST, TREE, GATE)
WIDE = RunState("Which of these ten libraries still support Python 3.8?", None, "", None)


def _blocks(**blocks: Any) -> str:
    shown = [
        f"=== {name.replace('_', ' ')} ===\n{block if isinstance(block, str) else json.dumps(block, indent=2)}\n"
        for name, block in blocks.items()
    ]
    return "\n".join(shown)


def _planner_first() -> str:
    return _blocks(system=own_prompts()["planner"], user=planner_request(STATE, 64, 3), response_format=plan_format())


def _planner_without_repository() -> str:
    return _blocks(user=planner_request(WIDE, 12, 3))


def _planner_again() -> str:
    return _blocks(
        after_failures_with_a_red_gate=stage_report(STAGE, 61, 2), after_a_conflict=stage_report(CONFLICT, 60, 1)
    )


def _planner_invalid() -> str:
    task = {"title": "t", "instructions": "do it", "files": ["src/"]}
    unread = {"subtasks": [{"id": "a b", "title": "", "needs": []}, {"id": "b", **task, "depends_on": "a"}]}
    ring = [{"id": "a", **task, "depends_on": ["b"]}, {"id": "b", **task, "depends_on": ["a"]}]
    wrong = [{"id": "a", **task}, {"id": "a", **task}, {"id": "b", **task, "depends_on": ["ghost"]}]
    said = {}
    for name, answer in (("form", unread), ("cycle", {"subtasks": ring}), ("graph", {"subtasks": wrong})):
        plan, found = read_plan(json.dumps(answer))
        said[name] = plan_problems(problems(plan, room=2) if plan is not None else found)
    return _blocks(**said, prose=plan_problems(read_plan("Sure! I would begin with the tests.")[1]))


def _subagent() -> str:
    needed = [(PLAN.subtasks[0].title, RESULTS[0])]
    return _blocks(
        system=own_prompts()["subagent"],
        user_without_dependencies=subagent_request(TASK, TEST, PLAN.subtasks[0], []),
        user_with_dependencies=subagent_request(TASK, TEST, PLAN.subtasks[2], needed),
    )


def _single() -> str:
    return _blocks(system=own_prompts()["single"], user=single_request(STATE))


def _orchestrator() -> str:
    return _blocks(
        system=own_prompts()["orchestrator"],
        user=orchestrator_request(STATE, 64),
        tools=list(SCHEMAS),
        answer_to_assign_task=agent_report(RESULTS[0], STAGE),
        answer_to_another=agent_report(RESULTS[0], CONFLICT),
        user_after_the_stage=gate_report(GATE),
    )


def _aggregator() -> str:
    parts = [("first (PyPI names a to m)", "alpha: yes\nbeta: no"), ("second/1 (part 1 of 2)", "nano: yes")]
    return _blocks(
        system=own_prompts()["aggregator"],
        user=merge_request(WIDE.task, parts, ["first", "second/1"]),
        user_where_a_source_was_lost=sources_lost(["second/1"]),
    )


def _judge() -> str:
    answers = [("A", "Six of them."), ("B", "Five: alpha, beta, gamma, delta and epsilon. Of nano nothing was found.")]
    return _blocks(
        system=own_prompts()["judge"], user=judge_request(WIDE.task, answers, 40), response_format=ranking_format()
    )


def _on_the_way() -> str:
    return _blocks(
        to_whoever_is_late=FINISH,
        to_a_sub_agent_near_a_limit=FINISH_WORK,
        to_an_orchestrator_near_a_limit=FINISH_ANSWER,
        where_the_sandbox_is_another=RESTARTED,
        to_a_sub_agent_that_says_nothing=AGENT_NUDGE,
        to_an_orchestrator_that_says_nothing=ORCHESTRATOR_NUDGE,
        near_the_end_of_the_window=own_prompts()["compact"],
    )


def _repair() -> str:
    diff = "diff --git a/calendar/parse.py b/calendar/parse.py\n@@ -1 +1 @@\n-EPOCH = 1970\n+EPOCH = None"
    own = "diff --git a/calendar/parse.py b/calendar/parse.py\n@@ -1 +1 @@\n-EPOCH = 1970\n+EPOCH = -1"
    asked = ("zones", "Zones before 1970", PLAN.subtasks[1].instructions, "offsets take negative timestamps", own)
    conflict = Case(
        *asked,
        applies=False,
        reason="conflict with what was merged before in calendar/parse.py (changed by parse)",
        files=["calendar/parse.py"],
        notes=["CONFLICT (content): Merge conflict in calendar/parse.py"],
        others=[("parse", "Parse years before 1970", diff)],
    )
    test = "tests/test_parse.py::test_old_year"
    broken = Case(
        *asked,
        applies=True,
        reason=f"semantic conflict with parse: both apply, but {test} fails",
        tests=[test],
        others=[("parse", "Parse years before 1970", diff)],
        output=RED,
    )
    return _blocks(
        instructions=repair_instructions(conflict), instructions_where_tests_break=repair_instructions(broken)
    )


RENDERED: dict[str, Callable[[], str]] = {
    "planner-first": _planner_first,
    "planner-without-repository": _planner_without_repository,
    "planner-again": _planner_again,
    "planner-invalid": _planner_invalid,
    "subagent": _subagent,
    "single": _single,
    "orchestrator": _orchestrator,
    "aggregator": _aggregator,
    "judge": _judge,
    "on-the-way": _on_the_way,
    "repair": _repair,
}

if __name__ == "__main__":
    sys.stdout.write(json.dumps({name: render() for name, render in RENDERED.items()}))
