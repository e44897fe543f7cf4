"""Messages as bytes: pickled, but for how dataclasses and events are taken apart, which Python's way makes the dearest
part of all that a call costs on its way home. A message goes as its class and its fields, without a call of Python."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from operator import attrgetter
from typing import Any

from pydantic import BaseModel

_Way = Callable[[Any], Any]


class _Fields(dict[type, _Way | None]):
    """How the fields of objects of a type are taken, found at the first; None where Python's way is taken."""

    def __missing__(self, kind: type) -> _Way | None:
        way = self[kind] = _fields(kind)
        return way


class _Ways(dict[type, _Way]):
    """How objects of a type are taken apart that stand in others, found at the first."""

    def __missing__(self, kind: type) -> _Way:
        if issubclass(kind, type):
            raise KeyError(kind)  # a class is sent by its name
        way = self[kind] = _way(kind)
        return way


def _fields(kind: type) -> _Way | None:
    if is_dataclass(kind) and "__slots__" in vars(kind) and all(each.init for each in fields(kind)):
        names = [each.name for each in fields(kind)]
        if len(names) > 1:
            return attrgetter(*names)
        return lambda value: tuple(getattr(value, name) for name in names)
    if issubclass(kind, BaseModel) and kind.model_config.get("extra") != "allow":
        return attrgetter("__dict__", "__pydantic_fields_set__", "__pydantic_private__")
    return None


def _way(kind: type) -> _Way:
    taken = _FIELDS[kind]
    if taken is None:
        return lambda value: value.__reduce_ex__(5)
    if issubclass(kind, BaseModel):
        return lambda model: (_model, (kind, *taken(model)))
    return lambda value: (kind, taken(value))


def _model(kind: type[BaseModel], values: Any, given: Any, private: Any) -> BaseModel:
    """A model as it was: it was checked when it was made."""
    model = kind.__new__(kind)
    _put(model, "__dict__", values)
    _put(model, "__pydantic_fields_set__", given)
    _put(model, "__pydantic_extra__", None)
    _put(model, "__pydantic_private__", private)
    return model


_put = object.__setattr__
_FIELDS = _Fields()


class _Packer(pickle.Pickler):
    dispatch_table = _Ways()


def pack(messages: Iterable[Any]) -> bytes:
    """Messages as bytes; a pair is a word of a channel (see `swarm.executors.ray.messages.Word`)."""
    rows: list[tuple[str | None, type | None, Any]] = []
    for message in messages:
        channel = None
        if type(message) is tuple:
            channel, message = message
        kind = type(message)
        taken = _FIELDS[kind]
        rows.append((channel, None, message) if taken is None else (channel, kind, taken(message)))
    out = io.BytesIO()
    _Packer(out, protocol=5).dump(rows)
    return out.getvalue()


def unpack(data: bytes) -> list[Any]:
    """The messages again; from one's own processes alone."""
    messages = []
    for channel, kind, values in pickle.loads(data):
        if kind is None:
            message = values
        elif issubclass(kind, BaseModel):
            message = _model(kind, *values)
        else:
            message = kind(*values)
        messages.append(message if channel is None else (channel, message))
    return messages
