"""What the conformance checks are made of: a subject, a verdict, and words to reach it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from swarm.protocols import Sandbox, WorkingCopy


class Nonconforming(AssertionError):
    """A backend does not do what the contract says."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A fresh sandbox under test, and its workspace on the host.

    `copy` is the working copy whose folder the workspace is, begun as `conformance_state.BEGIN` says; `beside` opens
    a sandbox of the same backend over another copy. The checks of state need both.
    """

    sandbox: Sandbox
    workspace: Path
    copy: WorkingCopy | None = None
    beside: Callable[[WorkingCopy], AbstractAsyncContextManager[Sandbox]] | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """One check. `isolation`: it is of no meaning to a backend that isolates nothing."""

    name: str
    what: str
    isolation: bool
    run: Callable[[Subject], Awaitable[None]]


def same(found: object, wanted: object, what: str) -> None:
    if found != wanted:
        raise Nonconforming(f"{what}: {found!r} instead of {wanted!r}")


def holds(found: object, what: str) -> None:
    if not found:
        raise Nonconforming(what)


async def raises(kind: type[OSError], work: Awaitable[object], what: str) -> None:
    try:
        await work
    except OSError as error:
        holds(type(error) is kind, f"{what}: {type(error).__name__} instead of {kind.__name__}")
        return
    raise Nonconforming(f"{what}: no error instead of {kind.__name__}")


async def output_of(subject: Subject, command: str) -> str:
    result = await subject.sandbox.exec(command, timeout=30)
    same(result.exit_code, 0, f"exit code of {command!r} ({result.stderr!r})")
    return result.stdout.decode()


async def runs(subject: Subject, mark: str) -> int:
    """How many processes `sleep MARK` there are inside."""
    listing = "for f in /proc/[0-9]*/cmdline; do tr '\\0' ' ' < $f; echo; done 2>/dev/null"
    found = await subject.sandbox.exec(f"{listing} | grep -c '^sleep {mark} *$' || true")
    return int(found.stdout)


async def nothing_runs(subject: Subject, mark: str) -> None:
    same(await runs(subject, mark), 0, "processes left inside")
