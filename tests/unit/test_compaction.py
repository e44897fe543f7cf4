"""What of a conversation is left out: whatever it holds, it stays one that an endpoint takes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from swarm.agents.compaction import SUMMARY, Aim, account, head_of, size_of, with_summary, without_output
from swarm.journal.artifacts import Artifact
from swarm.types import Message

SYSTEM = {"role": "system", "content": "You work."}
TASK = {"role": "user", "content": "Find the largest word of all files."}


def turn(number: int, *outputs: str, text: str = "", thought: str = "") -> list[Message]:
    """An assistant's message with tool calls, and their results."""
    ids = [f"c{number}.{at}" for at in range(len(outputs))]
    message: Message = {"role": "assistant", "content": text}
    if thought:
        message["reasoning_content"] = thought
    if outputs:
        function = {"name": "bash", "arguments": json.dumps({"command": f"cat {number}"})}
        message["tool_calls"] = [{"id": each, "type": "function", "function": function} for each in ids]
    results = zip(ids, outputs, strict=True)
    return [message, *({"role": "tool", "tool_call_id": each, "content": output} for each, output in results)]


def keep(text: str) -> Artifact:
    return Artifact(f"output-{abs(hash(text)) % 10**12:012d}", text)


def to(size: int) -> Aim:
    return Aim(size, size)


def check(messages: Sequence[Message]) -> None:
    """Each call has its results right behind it, and no result is without its call."""
    open_calls: list[str] = []
    for message in messages:
        if message["role"] == "tool":
            open_calls.remove(message["tool_call_id"])
        else:
            assert not open_calls
            open_calls = [call["id"] for call in message.get("tool_calls") or ()]
    assert not open_calls


texts = st.text(alphabet="abc é\n", max_size=40)
outputs = st.builds(
    lambda piece, times: piece * times, st.text(alphabet="xyz \né", min_size=1, max_size=8), st.integers(0, 900)
)


@st.composite
def conversations(draw: st.DrawFn) -> list[Message]:
    messages: list[Message] = [SYSTEM, TASK]
    for number in range(draw(st.integers(0, 9))):
        if draw(st.booleans()):
            messages.append({"role": "user", "content": draw(st.one_of(texts, outputs))})
        if draw(st.integers(0, 4)) == 0:
            messages.append({"role": "user", "content": f"{SUMMARY}\n\n{draw(texts)}"})
        results = draw(st.lists(outputs, max_size=3))
        messages += turn(number, *results, text=draw(texts), thought=draw(texts))
    return messages


@given(conversations(), st.integers(0, 20_000))
def test_output_is_shortened_and_nothing_else_is_touched(messages: list[Message], most: int) -> None:
    edit = without_output(messages, to(most), keep)
    assert edit == without_output(messages, to(most), keep)
    assert size_of(edit.messages) <= size_of(messages)
    if size_of(messages) <= most:
        assert edit.messages == messages
    assert len(edit.messages) == len(messages)
    kept = {artifact.handle: artifact.text for artifact in edit.artifacts}
    for old, new in zip(messages, edit.messages, strict=True):
        assert {**old, "content": ""} == {**new, "content": ""}
        if old["role"] in ("system", "assistant") or old is TASK:
            assert old is new
        if new["content"] != old["content"]:
            assert "characters left out" in new["content"]
            assert any(handle in new["content"] and text == old["content"] for handle, text in kept.items())
    check(edit.messages)


@given(conversations(), st.integers(0, 20_000), texts)
def test_a_summary_stands_between_the_task_and_the_last_turns(messages: list[Message], most: int, said: str) -> None:
    made = with_summary(messages, said, to(most))
    head = head_of(messages)
    assert made[:head] == messages[:head]
    assert made[1] is TASK
    assert made[head]["content"].startswith(SUMMARY)
    tail = made[head + 1 :]
    assert not tail or messages[-len(tail) :] == tail
    assert size_of(made) <= max(most, size_of(made[: head + 1]))
    check(made)
    assert with_summary(made, said, to(most))[:head] == messages[:head]


def test_the_oldest_output_goes_first_and_says_where_it_is() -> None:
    outputs = [f"{number} begins\n" + "x" * 5_000 + f"\n{number} ends" for number in range(4)]
    messages = [SYSTEM, TASK, *(each for at in range(4) for each in turn(at, outputs[at], thought="hm"))]
    edit = without_output(messages, to(size_of(messages) - 1_000), keep)
    assert [artifact.text for artifact in edit.artifacts] == [outputs[0]]
    first = edit.messages[3]["content"]
    assert first.startswith("0 begins")
    assert first.endswith("0 ends")
    assert f"of {len(outputs[0])} characters left out; all is in artifact {edit.artifacts[0].handle}: use open" in first
    assert [message["content"] for message in edit.messages[5::2]] == outputs[1:]
    assert edit.messages[2]["reasoning_content"] == "hm"
    least = without_output(messages, to(0), keep)
    assert size_of(least.messages) < 4_000
    again = without_output(least.messages, to(0), keep)
    assert again.messages == least.messages


def test_what_a_tool_itself_kept_is_not_kept_again() -> None:
    said = (
        "head\n[... 90000 characters left out; all is in /tmp/.swarm/output-1.txt: use read or grep ...]\n"
        + "t" * 4_000
    )
    messages = [SYSTEM, TASK, *turn(1, said), *turn(2, "x"), *turn(3, "y")]
    edit = without_output(messages, to(0), keep)
    assert edit.artifacts == ()
    assert "all is in /tmp/.swarm/output-1.txt: use read or grep" in edit.messages[3]["content"]


def test_short_words_of_the_user_outlive_all_summaries() -> None:
    told = {"role": "user", "content": "Finish with what you have."}
    messages = [SYSTEM, TASK, *turn(1, "a" * 3_000), told, *turn(2, "b" * 3_000), *turn(3, "c" * 3_000)]
    once = with_summary(messages, "did one", to(4_000))
    assert told["content"] in once[2]["content"]
    twice = with_summary([*once, *turn(4, "d" * 4_000)], "did two", to(5_000))
    assert told["content"] in twice[2]["content"]
    assert twice[2]["content"].count(SUMMARY) == 1
    assert "did one" not in twice[2]["content"]


def test_an_account_holds_what_was_said_and_used_and_the_account_before() -> None:
    messages = [SYSTEM, TASK, *turn(1, "secret output", text="I look at one."), *turn(2, "more", text="And two.")]
    text = account(messages)
    assert "said: I look at one." in text
    assert 'used bash: {"command": "cat 2"}' in text
    assert "secret output" not in text
    later = [*with_summary(messages, text, to(0)), *turn(3, "", text="Now three.")]
    assert "I look at one." in account(later)
    assert "Now three." in account(later)
    long: list[Any] = [each for at in range(500) for each in turn(at, "out", text=f"word {at} " * 20)]
    assert len(account([SYSTEM, TASK, *long])) < 13_000
    assert "earlier lines left out" in account([SYSTEM, TASK, *long])
