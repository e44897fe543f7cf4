"""What of a conversation is left out when it comes near its model's window: pure, from messages to messages.

The head (what stands before the first assistant's message: system prompt and task) is never touched. An assistant's
message, which may hold a provider's state, is kept as it came or left out whole; the results of its tool calls go with
it. What is shortened, tools' output and long reports, says how much is missing, and where the whole can be read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pydantic_core import to_json

from swarm.journal.artifacts import Artifact, cut, opened_by, where_in
from swarm.types import Message
from swarm.values import value

SUMMARY = "# Summary of your work so far"
"""How the message begins that stands for what was left out."""

RECENT = 2
"""The last turns, whose tool output is shortened only when nothing else helps."""

KEPT_TURNS = 4
"""Turns at most that are kept as they are beside a summary."""

LONG = 1_200
"""Characters of a tool's output that is shortened at first; less is left alone."""

SHORT = 240
"""Characters of it where that is not enough."""

_TOLD = "\n\nYou were told meanwhile:\n"
_MOST_TOLD = 12
_WORDS = 600  # characters of a user's message that a summary quotes
_LINE = 300
_LINES = 12_000

Keep = Callable[[str], Artifact]
"""The artifact that a tool's output would be."""


@value(frozen=True, slots=True)
class Edit:
    """Messages, and the artifacts that hold what was left out of them."""

    messages: list[Message]
    artifacts: tuple[Artifact, ...] = ()
    shortened: int = 0


def size_of(messages: Sequence[Message]) -> int:
    """Bytes of messages as JSON."""
    return sum(len(to_json(message)) for message in messages)


def head_of(messages: Sequence[Message]) -> int:
    """How many messages the head has."""
    return next((at for at, each in enumerate(messages) if _is_body(each)), len(messages))


def _is_body(message: Message) -> bool:
    return message["role"] in ("assistant", "tool") or _is_summary(message)


def _is_summary(message: Message) -> bool:
    return message["role"] == "user" and str(message.get("content") or "").startswith(SUMMARY)


def blocks(messages: Sequence[Message], start: int = 0) -> list[int]:
    """Where blocks begin that belong together, from `start` on: an assistant's message with the tools' answers to it,
    or a user's message."""
    return [at for at, each in enumerate(messages) if at >= start and (each["role"] != "tool" or at == start)]


@value(frozen=True, slots=True)
class Aim:
    """Bytes that messages are to come down to, so that edits are few; and those that they may have at most, which is
    enough where only the last turns are left to be cut."""

    wanted: int
    most: int


def without_output(messages: Sequence[Message], aim: Aim, keep: Keep | None = None) -> Edit:
    """The tools' output shortened, oldest first, as far as it takes: first to head and tail, then to little more than a
    note; that of the last turns last of all, at worst to the note alone. It may not suffice."""
    edited, used = list(messages), size_of(messages)
    kept: dict[int, Artifact] = {}
    head = head_of(messages)
    turns = [at for at in blocks(messages, head) if messages[at]["role"] == "assistant"]
    recent = turns[-RECENT] if len(turns) >= RECENT else head
    output = [at for at in range(head, len(messages)) if _is_output(messages[at])]
    old, new = [at for at in output if at < recent], [at for at in output if at >= recent]
    steps = ((old, LONG, aim.wanted), (old, SHORT, aim.wanted))
    for places, limit, most in (*steps, (new, LONG, aim.most), (new, SHORT, aim.most), (new, 0, aim.most)):
        for at in places:
            if used <= most:
                break
            text = messages[at].get("content")
            if not isinstance(text, str) or len(text) <= limit + _LINE:
                continue
            where = where_in(text)
            if at in kept:
                where = opened_by(kept[at].handle)
            elif not where and keep is not None:
                artifact = keep(text)
                kept[at], where = artifact, opened_by(artifact.handle)
            shorter = {**messages[at], "content": cut(text, limit, where).strip()}
            used += len(to_json(shorter)) - len(to_json(edited[at]))
            edited[at] = shorter
    changed = sum(old is not new for old, new in zip(messages, edited, strict=True))
    return Edit(edited, tuple(kept.values()), changed)


def _is_output(message: Message) -> bool:
    return message["role"] == "tool" or (message["role"] == "user" and not _is_summary(message))


def with_summary(
    messages: Sequence[Message], summary: str, aim: Aim, shorter: Sequence[Message] | None = None
) -> list[Message]:
    """The head, the summary, and as many of the last turns as fit with them into what is wanted; the very last, whose
    results the model has not seen yet, into the most that there may be. `shorter` are the messages with their output
    cut: a turn that does not fit as it is may fit so."""
    head, start = head_of(messages), len(messages)
    used = size_of(messages[:head]) + size_of([_summary_message(messages[head:], summary)])
    tail: list[Message] = []
    turns = 0
    for begin in reversed(blocks(messages, head)):
        room = (aim.wanted if turns else aim.most) - used
        ways = (messages[begin:start], (shorter or messages)[begin:start])
        block = next((way for way in ways if size_of(way) <= room), None)
        if block is None or turns == KEPT_TURNS:
            break
        used += size_of(block)
        turns += messages[begin]["role"] == "assistant"
        tail = [*block, *tail]
        start = begin
    return [*messages[:head], _summary_message(messages[head:start], summary), *tail]


def account(messages: Sequence[Message]) -> str:
    """What an agent said and which tools it used, a line each: for want of a summary. The last lines are kept."""
    lines: list[str] = []
    for message in messages[head_of(messages) :]:
        text = message.get("content")
        if _is_summary(message):
            lines += [line for line in str(text).partition(_TOLD)[0].splitlines()[1:] if line.strip()]
        if message["role"] != "assistant":
            continue
        if isinstance(text, str) and text.strip():
            lines.append(f"- said: {_line(text)}")
        for call in message.get("tool_calls") or ():
            function = call.get("function") or {}
            lines.append(f"- used {function.get('name')}: {_line(str(function.get('arguments') or ''))}")
    kept: list[str] = []
    used = 0
    for line in reversed(lines):
        used += len(line) + 1
        if used > _LINES:
            kept.append(f"[... {len(lines) - len(kept)} earlier lines left out ...]")
            break
        kept.append(line)
    return "\n".join(reversed(kept))


def _summary_message(dropped: Sequence[Message], summary: str) -> Message:
    """The message in the place of others. Short words of the user among them are quoted: they may be orders."""
    quoted: list[str] = []
    for each in dropped:
        text = str(each.get("content") or "")
        if _is_summary(each):
            quoted += [line.removeprefix("- ") for line in text.rpartition(_TOLD)[2].splitlines() if _TOLD in text]
        elif each["role"] == "user" and len(text) <= _WORDS:
            quoted.append(_line(text, _WORDS))
    parts = [SUMMARY, summary.strip()]
    if told := [f"- {text}" for text in dict.fromkeys(quoted) if text][-_MOST_TOLD:]:
        parts.append("\n".join([_TOLD.strip(), *told]))
    return {"role": "user", "content": "\n\n".join(part for part in parts if part)}


def _line(text: str, width: int = _LINE) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else f"{line[:width]} ..."
