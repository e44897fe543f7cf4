"""The embedded endpoint's tokenizer: a token is at most four bytes of UTF-8. Deterministic, and it can be undone.

The ids of a prompt are those of its tools and response format, then of each message: a mark of its role, its text and
its tool calls, a mark of its end; last the mark of the assistant's role. What is sampled, text and calls, follows it
just as it stands in the next prompt: a conversation's ids only grow.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from swarm.embedded.policy import PolicyReply

BYTES_PER_TOKEN = 4

END = 0
"""The id that ends a message."""

_ROLES = {"system": 1, "developer": 2, "user": 3, "assistant": 4, "tool": 5}
_TOOLS, _FORMAT = 6, 7
_MARKS = 16
# Ids of one byte come after the marks, then those of two, three, four; then the same again for the bytes of a call.
_FIRST = (_MARKS, _MARKS + 256, _MARKS + 256 + 256**2, _MARKS + 256 + 256**2 + 256**3)
_CALLS = _MARKS + 256 + 256**2 + 256**3 + 256**4


def count_tokens(text: str) -> int:
    """How many tokens a text has."""
    return -(-len(_bytes(text)) // BYTES_PER_TOKEN)


def encode(text: str, *, call: bool = False) -> list[int]:
    """The ids of a text; `call`: of the name and arguments of a tool call."""
    data, base = _bytes(text), _CALLS if call else 0
    pieces = (data[at : at + BYTES_PER_TOKEN] for at in range(0, len(data), BYTES_PER_TOKEN))
    return [base + _FIRST[len(piece) - 1] + int.from_bytes(piece, "big") for piece in pieces]


def decode(ids: Iterable[int]) -> str:
    """The text of ids, without marks."""
    return b"".join(map(_piece, ids)).decode("utf-8", "surrogatepass")


def sampled(reply: PolicyReply) -> list[int]:
    """The ids of an answer."""
    calls = [_id for call in reply.tool_calls for _id in encode(call.name + call.arguments, call=True)]
    return encode(reply.content) + calls


def prompt_ids(raw: dict[str, Any]) -> list[int]:
    """The ids of a request's prompt, given the request as it came."""
    return list(_prompt(raw))


def _prompt(raw: dict[str, Any]) -> Iterator[int]:
    for mark, key in ((_TOOLS, "tools"), (_FORMAT, "response_format")):
        if raw.get(key):
            yield mark
            yield from encode(json.dumps(raw[key], ensure_ascii=False, separators=(",", ":")))
            yield END
    for message in raw["messages"]:
        yield _ROLES[message["role"]]
        yield from encode(_text(message.get("content")))
        for call in message.get("tool_calls") or ():
            yield from encode(call["function"]["name"] + call["function"]["arguments"], call=True)
        yield END
    yield _ROLES["assistant"]


def _text(content: str | Sequence[dict[str, Any]] | None) -> str:
    if isinstance(content, str) or content is None:
        return content or ""
    return "\n".join(str(part.get("text") or "") for part in content)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _piece(token: int) -> bytes:
    value = token - _CALLS if token >= _CALLS else token
    if value < _MARKS:
        return b""
    size = max(size for size, first in enumerate(_FIRST, 1) if value >= first)
    return (value - _FIRST[size - 1]).to_bytes(size, "big")
