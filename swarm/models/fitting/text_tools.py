"""Tools by a text protocol, for endpoints that have none of their own: told in the system prompt, called in tags,
answered by user messages.

A conversation is kept in the form of the API throughout (`tool` messages, ids), and put into the form of the protocol
on its way out. The same messages always give the same text, and more messages only add to its end, so that prefixes
stay cached and what was sent can be told from the record: the rules below are `PROTOCOL`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from itertools import chain

from swarm.calls import Encoded, ModelRequest
from swarm.journal.open_calls import PARSED as PARSED  # it is never sent
from swarm.models.fitting.text_calls import RESULT_MARK, UNREADABLE, Found
from swarm.types import JsonObject, Message, ToolCall

PROTOCOL = 1
"""The version of the texts below."""

BROKEN = "broken_tool_calls"
"""The key of an assistant's message that holds the ids of its calls whose arguments are no JSON object. Some servers
fail in every later turn when they read such a call again, so it goes back with `{}`; the record keeps what came. It is
never sent."""

_HOW = """\
# Tools

You can use the tools below. Each line is one tool: its name, what it does, and the JSON schema of its arguments.

{tools}

To use a tool, write a call in exactly this form:

<tool_call>
{{"name": "NAME_OF_THE_TOOL", "arguments": {{"NAME_OF_AN_ARGUMENT": "VALUE"}}}}
</tool_call>

Between the tags stands one JSON object and nothing else: double quotes, and \\n for a line end inside a string. For \
several calls write several such blocks. Then stop: the results come in the next message, as <tool_result> blocks. \
Never write a result yourself. An answer without a call is taken as your last word."""


MARKS = frozenset((PARSED, BROKEN))
"""Members of messages that are never sent."""


def marks_of(request: ModelRequest) -> frozenset[str]:
    """Those of `MARKS` that messages of a request have; where these were encoded one by one, it was found out then."""
    encoded, messages = request.encoded, request.messages
    if isinstance(encoded, Encoded) and encoded.count == len(messages):
        return encoded.marks
    return marks_in(messages)


def marks_in(messages: Sequence[Message]) -> frozenset[str]:
    """Those of `MARKS` that one of the messages has."""
    return MARKS.intersection(chain.from_iterable(messages))


def protocol_text(tools: Sequence[JsonObject]) -> str:
    """What is added to the system prompt, so that a model can use `tools` by text."""
    lines = []
    for tool in tools:
        function = tool["function"]
        told = {key: function[key] for key in ("name", "description", "parameters") if key in function}
        lines.append(json.dumps(told, ensure_ascii=False, separators=(",", ":")))
    return _HOW.format(tools="\n".join(lines))


def as_text(messages: Sequence[Message]) -> list[Message]:
    """The messages as the protocol sends them: no tool calls, no tool results, users and assistants in turn."""
    sent: list[Message] = []
    names: dict[str, str] = {}
    for message in messages:
        if message["role"] == "assistant":
            names = {call["id"]: call["name"] for call in _calls_of(message)}
            sent.append(_spoken(message))
            continue
        if message["role"] == "tool":
            name = names.get(message["tool_call_id"], UNREADABLE)
            message = {"role": "user", "content": _result(name, message["content"])}
        follows = sent and sent[-1]["role"] == message["role"] == "user"
        if follows and isinstance(sent[-1]["content"], str) and isinstance(message["content"], str):
            sent[-1] = {"role": "user", "content": f"{sent[-1]['content']}\n\n{message['content']}"}
        else:
            sent.append(message)
    return sent


def as_native(messages: Sequence[Message]) -> Sequence[Message]:
    """The messages as the API has them: calls that were read out of a text become calls, broken ones empty."""
    if not marks_in(messages):
        return messages
    return [_called(message) if PARSED in message or BROKEN in message else message for message in messages]


def with_broken_marked(message: Message) -> Message:
    """An assistant's message with `BROKEN` where one of its calls needs it."""
    calls = message.get("tool_calls") or ()
    broken = [call["id"] for call in calls if not _readable(call["function"]["arguments"])]
    return {**message, BROKEN: broken} if broken else message


def with_system(messages: Sequence[Message], text: str) -> list[Message]:
    """The messages with `text` at the end of the system prompt, which is made where there is none."""
    if messages and messages[0]["role"] in ("system", "developer") and isinstance(messages[0]["content"], str):
        return [{**messages[0], "content": f"{messages[0]['content']}\n\n{text}"}, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]


def marked(message: Message, found: Found, turn: int) -> tuple[Message, tuple[ToolCall, ...]]:
    """The raw message with the calls that were found in it, and the calls. Ids depend on text and turn alone."""
    seed = hashlib.sha256(f"{turn}\n{message.get('content')}".encode("utf-8", "surrogatepass")).hexdigest()[:20]
    calls = tuple(ToolCall(f"text_{seed}_{i}", call.name, call.arguments) for i, call in enumerate(found.calls))
    told = [{"id": c.id, "name": c.name, "arguments": c.arguments} for c in calls]
    return {**message, PARSED: {"form": found.form, "calls": told, "beside": found.rest, "end": found.end}}, calls


def _calls_of(message: Message) -> list[JsonObject]:
    if PARSED in message:
        return list(message[PARSED]["calls"])
    return [{"id": call["id"], **call["function"]} for call in message.get("tool_calls") or ()]


def _plain(message: Message) -> Message:
    """A message without what only we know of it."""
    return {key: value for key, value in message.items() if key not in (PARSED, BROKEN)}


def _spoken(message: Message) -> Message:
    """An assistant's turn as text. One that called tools in the API's way is put into the words of the protocol."""
    plain = _plain(message)
    content = plain.get("content") or ""
    if PARSED in message and isinstance(content, str):
        content = content[: message[PARSED]["end"]]
    if isinstance(content, list):
        content = "".join(str(part.get("text") or "") for part in content)
    calls = plain.pop("tool_calls", None) or []
    written = [_written(call["function"]["name"], call["function"]["arguments"]) for call in calls]
    plain["content"] = "\n".join(part for part in (content, *written) if part)
    return plain


def _written(name: str, arguments: str) -> str:
    try:
        inner = json.dumps({"name": name, "arguments": json.loads(arguments)}, ensure_ascii=False)
    except (ValueError, RecursionError):
        inner = f'{{"name": {json.dumps(name)}, "arguments": {arguments}}}'
    return f"<tool_call>\n{inner}\n</tool_call>"


def _called(message: Message) -> Message:
    """An assistant's turn with its calls in the API's place."""
    plain = _plain(message)
    if PARSED in message:
        plain["content"] = message[PARSED]["beside"] or None
        plain["tool_calls"] = [
            {"id": c["id"], "type": "function", "function": {"name": c["name"], "arguments": c["arguments"]}}
            for c in message[PARSED]["calls"]
        ]
    plain["tool_calls"] = [_sendable(call) for call in plain["tool_calls"]]
    return plain


def _sendable(call: JsonObject) -> JsonObject:
    if _readable(call["function"]["arguments"]):
        return call
    return call | {"function": call["function"] | {"arguments": "{}"}}


def _readable(arguments: str) -> bool:
    try:
        return isinstance(json.loads(arguments), dict)
    except (ValueError, RecursionError):
        return False


def _result(name: str, content: object) -> str:
    return f'{RESULT_MARK} name="{name}">\n{content}\n</tool_result>'
