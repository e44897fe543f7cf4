"""The pure parts of examples/parl: tasks, tokens and how they are read, the frozen sub-agent, the verifier."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.parl.clerk import Clerk
from examples.parl.vocabulary import (
    DONE,
    END,
    FIRST_NAME,
    VOCABULARY,
    encode,
    encode_prompt,
    names_in,
    read_turn,
)
from examples.parl.world import CHAIN, HELD_OUT, NAMES, TRAINED, WIDE, Shape, make_book, part_found, said
from swarm.embedded.policy import PolicyReply, PolicyRequest


def ids(text: str) -> list[int]:
    found = encode(text)
    assert " ".join(VOCABULARY[each] for each in found) == text
    return found


def message(reply: PolicyReply) -> dict[str, object]:
    """The assistant's message as a client sends it back."""
    calls = [{"function": {"name": call.name, "arguments": call.arguments}} for call in reply.tool_calls]
    return {"role": "assistant", "content": reply.content, "tool_calls": calls}


@pytest.mark.parametrize("shapes", [TRAINED, HELD_OUT])
def test_a_book_is_the_same_for_a_seed_and_no_two_tasks_share_an_entry(shapes: tuple[Shape, ...]) -> None:
    book = make_book(shapes, 7)
    assert book == make_book(shapes, 7) != make_book(shapes, 8)
    entries = [entry for task in book for entry in task.answer["holds"]]
    assert len(entries) == len(set(entries)) == sum(shape.least for shape in shapes)
    for task, shape in zip(book, shapes, strict=True):
        assert names_in(task.prompt) == task.answer["wanted"][: 1 if shape.kind == CHAIN else None]
        assert task.prompt.count("(hard)") == shape.hard


def test_what_is_worth_something_is_what_somebody_told() -> None:
    (wide,) = make_book([Shape(WIDE, 2, 1)], 1)
    holds, (one, two) = wide.answer["holds"], wide.answer["wanted"]
    hard, easy = (one, two) if holds[one] in NAMES else (two, one)
    assert part_found(wide, []) == 0
    assert part_found(wide, [f"[completed]\n{said(easy, holds[easy])}; {said(hard, holds[hard])}"]) == 0.5
    assert part_found(wide, [said(easy, holds[easy]), said(holds[hard], holds[holds[hard]])]) == 1
    (chain,) = make_book([Shape(CHAIN, 4)], 1)
    holds, links = chain.answer["holds"], chain.answer["wanted"]
    told = [said(link, holds[link]) for link in links]
    assert part_found(chain, told[:2]) == 0.5
    assert part_found(chain, told[1:]) == 0, "of a chain only what hangs together counts"
    assert part_found(chain, told) == 1


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("<look> buq", [("look_up", {"entry": "buq"})]),
        ("<create>", [("create_subagent", {"name", "system_prompt"})]),
        (
            "<create> <assign> buq dovu <assign> fizo",
            [
                ("create_subagent", {"name", "system_prompt"}),
                ("assign_task", {"agent": "clerk", "prompt": "Look up: buq, dovu"}),
                ("assign_task", {"agent": "clerk", "prompt": "Look up: fizo"}),
            ],
        ),
        ("<assign> buq", [("assign_task", {"agent": "clerk", "prompt": "Look up: buq"})]),
    ],
)
def test_a_turn_is_read_as_calls(text: str, calls: list[tuple[str, object]]) -> None:
    reply = read_turn(ids(text))
    assert reply.content == ""
    for call, (name, arguments) in zip(reply.tool_calls, calls, strict=True):
        found = json.loads(call.arguments)
        assert call.name == name
        assert (found if isinstance(arguments, dict) else set(found)) == arguments


@pytest.mark.parametrize(
    "text",
    ["<look>", "<look> buq dovu", "<assign>", "<assign> <assign> buq", "buq", "<answer> <answer>", "<create> buq"],
)
def test_what_is_no_turn_is_text(text: str) -> None:
    reply = read_turn(ids(text))
    assert reply == PolicyReply(text)
    assert reply.content != DONE


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(FIRST_NAME - 20, len(VOCABULARY) - 1), min_size=1, max_size=8))
def test_a_turn_is_written_back_as_it_was_sampled(sampled: list[int]) -> None:
    """Then a conversation's tokens only grow, and all of it is one training row."""
    reply = read_turn(sampled)
    before = [{"role": "user", "content": "wide: find buq."}]
    prompt = encode_prompt(before)
    after = encode_prompt([*before, message(reply), {"role": "tool", "content": "buq found 7"}])
    if reply.tool_calls or reply.content == DONE:
        assert after[: len(prompt) + len(sampled) + 1] == [*prompt, *sampled, END]


def clerk(prompt: str, holds: dict[str, str]) -> tuple[str, str, int]:
    """How a sub-agent ends: status, summary and steps."""
    messages: list[dict[str, object]] = [{"role": "user", "content": f"The task.\n\nLook up: {prompt}"}]
    for step in range(1, 9):
        (call,) = Clerk().reply(PolicyRequest(tuple(messages))).tool_calls
        arguments = json.loads(call.arguments)
        if call.name == "submit":
            return arguments["status"], arguments["summary"], step
        entry = arguments["entry"]
        result = said(entry, holds[entry]) if entry in holds else f"no entry {entry}"
        messages.append({"role": "tool", "content": result})
    raise AssertionError("it never ends")


def test_the_sub_agent_has_its_limits() -> None:
    holds = {"buq": "17", "dovu": "fizo", "fizo": "23", "guq": "juq", "juq": "kuq"}
    assert clerk("buq", holds) == ("done", "buq found 17", 2)
    assert clerk("dovu", holds) == ("done", "dovu leads fizo; fizo found 23", 3)
    assert clerk("buq, fizo, dovu", holds)[::2] == ("failed", 1)
    assert clerk("buq, dovu", holds)[::2] == ("failed", 3)
    assert clerk("guq", holds)[::2] == ("failed", 3)
    assert clerk("zovu", holds)[::2] == ("failed", 2)
