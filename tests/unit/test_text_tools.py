"""Tool calls as text: every form that models write, nothing out of prose, and prompts that only grow."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.models.fitting.call_forms import MARKS
from swarm.models.fitting.structured import read_json
from swarm.models.fitting.text_calls import MAX_CALLS, UNREADABLE, find_calls, find_leaked
from swarm.models.fitting.text_tools import PARSED, as_native, as_text, marked, protocol_text, with_system

TOOLS = {
    "shell": {"type": "object", "properties": {"command": {"type": "string"}, "timeout": {"type": "integer"}}},
    "submit": {"type": "object", "properties": {"summary": {"type": "string"}}},
}
SCHEMAS = [
    {"type": "function", "function": {"name": name, "description": name, "parameters": schema}}
    for name, schema in TOOLS.items()
]
LS = {"command": "ls"}
BAR, LOW = "\uff5c", "\u2581"

FORMS = {
    "hermes": '<tool_call>\n{"name": "shell", "arguments": {"command": "ls"}}\n</tool_call>',
    "hermes, encoded twice": '<tool_call>{"name": "shell", "arguments": "{\\"command\\": \\"ls\\"}"}</tool_call>',
    "hermes, fenced": '<tool_call>\n```json\n{"name": "shell", "arguments": {"command": "ls"}}\n```\n</tool_call>',
    "hermes, a comma too many": '<tool_call>{"name": "shell", "arguments": {"command": "ls",},}</tool_call>',
    "hermes, single quotes": "<tool_call>{'name': 'shell', 'arguments': {'command': 'ls'}}</tool_call>",
    "hermes, not closed": '<tool_call>{"name": "shell", "arguments": {"command": "ls"}}',
    "the API's own": '<tool_call>{"type": "function", "function": {"name": "shell", "arguments": '
    '"{\\"command\\": \\"ls\\"}"}}</tool_call>',
    "coder": "<tool_call>\n<function=shell>\n<parameter=command>\nls\n</parameter>\n</function>\n</tool_call>",
    "glm": "<tool_call>shell\n<arg_key>command</arg_key>\n<arg_value>ls</arg_value>\n</tool_call>",
    "llama": '<|python_tag|>{"name": "shell", "parameters": {"command": "ls"}}<|eom_id|>',
    "llama, function": '<function=shell>{"command": "ls"}</function>',
    "mistral": '[TOOL_CALLS][{"name": "shell", "arguments": {"command": "ls"}}]</s>',
    "mistral, new": '[TOOL_CALLS]shell[ARGS]{"command": "ls"}',
    "kimi": "<|tool_calls_section_begin|><|tool_call_begin|>functions.shell:0<|tool_call_argument_begin|>"
    '{"command": "ls"}<|tool_call_end|><|tool_calls_section_end|>',
    "deepseek": f"<{BAR}tool{LOW}calls{LOW}begin{BAR}><{BAR}tool{LOW}call{LOW}begin{BAR}>shell<{BAR}tool{LOW}sep{BAR}>"
    f'{{"command": "ls"}}<{BAR}tool{LOW}call{LOW}end{BAR}><{BAR}tool{LOW}calls{LOW}end{BAR}>',
    "granite": '<|tool_call|>[{"name": "shell", "arguments": {"command": "ls"}}]',
    "phi": '<|tool_call|>{"name": "shell", "arguments": {"command": "ls"}}<|/tool_call|>',
    "minimax": '<minimax:tool_call>\n<invoke name="shell">\n<parameter name="command">ls</parameter>\n</invoke>\n'
    "</minimax:tool_call>",
    "gpt-oss": "<|start|>assistant<|channel|>commentary to=functions.shell <|constrain|>json<|message|>"
    '{"command": "ls"}<|call|>',
    "gpt-oss, open": '<|channel|>commentary to=functions.shell code<|message|>{"command": "ls"}',
    "deepseek, DSML": f'<{BAR}DSML{BAR}function_calls><{BAR}DSML{BAR}invoke name="shell">'
    f'<{BAR}DSML{BAR}parameter name="command" string="true">ls</{BAR}DSML{BAR}parameter></{BAR}DSML{BAR}invoke>'
    f"</{BAR}DSML{BAR}function_calls>",
    "deepseek, old": f"<{BAR}tool{LOW}call{LOW}begin{BAR}>function<{BAR}tool{LOW}sep{BAR}>shell\n```json\n"
    f'{{"command": "ls"}}\n```<{BAR}tool{LOW}call{LOW}end{BAR}>',
}


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_every_form_is_read_and_recognized_as_leaked(text: str) -> None:
    for said in ("", "I look around first.\n"):
        asked, leaked = find_calls(said + text, TOOLS), find_leaked(said + text, TOOLS)
        for found in (asked, leaked):
            assert [(call.name, json.loads(call.arguments)) for call in found.calls] == [("shell", LS)]
            assert found.rest == said.strip()


@pytest.mark.parametrize(
    "text",
    [
        '```json\n{"name": "shell", "arguments": {"command": "ls"}}\n```',
        'First:\n```\n{"name": "shell", "parameters": {"command": "ls"}}\n```\nand then we see.',
        '{"name": "shell", "arguments": {"command": "ls"}}',
    ],
)
def test_bare_json_is_a_call_only_where_calls_are_asked_for_as_text(text: str) -> None:
    assert [call.name for call in find_calls(text, TOOLS).calls] == ["shell"]
    assert not find_leaked(text, TOOLS).calls


@pytest.mark.parametrize(
    "text",
    [
        "I would call shell with {command: ls} now.",
        'The file holds {"name": "shell"} and ```json\n{"name": "other", "arguments": {}}\n```',
        'The answer:\n```json\n{"name": "shell", "price": 3}\n```',
        '<think>perhaps <tool_call>{"name": "shell", "arguments": {}}</tool_call></think>No, I am done.',
        '<think>perhaps <tool_call>{"name": "shell", "arguments": {}}</tool_call>',
        "[1, 2]",
        "",
    ],
)
def test_prose_is_no_call(text: str) -> None:
    assert not find_calls(text, TOOLS).calls
    assert not find_leaked(text, TOOLS).calls


@pytest.mark.parametrize(
    "text",
    [
        FORMS["hermes"] + "\nThis is how Qwen writes a call.",
        "```\n" + FORMS["hermes"],
        '<tool_call>{"name": "unknown", "arguments": {}}</tool_call>',
        '<tool_call>{"name": "shell", "arguments": {"command": </tool_call>',
    ],
)
def test_what_only_speaks_of_calls_has_leaked_none(text: str) -> None:
    assert not find_leaked(text, TOOLS).calls


def test_a_call_that_cannot_be_read_is_told_to_the_model() -> None:
    broken = find_calls('<tool_call>{"name": "shell", "arguments": {"command": "a "b""}}</tool_call>', TOOLS).calls
    assert [(call.name, call.readable) for call in broken] == [("shell", False)]
    assert [call.name for call in find_calls("<tool_call>ls -l</tool_call>", TOOLS).calls] == [UNREADABLE]
    assert find_calls("<tool_call>ls -l", TOOLS).calls
    assert not find_calls('<tool_call>{"name": "sh', TOOLS, cut=True).calls


def test_single_quotes_with_a_backslash_could_mean_two_things() -> None:
    text = "<tool_call>{'name': 'shell', 'arguments': {'command': 'a\\nb'}}</tool_call>"
    assert not find_calls(text, TOOLS).calls[0].readable


def test_results_that_a_model_invents_end_its_turn() -> None:
    text = f'{FORMS["hermes"]}\n<tool_result name="shell">a.py</tool_result>\n{FORMS["hermes"]}'
    found = find_calls(text, TOOLS)
    assert len(found.calls) == 1
    message, _ = marked({"role": "assistant", "content": text}, found, 2)
    assert as_text([message])[0]["content"] == FORMS["hermes"]
    inside = '<tool_call>{"name": "shell", "arguments": {"command": "grep \'<tool_result\' a"}}</tool_call>'
    assert len(find_calls(inside + inside, TOOLS).calls) == 2


PIECES = st.one_of(
    st.text(max_size=20),
    st.sampled_from([mark for _, opening, closing in MARKS for mark in (opening, closing)]),
    st.sampled_from(
        ["{", "}", '"', "'", "[", "]", ",", "```", "</think>", "<think>", "<parameter=", "<tool_result", "\n"]
    ),
    st.sampled_from(list(FORMS.values())),
)


@given(st.lists(PIECES, max_size=12).map("".join))
def test_no_text_crashes_it(text: str) -> None:
    for found in (find_calls(text, TOOLS), find_calls(text, TOOLS, cut=True), find_leaked(text, TOOLS)):
        for call in found.calls:
            if call.readable:
                assert isinstance(json.loads(call.arguments), dict)
    assert all(call.name in TOOLS for call in find_leaked(text, TOOLS).calls)
    read_json(text, {"type": "object"})


@given(st.text())
def test_text_without_marks_or_names_is_never_a_call(text: str) -> None:
    if "shell" not in text and "submit" not in text and not any(opening in text for _, opening, _ in MARKS):
        assert find_calls(text, TOOLS).calls == ()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_what_is_written_in_our_form_is_read_back(arguments: dict[str, Any]) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "shell", "arguments": json.dumps(arguments)}}
    [message] = as_text([{"role": "assistant", "content": None, "tool_calls": [call]}])
    [read] = find_calls(message["content"], TOOLS).calls
    assert (read.name, json.loads(read.arguments)) == ("shell", arguments)


@pytest.mark.parametrize("piece", ["<tool_call>", "<tool_call>{", "[TOOL_CALLS]", "```", "{", "<function=x>", '{"a":'])
def test_a_long_answer_is_no_attack(piece: str) -> None:
    text = piece * (2_000_000 // len(piece))
    assert len(find_calls(text, TOOLS).calls) <= MAX_CALLS  # a quadratic scan would not come back
    assert not find_leaked(text, TOOLS).calls


def conversation() -> list[dict[str, Any]]:
    found = find_calls(FORMS["hermes"], TOOLS)
    asked, calls = marked({"role": "assistant", "content": FORMS["hermes"]}, found, 2)
    return [
        {"role": "system", "content": "You work."},
        {"role": "user", "content": "Look."},
        asked,
        {"role": "tool", "tool_call_id": calls[0].id, "content": "a.py"},
        {"role": "user", "content": "Go on."},
        {"role": "assistant", "content": "Done."},
    ]


def test_prompts_are_the_same_bytes_and_grow_at_their_end() -> None:
    messages = conversation()
    before = with_system(as_text(messages[:2]), protocol_text(SCHEMAS))
    after = with_system(as_text(messages), protocol_text(SCHEMAS))
    assert (
        json.dumps(after[:2])
        == json.dumps(before)
        == json.dumps(with_system(as_text(messages[:2]), protocol_text(SCHEMAS)))
    )
    assert [message["role"] for message in after] == ["system", "user", "assistant", "user", "assistant"]
    assert after[3]["content"] == '<tool_result name="shell">\na.py\n</tool_result>\n\nGo on.'
    assert PARSED not in json.dumps(after)
    assert '"shell"' in after[0]["content"]


def test_calls_out_of_text_go_back_to_an_api_with_tools_as_calls() -> None:
    messages = conversation()
    sent = as_native(messages)
    assert sent[2]["tool_calls"][0]["function"] == {"name": "shell", "arguments": '{"command": "ls"}'}
    assert sent[2]["tool_calls"][0]["id"] == sent[3]["tool_call_id"]
    assert sent[2]["content"] is None
    assert PARSED not in sent[2]
    plain = [message for message in messages if PARSED not in message]
    assert as_native(plain) is plain, "nothing to do costs nothing"


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ('{"n": 1}', True),
        ('```json\n{"n": 1}\n```', True),
        ('Here {it} is:\n{"n": 1,}\nBye', False),
        ('<think>{"n": 2}</think>Here {it} is: {"n": 1} Bye', True),
        ('{"n": "x"}', False),
        ("no", False),
    ],
)
def test_json_is_found_and_checked(text: str, good: bool) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    content = read_json(text, schema)
    assert (content is not None) == good
    if content:
        assert json.loads(content) == {"n": 1}
