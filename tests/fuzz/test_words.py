"""What models write: plans, calls of tools in the API's way and as text, delegation, rankings, tables, answers."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from typing_extensions import TypedDict

from swarm.aggregators.judge import _Ranking, ruling
from swarm.aggregators.reduction import read_answer
from swarm.aggregators.rows import structured_rows, text_rows
from swarm.aggregators.union import unite
from swarm.budgets.headcount import Headcount
from swarm.cli import plan_file
from swarm.cli.text import line, tool_use
from swarm.embedded.repair import prompt, worker
from swarm.evals.widesearch.answer import answer_table
from swarm.executors.substance import holds, says
from swarm.models.fitting.call_forms import MARKS
from swarm.models.fitting.probe import _KEY, _begins_as
from swarm.models.fitting.structured import read_json
from swarm.models.fitting.text_calls import MAX_CALLS, find_calls, find_leaked
from swarm.models.fitting.text_tools import as_native, as_text, marked, with_broken_marked
from swarm.orchestrators.delegation import Delegation, Refused
from swarm.prompts.plan_form import plan_format, read_plan
from swarm.rl.tasks import answers, synthetic
from swarm.rl.tasks.task import Task
from swarm.scheduling.plan_graph import problems
from swarm.tools.registry import Toolset, tool
from swarm.types import Plan, ToolStatus
from tests.effort import examples
from tests.fuzz.hostile import DEEP, DIGITS, bent, bent_json, grows_in_step, nested, texts

TOOLS: dict[str, dict[str, Any]] = {
    "shell": {"type": "object", "properties": {"command": {"type": "string"}, "timeout": {"type": "integer"}}},
    "odd": {"properties": [], "type": ["x"]},
}
BAR, LOW = "\uff5c", "\u2581"
ONE = {"id": "one", "title": "t", "instructions": "do", "files": ["a/*", "b/"], "depends_on": [], "kind": "k"}
PLANS: list[Any] = [
    {
        "rationale": "r",
        "subtasks": [
            {**ONE, "group": "g", "result_schema": {"rows": True, "fields": [{"name": "city", "type": "string"}]}},
            {**ONE, "id": "two", "depends_on": ["one"], "group": "g", "budget_share": 0.5, "replaces": ["x"]},
        ],
        "groups": [{"name": "g", "need": 1}],
        "dropped": ["y"],
    },
    {"rationale": "", "subtasks": [{**ONE, "result_schema": {"type": "object"}}], "need": {"g": 1}},
]
FORMS = [
    'I look.\n<tool_call>\n{"name": "shell", "arguments": {"command": "ls"}}\n</tool_call>',
    '<tool_call>{"name": "shell", "arguments": "{\\"command\\": \\"ls\\"}"}</tool_call>',
    "<tool_call>{'name': 'shell', 'arguments': {'command': 'ls',},}</tool_call>",
    "<tool_call><function=odd>\n<parameter=a>\nls\n</parameter>\n</function>\n</tool_call>",
    "<tool_call>odd\n<arg_key>a</arg_key>\n<arg_value>ls</arg_value>\n</tool_call>",
    '<|python_tag|>{"name": "shell", "parameters": {"command": "ls"}}<|eom_id|>',
    '<function=shell>{"command": "ls"}</function>',
    '[TOOL_CALLS]shell[CALL_ID]x[ARGS]{"command": "ls"}',
    '<|tool_call_begin|>functions.shell:0<|tool_call_argument_begin|>{"command": "ls"}<|tool_call_end|>',
    f"<{BAR}tool{LOW}call{LOW}begin{BAR}>function<{BAR}tool{LOW}sep{BAR}>shell\n```json\n{{}}\n```",
    '<think>hm</think>```json\n{"name": "shell", "arguments": {}}\n```',
]
MARKED = [mark for _, opening, closing in MARKS for mark in (opening, closing)]


@settings(max_examples=examples(30))
@given(bent_json(PLANS) | texts(["```json\n" + json.dumps(PLANS[0]) + "\n```", json.dumps(PLANS[1])]))
@example(nested('{"subtasks":', "}"))
@example('{"subtasks": [{"id": ' + DIGITS + "}]}")
@example('{"rationale": "\\ud800", "subtasks": [{"id": "\\ud800"}]}')
@example('{"subtasks": [{"result_schema": {"fields": 3}}], "groups": [3]}')
@example('{"groups": [{"name": [], "need": NaN}], "need": 1}')
@example(f'{{"subtasks": [{{"id": "a", "title": "t", "instructions": "i", "result_schema": {nested()}}}]}}')
def test_a_planners_answer_is_a_plan_or_problems(text: str) -> None:
    plan, wrong = read_plan(text)
    assert (plan is None) == bool(wrong)
    assert len(wrong) <= 10 and all(isinstance(each, str) for each in wrong)
    if plan is not None:
        found = problems(plan, room=5)
        if not found:
            problems(Plan.model_validate_json(plan.model_dump_json()))
    read_json(text, plan_format()["json_schema"]["schema"])


@settings(max_examples=examples(20))
@given(bent(PLANS[1:]) | texts([plan_file.written(Plan.model_validate(PLANS[1]))]))
@example("a" + ".a" * 1_000 + " = 1")
@example("a = " + nested())
@example("rationale = " + DIGITS)
@example("[[subtasks]]\nresult_schema = '" + nested() + "'")
@example("[[subtasks]]\nid = 1979-05-27T07:32:00Z\nbudget_share = nan")
@example("subtasks = [[1]]")
def test_a_plan_as_a_file_is_read_or_told_to_be_wrong(given: Any) -> None:
    text = given if isinstance(given, str) else json.dumps(given)
    plan, wrong = plan_file.read(text, 5)
    assert plan is None or not wrong
    if plan is not None:
        again, _ = plan_file.read(plan_file.written(plan), 5)
        assert again == plan


@settings(max_examples=examples(50))
@given(
    texts(FORMS, [*MARKED, "<think>", "</think>", "<parameter=", "<arg_key>", "<tool_result", "```", "{", "[" * DEEP])
)
@example("<tool_call>" + nested('{"a":', "}"))
@example("[TOOL_CALLS]" + nested())
@example('<tool_call>{"name": "shell", "arguments": ' + DIGITS + "}</tool_call>")
@example('<tool_call>{"name": "shell", "arguments": "' + "[" * DEEP + '"}</tool_call>')
@example("<tool_call>{'a': " + "(" * 500 + "}</tool_call>")
@example("<tool_call><function=odd><parameter=a>1</parameter></function></tool_call>")
@example('<tool_call>{"name": "shell", "arguments": {"command": "\\ud800"}}</tool_call>')
def test_text_is_calls_or_words(text: str) -> None:
    for cut in (False, True):
        found = find_calls(text, TOOLS, cut=cut)
        assert len(found.calls) <= MAX_CALLS
        assert all(isinstance(json.loads(call.arguments), dict) for call in found.calls if call.readable)
        message, calls = marked({"role": "assistant", "content": text}, found, 1)
        assert as_text([message])[0]["role"] == "assistant"
        assert len(as_native([message])[0].get("tool_calls") or ()) == len(calls)
    assert all(call.name in TOOLS for call in find_leaked(text, TOOLS).calls)


@pytest.mark.parametrize("piece", ["<tool_call>", "[TOOL_CALLS]a", "[TOOL_CALLS]a ", "<function=x>", "```\t", "{\"a\":", "'", "</think>", "|-", "| ", "\\", "answer: ", "\n"])  # fmt: skip  # noqa: E501
def test_a_long_answer_is_no_attack(piece: str) -> None:
    """One that takes its time squared would not come back."""
    text = "```" + piece * (400_000 // len(piece))
    assert len(find_calls(text, TOOLS).calls) <= MAX_CALLS
    find_leaked(text, TOOLS)
    text_rows(text)
    read_answer(text, ["a"])
    answers.final_answer(text)
    read_plan(text)
    line(text)


@settings(max_examples=examples(30))
@given(bent_json([{"command": "ls", "timeout": 3}]) | texts(['{"command": "ls"}']))
@example(nested('{"a":', "}"))
@example(nested())
@example(DIGITS)
@example('{"a": "\\ud800"}')
def test_arguments_go_into_the_prompt_and_out_of_it_whatever_they_are(arguments: str) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "shell", "arguments": arguments}}
    message = with_broken_marked({"role": "assistant", "content": None, "tool_calls": [call]})
    assert isinstance(as_text([message])[0]["content"], str)
    sent = as_native([message])[0]["tool_calls"][0]["function"]["arguments"]
    assert isinstance(json.loads(sent), dict)
    _begins_as(arguments, _KEY)
    assert "\n" not in tool_use("shell", arguments)


class Kind(TypedDict, total=False):
    name: str
    sizes: list[int]


@tool
async def made(command: str, kind: Kind | None = None, timeout: float = 1.0) -> str:
    """Tell what was given."""
    return json.dumps([command, kind, timeout])


ARGUMENTS: list[Any] = [{"command": "ls", "kind": {"name": "a", "sizes": [1, 2]}, "timeout": 2.5}]


@pytest.mark.anyio
@settings(max_examples=examples(30))
@given(bent_json(ARGUMENTS) | texts([json.dumps(ARGUMENTS[0])]))
@example(nested())
@example(nested('{"command":', "}"))
@example('{"command": "x", "timeout": ' + DIGITS + "}")
@example('{"command": "x", "timeout": 1e999, "timeout": NaN}')
@example('{"command": "\\ud800", "kind": {"sizes": [1e30]}}')
async def test_arguments_of_any_text_are_told_or_taken(arguments: str) -> None:
    box: Any = None
    result = await Toolset([made]).call("made", arguments, box)
    assert result.status in (ToolStatus.COMPLETED, ToolStatus.FAILED)
    result.content.encode()


@settings(max_examples=examples(30))
@given(st.lists(bent_json([{"name": "a", "system_prompt": "s"}, {"agent": "a", "prompt": "p"}]), max_size=6))
@example(
    [nested(), DIGITS, "", '{"name": "\\u0000", "system_prompt": ""}', '{"agent": "\\u0000", "prompt": "\\u2028"}']
)
@example(['{"name": "a", "system_prompt": ""}', '{"agent": "a", "prompt": "\\u001c x"}'])
def test_delegation_is_followed_or_refused(calls: list[str]) -> None:
    delegation = Delegation(Headcount(3))
    for arguments in calls:
        with contextlib.suppress(Refused):
            delegation.create(arguments)
        with contextlib.suppress(Refused):
            assert delegation.assign(arguments, frozenset()).title


TABLES = [
    "| City | People |\n|:--|--:|\n| Bonn | 1 |\n| Ulm \\| x | 2 |\n",
    '```json\n[{"City": "Bonn", "People": [1]}]\n```',
    '{"rows": [{"City": "Bonn"}], "more": {"a": NaN}}',
    "```markdown\n| City | People |\n|---|---|\n| Bonn | 1.50 |\n```",
]


@settings(max_examples=examples(30))
@given(texts(TABLES, ["|", "\\|", "|-", ":-:", "```", "\x85", "\u2028"]))
@example("|" * 5_000 + "\n" + "|-" * 2_500 + "\n" + "|x" * 2_500)
@example("a|b\n-|-\n" + "x|y\n" * 2_000)
@example("```markdown\n" + "|a" * 3_000 + "```")
def test_any_text_is_rows_or_none(text: str) -> None:
    rows = text_rows(text)
    assert all(isinstance(cell, str) and cell for row in rows for cell in row.values())
    unite([("s", row) for row in rows], ("City",)).markdown()
    with contextlib.suppress(ValueError):
        answer_table(text)
    read_answer(text, ["a", "b"])


@settings(max_examples=examples(20))
@given(bent([[{"City": "Bonn", "n": 1, "more": [1, {"a": None}]}], {"rows": [{"a": 1}], "x": []}]))
def test_any_value_has_rows_and_substance_or_none(value: Any) -> None:
    unite([("s", row) for row in structured_rows(value)], ()).markdown()
    holds(value, {"type": "object", "properties": {"rows": {"items": {"$ref": "#/x"}}}})
    says(str(value))


@settings(max_examples=examples(20))
@given(bent_json([{"reason": "r", "ranking": ["A", "B"]}]))
@example(nested('{"ranking":[', "]}"))
@example(DIGITS)
def test_a_ranking_is_one_or_refused(text: str) -> None:
    with contextlib.suppress(ValueError):
        read = _Ranking.model_validate_json(text.encode("utf-8", "surrogatepass"))
        assert all(isinstance(each, str) for each in read.ranking)
    assert ruling(2, [([1, 0], "r")]) is not None


SAID = [
    "Final answer: **Bonn**",
    "\\boxed{\\frac{1}{2}}",
    "answer = 1,234.5e-3",
    "1. Bonn\n2: Ulm",
    "a: 3\n- `b` | 4 |",
]


@settings(max_examples=examples(30))
@given(texts(SAID, [DIGITS, "\\boxed{" * 200, "answer:", "1e999", "-", "\n\n"]))
@example("1e999")
@example("answer: " + DIGITS)
@example("٣")
def test_an_answer_for_learning_has_a_score(text: str) -> None:
    task = Task(id="t", prompt="p", answer="3")
    assert 0 <= answers.exact(task, text) <= 1
    assert 0 <= answers.number(task, text) <= 1
    for made in (synthetic.batch_tasks(1, [3]), synthetic.deep_tasks(1, [2]), synthetic.wide_tasks(1, [2])):
        assert 0 <= synthetic.score(made.tasks[0], text) <= 1


PROMPT = """## Stage 2
- one (title): failed: x
Test command: `pytest -q`
Output of the test command (exit code 1):
```
FAILED a.py::test - x
```
# Result of one
Sub-task one: a.py::test_a[b c]
At most 3 sub-tasks may be asked for
These files are in conflict. x
- `a.py`
"""


@settings(max_examples=examples(20))
@given(
    texts([PROMPT], ["```", "`", "a.py::", "## Stage 9", DIGITS, "At most " + DIGITS + " sub-tasks may be asked for"])
)
@example(f"## Stage {DIGITS}\nAt most {DIGITS} sub-tasks may be asked for\n")
@example("Output of the test command (exit code " + DIGITS + "):\n```\n```\n")
@example("At most ٣ sub-tasks may be asked for")
def test_a_prompt_is_read_by_the_embedded_policy(text: str) -> None:
    prompt.room(text)
    prompt.stages(text)
    prompt.subtask(text)
    prompt.conflicts(text)
    prompt.node_ids(text)
    prompt.results(text)
    prompt.gates(text)
    prompt.goes_on(text)


@settings(max_examples=examples(20))
@given(bent([[{"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]}]]))
@example([{"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": nested()}}]}])
@example([{"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "[1]"}}]}])
def test_the_embedded_policy_reads_what_it_once_said(given: Any) -> None:
    with contextlib.suppress(AttributeError, TypeError):  # no messages, which the endpoint has checked by then
        assert all(isinstance(step.arguments, dict) for step in worker.steps(given))
    for said in (nested(), "[1]", DIGITS, "{}", json.dumps(given)):
        assert isinstance(worker._report(f"{worker._REPORT}{said}\nx"), dict)


def test_work_grows_with_what_was_written_and_no_faster() -> None:
    def rows(n: int) -> Any:
        return lambda: text_rows("| a | b |\n|-|-|\n" + "| 1 | 2 |\n" * n)

    def many_tables(n: int) -> Any:
        return lambda: text_rows("| a | b |\n|-|-|\n" * n)

    def columns(n: int) -> Any:
        return lambda: text_rows("|".join(["a"] * n) + "\n|-|\n" + "|".join(["1"] * n))

    def calls(n: int) -> Any:
        return lambda: find_calls(FORMS[0] * n, TOOLS)

    def commas(n: int) -> Any:
        return lambda: find_calls("<tool_call>{'a': [" + " ,  " * n + "}</tool_call>", TOOLS)

    def plan(n: int) -> Any:
        parts = [{**ONE, "id": f"s{at}", "files": [f"f{at}"]} for at in range(n)]
        return lambda: read_plan(json.dumps({"rationale": "", "subtasks": parts}))

    assert {make.__name__: grows_in_step(make) for make in (rows, many_tables, columns, calls, commas, plan)} == {
        "rows": True,
        "many_tables": True,
        "columns": True,
        "calls": True,
        "commas": True,
        "plan": True,
    }
