"""Objects that several threads share: what their methods do is done at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar


class Locked(Protocol):
    """Has a lock that a thread may take again while it holds it."""

    lock: threading.RLock


_Self = TypeVar("_Self", bound=Locked)
_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


def locked(method: Callable[Concatenate[_Self, _Given], _Result]) -> Callable[Concatenate[_Self, _Given], _Result]:
    """A method that one thread at a time is in. It must not wait for anything."""

    @wraps(method)
    def within(self: _Self, /, *args: _Given.args, **options: _Given.kwargs) -> _Result:
        with self.lock:
            return method(self, *args, **options)

    return within
