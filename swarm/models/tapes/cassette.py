"""A cassette: every exchange of a run with its models in one file, to run it again without them.

JSON lines, UTF-8, whole or not there; one that was broken off by a crash is good up to its last whole line. Kinds, by
the key `kind`:

- `head`, the first line: `version`, the `models` by role (name, endpoint, dollars), what the order of things hangs on
  (`concurrency`, `max_agents`, `mode`, `seed`).
- `tools`: a list of tools that requests name by its `sha256`.
- `sent`: a request was made. `key` is [run, trajectory, turn, attempt] (the runs of one process are numbered, turn and
  attempt count from 1). Its messages are the first `kept` ones of the trajectory's request before, and `messages`;
  `options` is all else that a model takes notice of; `sha256` is that of the whole, before secrets were taken out.
- `done`: how the request with that `key` ended: a `reply`, a `fault`, or neither where the run itself gave it up. One
  without a `sent` was refused admission. `t_sent`, `t_first_token`, `t_done` are seconds since the head was written.
- `told`: a line that the user was told about the endpoints.
- `end`, the last line of a whole cassette, with the `windows` (tokens) of the models by role, where they were known.

The order of the lines is that of the events. Secrets are replaced as in the journal; headers are never in it.
"""

from __future__ import annotations

import hashlib
import math
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from swarm.calls import Ask, ModelReply, ModelRequest
from swarm.config import Price
from swarm.errors import EndpointError, EndpointFault, UsageError
from swarm.types import JsonObject, Message, ToolCall, Usage

VERSION = 1

Key = tuple[int, str, int, int]
"""Run, trajectory, turn, attempt."""


MAX_LINE = 256 << 20
MAX_CASSETTE = 4 << 30
"""Bytes of one line, and of a whole cassette. Somebody else may have made it."""

_MAX_TOKENS = 10**12


def _counted(usage: Usage) -> Usage:
    if not all(0 <= count <= _MAX_TOKENS for count in usage.model_dump().values()):
        raise ValueError("these are no numbers of tokens")
    return usage


def _finite(price: Price | None) -> Price | None:
    for each in (price, *price.above.values()) if price is not None else ():
        numbers = (each.prompt, each.completion, each.cached or 0.0, each.reasoning or 0.0)
        if not all(map(math.isfinite, numbers)):
            raise ValueError("a price is a number")
    return price


def _said(message: Message) -> Message:
    """A reply is a model's: nobody else speaks through it."""
    if message.get("role", "assistant") != "assistant":
        raise ValueError("a reply is the assistant's")
    return message


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class RecordedModel(_Line):
    name: str
    endpoint: str
    price: Annotated[Price | None, AfterValidator(_finite)] = None


class Head(_Line):
    kind: Literal["head"] = "head"
    version: Literal[1] = 1
    mode: str
    seed: int | None
    concurrency: int
    max_agents: int
    models: dict[str, RecordedModel]


class Tools(_Line):
    kind: Literal["tools"] = "tools"
    sha256: str
    tools: list[JsonObject]


class Sent(_Line):
    kind: Literal["sent"] = "sent"
    key: Key
    kept: int = Field(ge=0)
    messages: list[Message]
    tools: str = ""
    options: JsonObject
    sha256: str


class Reply(_Line):
    message: Annotated[Message, AfterValidator(_said)]
    content: str
    tool_calls: list[tuple[str, str, str]]
    finish_reason: str
    usage: Annotated[Usage, AfterValidator(_counted)]
    model: str
    policy_version: str = ""
    fitted: JsonObject = Field(default_factory=dict)


class Fault(_Line):
    kind: EndpointFault
    message: str
    remedy: str = ""
    retry_after: float | None = None
    status: int | None = None
    completion_tokens: int = 0
    elsewhere: bool = False


class Done(_Line):
    kind: Literal["done"] = "done"
    key: Key
    reply: Reply | None = None
    fault: Fault | None = None
    t_sent: float = 0.0
    t_first_token: float = 0.0
    t_done: float = 0.0


class Told(_Line):
    kind: Literal["told"] = "told"
    run: int
    text: str


class End(_Line):
    kind: Literal["end"] = "end"
    windows: dict[str, Annotated[int, Field(gt=0, le=_MAX_TOKENS)]] = Field(default_factory=dict)


Line = Head | Tools | Sent | Done | Told | End
_ANY: TypeAdapter[Line] = TypeAdapter(Annotated[Line, Field(discriminator="kind")])


_REMEDY = "name a file that --record wrote"


def read_cassette(path: Path) -> tuple[Head, list[Line]]:
    """The head and all other lines. A last line that is not whole is left out.

    Raises:
        UsageError: the file cannot be read or is no cassette.
    """
    lines: list[Line] = []
    try:
        for text in _whole_lines(path):
            lines.append(_ANY.validate_json(text))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}", remedy=_REMEDY) from None
    except ValidationError as error:
        why = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise UsageError(f"{path}, line {len(lines) + 1}: {why}", remedy=_REMEDY) from None
    if not lines or not isinstance(lines[0], Head):
        raise UsageError(f"{path}: no recorded run", remedy=_REMEDY)
    return lines[0], lines[1:]


def _whole_lines(path: Path) -> Iterator[bytes]:
    """The lines of a plain file; one that is not whole is left out."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # a pipe would hold us up
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise UsageError(f"{path} is no plain file", remedy=_REMEDY)
        if found.st_size > MAX_CASSETTE:
            raise UsageError(f"{path} has more than {MAX_CASSETTE >> 30} GiB", remedy=_REMEDY)
        while line := file.readline(MAX_LINE):
            if line.endswith(b"\n"):
                yield line[:-1]
            elif len(line) == MAX_LINE:
                raise UsageError(f"{path} has a line of more than {MAX_LINE >> 20} MiB", remedy=_REMEDY)


def key_of(ask: Ask, run: int) -> Key:
    """By which a call is found on a tape."""
    return run, ask.trajectory_id, ask.turn + 1, ask.attempt


def options_of(request: ModelRequest) -> JsonObject:
    """All of a request that shapes its answer, but for messages and tools."""
    options: dict[str, Any] = {
        "response_format": request.response_format,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "seed": request.seed,
        "max_tokens": request.max_tokens,
        "tokens": request.tokens or None,
    }
    return {name: value for name, value in options.items() if value is not None}


def sha256_of(parts: Sequence[bytes]) -> str:
    return hashlib.sha256(b"\n".join(parts)).hexdigest()


def reply_line(reply: ModelReply) -> Reply:
    """An answer as a tape keeps it."""
    return Reply(
        message=reply.message,
        content=reply.content,
        tool_calls=[(call.id, call.name, call.arguments) for call in reply.tool_calls],
        finish_reason=reply.finish_reason,
        usage=reply.usage,
        model=reply.model,
        policy_version=reply.policy_version,
        fitted=reply.fitted,
    )


def reply_of(line: Reply, t_sent: float, now: float) -> ModelReply:
    """The recorded reply, as if it had come now."""
    return ModelReply(
        message=line.message,
        content=line.content,
        tool_calls=tuple(ToolCall(*call) for call in line.tool_calls),
        finish_reason=line.finish_reason,
        usage=line.usage,
        model=line.model,
        t_sent=t_sent,
        t_first_token=now,
        t_done=now,
        policy_version=line.policy_version,
        fitted=line.fitted,
    )


def fault_line(error: EndpointError) -> Fault:
    """A fault as a tape keeps it."""
    return Fault(
        kind=error.kind,
        message=error.message,
        remedy=error.remedy,
        retry_after=error.retry_after,
        status=error.status,
        completion_tokens=error.completion_tokens,
        elsewhere=error.elsewhere,
    )


def fault_of(line: Fault) -> EndpointError:
    error = EndpointError(
        line.kind,
        line.message,
        remedy=line.remedy,
        retry_after=line.retry_after,
        status=line.status,
        completion_tokens=line.completion_tokens,
    )
    error.elsewhere = line.elsewhere
    return error
