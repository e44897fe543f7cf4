"""An exception that nobody raised on purpose, from a part of the caller's own or by a defect of ours, as a run's
fault."""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import Iterator
from types import FrameType

from swarm.errors import MachineError, SwarmError
from swarm.shortage import remedy_for, shortage_in, told

_LONGEST = 500
_LAST_LINES = 30
_BETWEEN = sys.stdlib_module_names | {"aiosqlite", "anyio", "langgraph", "langchain_core", "pydantic", "pydantic_core"}
"""Packages that stand between us and a part of the caller's own."""


def fault_of(error: Exception, what: str = "") -> SwarmError:
    """What ended a run, with the end of the traceback in its details and the error as its cause. One that was raised on
    purpose, and is only wrapped in a group, is given as it is; `what` names what the machine failed at, where it did.
    """
    first = innermost(error)
    if isinstance(first, SwarmError):
        return first
    if isinstance(short := shortage_in(error), Exception):  # a full disk is nobody's defect, wherever it shows
        fault = MachineError(f"{what}: {told(short)}" if what else told(short), remedy=remedy_for(short))
        fault.__cause__ = error
        return fault
    part, ours = _part(first)
    text = " ".join(f"{type(first).__name__}: {first}".rstrip(": ").split())[:_LONGEST]
    if what and ours:
        fault = MachineError(f"{what}: {first}")
    else:
        fault = MachineError(f"{part} raised {text}", remedy="this is a defect of swarm" if ours else "mend that part")
    fault.details = _told(first)
    fault.__cause__ = error
    return fault


def innermost(error: Exception) -> Exception:
    """What went wrong, without the groups that it came in: of several the first that nobody raised on purpose."""
    leaves = list(_leaves(error))
    return next((leaf for leaf in leaves if not isinstance(leaf, SwarmError)), leaves[0])


def blame_a_part(error: asyncio.CancelledError) -> None:
    """Nothing where this task is being cancelled. Else a part has let out the cancellation of a task of its own, which
    would end others as if somebody had wished it.

    Raises:
        RuntimeError: in its place.
    """
    task = asyncio.current_task()
    if task is not None and not task.cancelling():
        said = RuntimeError("it was cancelled from inside, as by a task of its own")
        raise said.with_traceback(error.__traceback__) from error


def _told(error: Exception) -> str:
    """The end of the traceback, without what stands between our code and the caller's."""
    frames = list(zip(traceback.walk_tb(error.__traceback__), traceback.extract_tb(error.__traceback__), strict=True))
    ours = [s for n, ((frame, _), s) in enumerate(frames, 1) if n == len(frames) or not _is_between(_module(frame))]
    stack = traceback.StackSummary.from_list([(s.filename, s.lineno or 0, s.name, s.line) for s in ours])
    lines = "".join([*stack.format(), *traceback.format_exception_only(error)]).splitlines()
    return "\n".join(["Traceback, the most recent call last:", *lines[-_LAST_LINES:]])


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _is_between(module: str) -> bool:
    return module.partition(".")[0] in _BETWEEN


def _part(error: Exception) -> tuple[str, bool]:
    """Whose code an exception came out of: what we called last that is not ours, else our own function."""
    name, ours = "swarm", True
    for frame, _ in traceback.walk_tb(error.__traceback__):
        module = _module(frame)
        if _is_between(module):
            continue
        if module.partition(".")[0] == __package__:
            name, ours = f"{module}.{frame.f_code.co_qualname}", True
        elif ours:
            name, ours = f"{module}.{frame.f_code.co_qualname}", False
    return name, ours


def _leaves(error: Exception) -> Iterator[Exception]:
    if isinstance(error, ExceptionGroup):
        for part in error.exceptions:
            yield from _leaves(part)
    else:
        yield error
