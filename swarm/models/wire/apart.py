"""Work that knows nothing of the task that waits for it, as far as context variables go."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from types import coroutine
from typing import Any, TypeVar

T = TypeVar("T")


@coroutine
def apart(work: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
    """Await it in the same task, but in an empty context. The event loop keeps, as long as a connection is open, the
    context in which it was made, and with that whatever the task stood in: a whole run."""
    context = Context()
    resume: Callable[[Any], Any] = work.send
    given: Any = None
    while True:
        try:
            awaited = context.run(resume, given)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        finally:
            given = None  # else an error that comes out would keep itself, and the task's frames
        try:
            resume, given = work.send, (yield awaited)
        except BaseException as error:  # noqa: BLE001  it is raised inside
            resume, given = work.throw, error
