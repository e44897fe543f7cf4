"""The policy's tokens: words of the tasks and reports, marks of a conversation, and the words of its own acts.

What is sampled is read as a tool parser would read it. A turn is one of

    <look> NAME <end>                                       one use of `look_up`
    <create> <end>, [<create>] (<assign> NAME+)+ <end>      create_subagent, assign_task
    <answer> <end>                                          the task is done

and all else is text: the run takes it for its answer. What was read as calls is written back with the same tokens, so
that a conversation's tokens only grow.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from examples.parl.world import CHAIN, NAMES, WIDE, LookUp
from swarm.embedded.policy import PolicyReply, PolicyToolCall
from swarm.orchestrators.delegation import ASSIGN, CREATE

PAD, END, OTHER = 0, 1, 2
"""Filling; the end of a message; one or more words that are not in the vocabulary."""

ROLES = {"system": 3, "user": 4, "assistant": 5, "tool": 6}
LOOK_TOKEN, CREATE_TOKEN, ASSIGN_TOKEN, ANSWER_TOKEN = 7, 8, 9, 10
_ACTS = ("<look>", "<create>", "<assign>", "<answer>")
_WORDS = (WIDE, CHAIN, "hard", "found", "leads", "completed", "failed", "budget_exhausted", "entry", "now", "left")

VOCABULARY = ("<pad>", "<end>", "<other>", "<system>", "<user>", "<assistant>", "<tool>", *_ACTS, *_WORDS, *NAMES)
_ID = {word: number for number, word in enumerate(VOCABULARY)}
_WORD = re.compile(r"<\w+>|\w+")
FIRST_NAME = _ID[NAMES[0]]

AGENT = "clerk"
AGENT_PROMPT = "You look up the entries that you are told, and report what you found. You can do a few at a time."
DONE = "That is all."
_LIST = "Look up: "


def encode(text: str) -> list[int]:
    """The ids of a text. Words that are not known become one `<other>` where they stand together."""
    ids: list[int] = []
    for word in _WORD.findall(text):
        number = _ID.get(word, OTHER)
        if number != OTHER or ids[-1:] != [OTHER]:
            ids.append(number)
    return ids


def encode_prompt(messages: Iterable[Mapping[str, Any]]) -> list[int]:
    """The ids of a conversation, up to the mark at which the assistant goes on."""
    ids: list[int] = []
    for message in messages:
        ids.append(ROLES[message["role"]])
        ids += _message(message)
        ids.append(END)
    return [*ids, ROLES["assistant"]]


def _message(message: Mapping[str, Any]) -> list[int]:
    content = str(message.get("content") or "")
    if message["role"] == "assistant" and content == DONE:
        return [ANSWER_TOKEN]
    ids = encode(content)
    for call in message.get("tool_calls") or ():
        name, arguments = call["function"]["name"], json.loads(call["function"]["arguments"])
        if name == CREATE:
            ids.append(CREATE_TOKEN)
        elif name == ASSIGN:
            ids += [ASSIGN_TOKEN, *encode(arguments["prompt"].removeprefix(_LIST))]
        else:
            ids += [LOOK_TOKEN, *encode(arguments["entry"])]
    return ids


def read_turn(ids: Sequence[int]) -> PolicyReply:
    """What sampled tokens ask for; `ids` are without the last `<end>`."""
    if list(ids) == [ANSWER_TOKEN]:
        return PolicyReply(DONE)
    if calls := tuple(_calls(ids)):
        return PolicyReply(tool_calls=calls)
    return PolicyReply(" ".join(VOCABULARY[each] for each in ids))


def _calls(ids: Sequence[int]) -> Iterator[PolicyToolCall]:
    match list(ids):
        case [look, name] if look == LOOK_TOKEN and name >= FIRST_NAME:
            yield _call(LookUp.name, entry=VOCABULARY[name])
        case [create, *rest] if create == CREATE_TOKEN and _groups(rest) is not None:
            yield _call(CREATE, name=AGENT, system_prompt=AGENT_PROMPT)
            yield from _assignments(rest)
        case rest if rest and _groups(rest) is not None:
            yield from _assignments(rest)
        case _:
            pass


def _assignments(ids: Sequence[int]) -> Iterator[PolicyToolCall]:
    for group in _groups(ids) or ():
        yield _call(ASSIGN, agent=AGENT, prompt=_LIST + ", ".join(VOCABULARY[each] for each in group))


def _groups(ids: Sequence[int]) -> list[list[int]] | None:
    """The names behind each `<assign>`; None where it is no list of such."""
    groups: list[list[int]] = []
    for each in ids:
        if each == ASSIGN_TOKEN:
            groups.append([])
        elif groups and each >= FIRST_NAME:
            groups[-1].append(each)
        else:
            return None
    return groups if all(groups) else None


def _call(tool: str, **arguments: str) -> PolicyToolCall:
    return PolicyToolCall(tool, json.dumps(arguments))


def names_in(text: str) -> list[str]:
    """The names of entries in a text, in order."""
    return [word for word in _WORD.findall(text) if _ID.get(word, OTHER) >= FIRST_NAME]
