"""Messages as bytes: pickled, but for how dataclasses and events are taken apart, which Python's way makes the dearest
part of all that a call costs on its way home."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from operator import attrgetter
from typing import Any

from pydantic import BaseModel

_Way = Callable[[Any], Any]


class _Ways(dict[type, _Way]):
    """How objects of a type are taken apart, found at the first."""

    def __missing__(self, kind: type) -> _Way:
        if issubclass(kind, type):
            raise KeyError(kind)  # a class is sent by its name
        way = self[kind] = _way(kind)
        return way


def _way(kind: type) -> _Way:
    if is_dataclass(kind) and "__slots__" in vars(kind) and all(each.init for each in fields(kind)):
        names = [each.name for each in fields(kind)]
        if len(names) > 1:
            values = attrgetter(*names)
            return lambda value: (kind, values(value))
        return lambda value: (kind, tuple(getattr(value, name) for name in names))
    if issubclass(kind, BaseModel) and kind.model_config.get("extra") != "allow":
        return lambda model: (_model, (kind, vars(model), model.__pydantic_fields_set__, model.__pydantic_private__))
    return lambda value: value.__reduce_ex__(5)


def _model(kind: type[BaseModel], values: Any, given: Any, private: Any) -> BaseModel:
    """A model as it was: it was checked when it was made."""
    model = kind.__new__(kind)
    _put(model, "__dict__", values)
    _put(model, "__pydantic_fields_set__", given)
    _put(model, "__pydantic_extra__", None)
    _put(model, "__pydantic_private__", private)
    return model


_put = object.__setattr__


class _Packer(pickle.Pickler):
    dispatch_table = _Ways()


def pack(messages: Sequence[Any]) -> bytes:
    """Messages as bytes."""
    out = io.BytesIO()
    _Packer(out, protocol=5).dump(messages)
    return out.getvalue()


def unpack(data: bytes) -> Any:
    """The messages again; from one's own processes alone."""
    return pickle.loads(data)
