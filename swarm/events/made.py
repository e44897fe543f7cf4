"""The records that each model call and each use of a tool makes, put together without a check of what is typed already:
there are four for each call, and pydantic's checks were half of what making them cost.

Only for what this program itself has made, of the very types of the fields; what comes from a file or a wire is
validated.
"""

from __future__ import annotations

from collections.abc import Callable
from types import NoneType
from typing import Any, NamedTuple, TypeVar

from swarm.events.agent import CallFinished, CallSent, ToolFinished, ToolStarted, Untrainable
from swarm.events.base import EventBase
from swarm.types import JsonObject, Message, ToolCall, ToolErrorKind, ToolResult, ToolStatus

_Made = TypeVar("_Made", bound=EventBase)


def call_sent(trajectory_id: str, call_id: str, attempt: int, prompt_tokens: int, tokens: int, usd: float) -> CallSent:
    """See `CallSent`."""
    return _made(
        CallSent,
        trajectory_id=trajectory_id,
        call_id=call_id,
        attempt=attempt,
        prompt_tokens=prompt_tokens,
        tokens=tokens,
        usd=usd,
    )


def call_finished(
    trajectory_id: str,
    call_id: str,
    place: tuple[int, int, int],
    prefix: tuple[str, int],
    new_messages: list[Message],
    asked: tuple[str, JsonObject, str, int],
    untrainable: Untrainable,
    sent: tuple[float, float],
) -> CallFinished:
    """A call of which nothing is known yet but how it was made. `place`: lineage, turn and attempt; `prefix`: the call
    that it goes on from, and how many of its messages; `asked`: the model, the sampling, the hash of the prompt, and
    the window; `sent`: when, and after how long a wait."""
    return _made(
        CallFinished,
        trajectory_id=trajectory_id,
        lineage_id=place[0],
        call_id=call_id,
        turn=place[1],
        attempt=place[2],
        accepted=False,
        model=asked[0],
        prefix_call_id=prefix[0],
        prefix_messages=prefix[1],
        new_messages=new_messages,
        prompt_sha256=asked[2],
        sampling=asked[1],
        window_tokens=asked[3],
        untrainable=untrainable,
        t_sent=sent[0],
        wait_s=sent[1],
    )


def tool_started(trajectory_id: str, call_id: str, call: ToolCall) -> ToolStarted:
    """See `ToolStarted`."""
    return _made(
        ToolStarted,
        trajectory_id=trajectory_id,
        call_id=call_id,
        tool_call_id=call.id,
        name=call.name,
        arguments=call.arguments,
    )


def tool_finished(
    trajectory_id: str,
    call_id: str,
    call: ToolCall,
    result: ToolResult,
    times: tuple[float, float],
    result_sha256: str,
    first_seen_by: str,
    sandbox_id: str = "",
) -> ToolFinished:
    """How a use of a tool ended; `times`: its start and end, monotonic.

    Raises:
        ValidationError: the tool is not ours, and gave back what can be no record.
    """
    told = _made(
        ToolFinished,
        trajectory_id=trajectory_id,
        call_id=call_id,
        tool_call_id=call.id,
        name=call.name,
        arguments=call.arguments,
        t_start=times[0],
        t_end=times[1],
        status=result.status,
        error=result.error,
        exit_code=result.exit_code,
        result=result.content,
        truncated=result.truncated,
        result_sha256=result_sha256,
        sandbox_id=sandbox_id,
        first_seen_by=first_seen_by if result.submission is None else "",
        ends=result.submission is not None,
    )
    return told if _is_typed(result) else ToolFinished(**dict(told))


def _is_typed(result: ToolResult) -> bool:
    """Whether what a tool gave back is what it is declared to be: it may be of the user's own."""
    kinds = type(result.content), type(result.status), type(result.error), type(result.truncated)
    return kinds == (str, ToolStatus, ToolErrorKind, bool) and type(result.exit_code) in (int, NoneType)


def _made(kind: type[_Made], **fields: Any) -> _Made:
    known = _DEFAULTS.get(kind) or _defaults(kind)
    values = {**known.plain, **fields}  # in the order of the class, as it is written
    for name, make in known.fresh:
        if name not in fields:
            values[name] = make()
    event = kind.__new__(kind)
    _put(event, "__dict__", values)
    _put(event, "__pydantic_fields_set__", known.given)
    _put(event, "__pydantic_extra__", None)
    _put(event, "__pydantic_private__", known.private and known.private.copy())
    return event


class _Defaults(NamedTuple):
    """Of a class: its fields with their defaults, which of them are made anew each time, its private attributes, and
    the names of all fields, which are told to be given."""

    plain: dict[str, Any]
    fresh: tuple[tuple[str, Callable[[], Any]], ...]
    private: dict[str, Any] | None
    given: set[str]


_put = object.__setattr__
_DEFAULTS: dict[type[EventBase], _Defaults] = {}


def _defaults(kind: type[EventBase]) -> _Defaults:
    fresh: list[tuple[str, Callable[[], Any]]] = []
    plain: dict[str, Any] = {}
    for name, field in kind.model_fields.items():
        plain[name] = None if field.is_required() or field.default_factory is not None else field.default
        if field.default_factory is not None:
            fresh.append((name, field.default_factory))  # type: ignore[arg-type]  # none here takes the data
    private = {name: each.default for name, each in kind.__private_attributes__.items()}
    found = _DEFAULTS[kind] = _Defaults(plain, tuple(fresh), private or None, set(plain))
    return found
