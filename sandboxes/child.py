"""One child process of this machine, run to its end: streams apart, bounded in time and output, nothing left over.

Pipes and the process itself are watched as file descriptors (pidfd): no thread, no signal handler, and the process
stays unreaped until its group has been killed, so that no reused process id can be hit.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Protocol

import anyio

from swarm.sandboxes.output import HeadTail
from swarm.types import ExecResult

TIMED_OUT = 124
_CHUNK = 1 << 16
_GRACE = 2.0
"""Seconds in which killed processes must have closed their streams."""

_BOUND = 10.0
"""Seconds that the clean-up may take."""


class Family(Protocol):
    """All processes that a child brings forth: how to follow them, and how to end them."""

    async def watch(self) -> None:
        """Runs beside the child, for as long as it lives."""
        ...

    async def end(self, leader: int) -> None:
        """Kill all of them; `leader` is the child's process id, which is still taken. May be called twice."""
        ...


class ProcessGroup:
    """The processes of the child's own group. One that calls setsid() gets away."""

    async def watch(self) -> None:
        return

    async def end(self, leader: int) -> None:
        try:
            os.killpg(leader, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return


async def run_child(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path | None,
    stdin: bytes,
    timeout: float,
    max_output: int,
    family: Family,
    pass_fds: Sequence[int] = (),
) -> ExecResult:
    """Run a program in a session of its own until it ends, and end whatever it left behind.

    Raises:
        OSError: it could not be started.
    """
    started = time.monotonic()
    out, err = HeadTail(max_output), HeadTail(max_output)
    with ExitStack() as stack:
        process = stack.enter_context(_start(argv, env=env, cwd=cwd, stdin=stdin, pass_fds=pass_fds))
        pidfd = os.pidfd_open(process.pid)
        stack.callback(os.close, pidfd)
        assert process.stdout is not None and process.stderr is not None
        try:
            async with anyio.create_task_group() as streams:
                streams.start_soon(family.watch)
                streams.start_soon(_drain, process.stdout.fileno(), out)
                streams.start_soon(_drain, process.stderr.fileno(), err)
                if process.stdin is not None:
                    streams.start_soon(_feed, process.stdin, stdin)
                with anyio.move_on_after(timeout) as limit:
                    await anyio.wait_readable(pidfd)
                with anyio.move_on_after(_BOUND):
                    await family.end(process.pid)
                streams.cancel_scope.deadline = anyio.current_time() + _GRACE
        finally:
            with anyio.move_on_after(_BOUND, shield=True):
                await family.end(process.pid)
                await anyio.wait_readable(pidfd)
            # Whoever is being killed closes the streams when it goes; only one that got away holds on to them.
            with anyio.move_on_after(_GRACE, shield=True):
                for stream in (process.stdout, process.stderr):
                    await _drain(stream.fileno(), HeadTail(0))
            code = process.poll()
    seconds = time.monotonic() - started
    truncated = out.truncated or err.truncated
    if limit.cancelled_caught:
        return ExecResult(TIMED_OUT, out.value(), err.value(), True, truncated, seconds)
    code = 128 + signal.SIGKILL if code is None else code
    return ExecResult(code if code >= 0 else 128 - code, out.value(), err.value(), False, truncated, seconds)


def _start(
    argv: Sequence[str], *, env: Mapping[str, str], cwd: Path | None, stdin: bytes, pass_fds: Sequence[int]
) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        argv,
        bufsize=0,
        stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(env),
        cwd=cwd,
        start_new_session=True,
        pass_fds=pass_fds,
    )
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            os.set_blocking(stream.fileno(), False)
    return process


async def _drain(fd: int, into: HeadTail) -> None:
    while True:
        await anyio.wait_readable(fd)
        try:
            chunk = os.read(fd, _CHUNK)
        except BlockingIOError:
            continue
        if not chunk:
            return
        into.add(chunk)


async def _feed(pipe: IO[bytes], data: bytes) -> None:
    fd = pipe.fileno()
    left = memoryview(data)
    try:
        while left:
            await anyio.wait_writable(fd)
            try:
                left = left[os.write(fd, left[:_CHUNK]) :]
            except BlockingIOError:
                continue
    except BrokenPipeError:
        return  # the command does not want the rest
    finally:
        pipe.close()
