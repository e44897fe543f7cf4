"""The scripted model: which rule and turn answer, what a script may say, and the documented example."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from swarm.embedded.catalog import load_policies
from swarm.embedded.faults import Fault, FaultKind, Faults
from swarm.embedded.policy import Pace, PolicyReply, PolicyRequest
from swarm.embedded.script import Script, ScriptPolicy, load_script
from swarm.errors import UsageError
from swarm.types import Plan

DOCS = Path(__file__).parents[2] / "docs/endpoint.md"
TOOL = {"type": "function", "function": {"name": "bash"}}
PLAN = {"type": "json_schema", "json_schema": {"name": "plan", "schema": {}}}


def ask(script: dict[str, Any], *contents: str, **asked: Any) -> PolicyReply:
    """Ask with user messages, an assistant message between any two."""
    messages: list[dict[str, Any]] = []
    for content in contents:
        messages += [{"role": "assistant", "content": "..."}] if messages else []
        messages.append({"role": "user", "content": content})
    return ScriptPolicy(Script.model_validate(script), "demo.toml").reply(PolicyRequest(tuple(messages), **asked))


def says(content: str, **rule: Any) -> dict[str, Any]:
    return {"turns": [{"content": content}], **rule}


def test_the_role_is_told_by_what_the_request_asks_for() -> None:
    script = {"rules": [says(role, role=role) for role in ("planner", "subagent", "aggregator")]}
    assert ask(script, "x").content == "aggregator"
    assert ask(script, "x", tools=(TOOL,)).content == "subagent"
    assert ask(script, "x", tools=(TOOL,), response_format=PLAN).content == "planner"
    assert ask(script, "x", response_format={"type": "text"}).content == "aggregator"


def test_the_first_rule_that_matches_answers_with_its_groups() -> None:
    arguments = {"path": "{{id}}.py", "lines": ["{{id}}", 1], "{{id}}": "{{other}}"}
    call = {"name": "write", "arguments": arguments}
    script = {
        "rules": [
            says("no", match="^never"),
            {
                "match": r"task (?P<id>\w+)(?P<opt>!)?",
                "turns": [{"content": "{{id}}{{opt}}{{x}}", "tool_calls": [call]}],
            },
            says("default"),
        ]
    }
    reply = ask(script, "do task b7")
    assert reply.content == "b7{{x}}"
    assert json.loads(reply.tool_calls[0].arguments) == {
        "path": "b7.py",
        "lines": ["b7", 1],
        "{{id}}": "{{other}}",
    }
    assert ask(script, "hello").content == "default"


def test_match_searches_where_it_is_told() -> None:
    messages: tuple[dict[str, Any], ...] = (
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "part one"}, {"type": "image_url"}]},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "tool", "tool_call_id": "1", "content": "exit code 1"},
    )

    def fits(match: str, **where: str) -> bool:
        rules = [says("yes", match=match, **where), says("no")]
        policy = ScriptPolicy(Script.model_validate({"rules": rules}), "demo.toml")
        return policy.reply(PolicyRequest(messages)).content == "yes"

    assert fits("part one")
    assert not fits("brief") and fits("brief", where="system") and fits("brief", where="all")
    assert not fits("exit code") and fits("exit code", where="last")


def test_turns_follow_the_assistant_messages() -> None:
    turns = [{"content": "one"}, {"json": {"n": "zwei ü"}}]
    for loop, third in ((True, '{"n": "zwei ü"}'), (False, "done")):
        script = {"rules": [{"loop": loop, "turns": turns}]}
        assert ask(script, "a").content == "one"
        assert ask(script, "a", "b").content == '{"n": "zwei ü"}'
        assert ask(script, "a", "b", "c").content == third


def test_raw_arguments_are_sent_as_they_are() -> None:
    script = {"rules": [{"turns": [{"tool_calls": [{"name": "bash", "raw": '{"command": '}, {"name": "ls"}]}]}]}
    assert [call.arguments for call in ask(script, "x").tool_calls] == ['{"command": ', "{}"]


def test_no_rule_is_a_usage_error_that_names_the_script() -> None:
    with pytest.raises(UsageError, match=r"demo\.toml: no rule fits this aggregator request"):
        ask({"rules": [says("x", role="planner")]}, "x")


def test_pace_is_the_nearest_that_is_set() -> None:
    script = {"first_token_s": 2, "tokens_per_s": 5, "rules": [{"first_token_s": 0, "turns": [{"content": ""}]}]}
    assert ask(script, "x").pace == Pace(0.0, 5.0)
    assert ask({"rules": [says("")]}, "x").pace == Pace()


def test_a_drawn_pace_depends_on_script_and_request_alone() -> None:
    script = {"seed": 1, "rules": [says("", first_token_s={"median": 1.0, "sigma": 0.5})]}
    first = ask(script, "x").pace
    assert first == ask(script, "x").pace
    others = [ask(script, "y"), ask(script, "x", seed=3), ask(script | {"seed": 2}, "x")]
    assert len({first, *(reply.pace for reply in others)}) == 4


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("rules = []", "rules: "),
        ("[[rules]]\nturns = [{}]", r"rules\[0\]\.turns\[0\]: a turn needs"),
        ("[[rules]]\nturns = [{contents = ''}]", r"rules\[0\]\.turns\[0\]\.contents: Extra"),
        ("[[rules]]\nturns = [{content = '', json = {}}]", "not both"),
        (
            "[[rules]]\nmatch = '('\nturns = [{content = ''}]",
            r"rules\[0\]\.match: not a regular expression: missing \)",
        ),
        ("[[rules]]\nrole = 'boss'\nturns = [{content = ''}]", r"rules\[0\]\.role: "),
        ("tokens_per_s = 0\n[[rules]]\nturns = [{content = ''}]", "tokens_per_s: must be greater than 0"),
        ("[[rules]]\nturns = [{content = ''}]\n[[faults]]\nkind = 'cut'", r"faults\[0\]: .*`position` or `rate`"),
        ("[[rules]]\nturns = [{content = ''}]\n[[faults]]\nkind = 'x'\nrate = 1", r"faults\[0\]\.kind: "),
        ("rules = [", "must be valid TOML"),
    ],
)
def test_a_bad_script_is_told_in_one_line_with_file_and_key(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=problem) as caught:
        load_script(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_policy_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    for spec in ("magic", "script:", "repair:x"):
        with pytest.raises(UsageError, match="unknown policy"):
            load_policies(spec)
    with pytest.raises(UsageError, match=r"none\.toml: No such file"):
        load_policies(f"script:{tmp_path}/none.toml")


def test_json_and_toml_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text("[[rules]]\nmatch = 'a'\nturns = [{json = {a = 1}}]\n")
    (tmp_path / "s.json").write_text('{"rules": [{"match": "a", "turns": [{"json": {"a": 1}}]}]}')
    assert load_script(tmp_path / "s.toml") == load_script(tmp_path / "s.json")


def test_faults_strike_by_position_or_by_seeded_rate() -> None:
    cut, error = Fault(kind=FaultKind.CUT, position=(2, 4)), Fault(kind=FaultKind.ERROR, rate=0.25)
    only_cut = Faults((cut,))
    assert [n for n in range(1, 9) if only_cut.at(n)] == [2, 4]
    both = Faults((cut, error), seed=3)
    struck = [n for n in range(1, 2001) if both.at(n) is error]
    assert 400 < len(struck) < 600
    assert struck == [n for n in range(1, 2001) if both.at(n) is error]
    assert struck != [n for n in range(1, 2001) if Faults((cut, error), seed=4).at(n) is error]


def test_the_documented_script_does_what_its_comments_say(tmp_path: Path) -> None:
    found = re.search(r"```toml\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert found is not None
    (tmp_path / "demo.toml").write_text(found[1])
    policies, faults = load_policies(f"script:{tmp_path}/demo.toml")
    assert set(policies) == {"embedded", "embedded:script", "script"}
    policy = policies["embedded"]

    user: dict[str, Any] = {"role": "user", "content": "Write two files\n\nSub-task docs: Document"}
    plan = Plan.model_validate_json(policy.reply(PolicyRequest((user,), response_format=PLAN)).content)
    assert [subtask.id for subtask in plan.subtasks] == ["docs", "code"]

    first = policy.reply(PolicyRequest((user,), tools=(TOOL,)))
    assert first.content == "Working on docs."
    assert [call.name for call in first.tool_calls] == ["write", "bash"]
    assert json.loads(first.tool_calls[0].arguments)["path"] == "docs.txt"
    assert 0 < first.pace.first_token_s < 1 and first.pace.tokens_per_s == 20000
    said = {"role": "assistant", "content": first.content}
    for later in ((user, said), (user, said, user, said)):
        assert "wrote docs.txt" in policy.reply(PolicyRequest(later, tools=(TOOL,))).tool_calls[0].arguments
    assert policy.reply(PolicyRequest((user,))).content == "Both files are there."
    assert policy.reply(PolicyRequest((user, said))).content == "done"

    assert faults is not None
    for position in (2, 5):
        fault = faults.at(position)
        assert fault is not None
        refusal = fault.refusal()
        assert refusal is not None and refusal.headers == {"retry-after": "0.1"}
