"""One command in a running container through the engine's exec call, its streams read as they come.

Everything that a command starts belongs to one session, led by a small shell of ours inside. That shell keeps the time
limit itself, so that it also holds when nobody is left outside, and ends the whole session before it reports.
A process that calls setsid() and closes its streams gets away until the container is removed.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import anyio
from anyio.abc import ByteStream

from swarm.errors import SandboxError
from swarm.sandboxes.child import TIMED_OUT
from swarm.sandboxes.docker_engine import Engine, dial
from swarm.sandboxes.output import HeadTail
from swarm.types import ExecResult

_GRACE = 1.0
"""Seconds after the limit in which the shell inside must have ended the command."""

_BOUND = 5.0
_HEADER = 8
_STDOUT, _STDERR = 1, 2

_END = """
holds() {
  for fd in /proc/"$1"/fd/*; do
    if [ "$fd" -ef /proc/"$leader"/fd/1 ] || [ "$fd" -ef /proc/"$leader"/fd/9 ]; then return 0; fi
  done
  return 1
}
end() {
  leader=$1
  me=$2
  round=0
  while [ $round -lt 20 ]; do
    found=
    for stat in /proc/[0-9]*/stat; do
      { read -r line < "$stat"; } 2>/dev/null || continue
      pid=${line%% *}
      set -- ${line##*) }
      [ "$1" != Z ] && [ "$pid" != "$leader" ] && [ "$pid" != "$me" ] || continue
      if [ "$4" = "$leader" ] || holds "$pid"; then kill -KILL "$pid" && found=1; fi
    done
    [ -n "$found" ] || return 0
    round=$((round + 1))
  done
}
"""
"""Ends the session $1, but for its leader and the process $2, and whoever else still holds its streams (fields of stat
after the name: state, parent, group, session). Only what every shell has built in."""

_RUN = (
    _END
    + """
echo $$
exec 9>&2 2>/dev/null
{ read -r me rest < /proc/self/stat; sleep "$2" && end $$ "$me"; } </dev/null >/dev/null 9>&- &
if command -v bash >/dev/null; then shell=bash; else shell=sh; fi
(exec "$shell" -c "$1" 2>&9 9>&-)
code=$?
end $$ $$
exit $code
"""
)

_KILL = (
    _END
    + """
exec 2>/dev/null
end "$1" $$
kill -KILL "$1"
exit 0
"""
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where in which container commands run, and as whom (`uid:gid`)."""

    container: str
    workdir: str
    user: str
    env: Mapping[str, str]


async def run_in_container(
    engine: Engine, place: Place, command: str, *, stdin: bytes, timeout: float, max_output: int
) -> ExecResult:
    """Run a shell script to its end, or to its time limit.

    Raises:
        SandboxError: the container or the engine is gone.
    """
    started = time.monotonic()
    argv = ["/bin/sh", "-c", _RUN, "sh", command, str(math.ceil(timeout))]
    name = await _create(engine, place, argv, with_stdin=bool(stdin))
    reader = _Reader(HeadTail(max_output), HeadTail(max_output))
    ended = False
    async with AsyncExitStack() as stack:
        stream = await stack.enter_async_context(await _start(engine, name))
        try:
            async with anyio.create_task_group() as feeding:
                if stdin:
                    feeding.start_soon(_feed, stream, stdin)
                with anyio.move_on_after(timeout) as limit:
                    await reader.read(stream)
                if limit.cancelled_caught:
                    with anyio.move_on_after(math.ceil(timeout) - timeout + _GRACE) as grace:
                        await reader.read(stream)
                    if grace.cancelled_caught:
                        await _kill(engine, place, reader.leader)
                        with anyio.move_on_after(_GRACE):
                            await reader.read(stream)
                ended = True
                feeding.cancel_scope.cancel()
        finally:
            if not ended:  # cancelled, or the connection broke
                with anyio.move_on_after(_BOUND, shield=True):
                    await _kill(engine, place, reader.leader)
    seconds = time.monotonic() - started
    truncated = reader.out.truncated or reader.err.truncated
    if limit.cancelled_caught:
        return ExecResult(TIMED_OUT, reader.out.value(), reader.err.value(), True, truncated, seconds)
    code = await _exit_code(engine, name)
    return ExecResult(code, reader.out.value(), reader.err.value(), False, truncated, seconds)


async def _create(engine: Engine, place: Place, argv: list[str], *, with_stdin: bool) -> str:
    def create() -> Any:
        return engine.client.api.exec_create(
            place.container,
            argv,
            stdin=with_stdin,
            user=place.user,
            workdir=place.workdir,
            environment=dict(place.env),
        )

    created = await engine.call(create, command=True)
    return str(created["Id"])


async def _start(engine: Engine, name: str) -> ByteStream:
    """Start the command; what comes back is the connection itself, from then on the command's streams."""
    body = json.dumps({"Detach": False, "Tty": False}).encode()
    head = (
        f"POST /exec/{name}/start HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\n"
        f"Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    stream = await dial(engine.address)
    try:
        await stream.send(head.encode() + body)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += await stream.receive(1)  # not one byte more: what follows are the streams
        status = answer.split(b" ", 2)[1]
        if status not in (b"101", b"200"):
            with anyio.move_on_after(_GRACE):
                answer += await stream.receive()
            raise SandboxError(f"the engine cannot start a command: {answer.decode(errors='replace').splitlines()[-1]}")
    except (anyio.EndOfStream, anyio.BrokenResourceError) as error:
        await anyio.aclose_forcefully(stream)
        raise SandboxError("the Docker Engine closed the connection") from error
    except BaseException:
        await anyio.aclose_forcefully(stream)
        raise
    return stream


async def _feed(stream: ByteStream, data: bytes) -> None:
    try:
        await stream.send(data)
        await stream.send_eof()
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        return  # the command does not want the rest


async def _kill(engine: Engine, place: Place, leader: str) -> None:
    if not leader:
        return  # it had not begun to tell its session; its own limit ends it
    quiet = Place(place.container, "/", place.user, {})
    name = await _create(engine, quiet, ["/bin/sh", "-c", _KILL, "sh", leader], with_stdin=False)
    async with await _start(engine, name) as stream:
        await _Reader(HeadTail(0), HeadTail(0)).read(stream)


async def _exit_code(engine: Engine, name: str) -> int:
    """The streams may end a moment before the engine knows the exit code."""
    with anyio.move_on_after(_BOUND):
        while True:
            state = await engine.call(lambda: engine.client.api.exec_inspect(name), command=True)
            if not state["Running"] and state["ExitCode"] is not None:
                return int(state["ExitCode"])
            await anyio.sleep(0.005)
    raise SandboxError("the Docker Engine does not tell how a command ended")


class _Reader:
    """Takes the engine's frames apart. The first line of output is the session's leader, told by our shell."""

    def __init__(self, out: HeadTail, err: HeadTail) -> None:
        self.out = out
        self.err = err
        self.leader = ""
        self._first: bytes | None = b""
        self._header = b""
        self._left = 0

    async def read(self, stream: ByteStream) -> None:
        """Read to the end; when cancelled it can be called again."""
        while True:
            try:
                chunk = await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return
            self._take(chunk)

    def _take(self, chunk: bytes) -> None:
        while chunk:
            if self._left == 0:
                wanted = _HEADER - len(self._header)
                self._header, chunk = self._header + chunk[:wanted], chunk[wanted:]
                if len(self._header) < _HEADER:
                    return
                self._left = int.from_bytes(self._header[4:], "big")
                self._kind = self._header[0]
                self._header = b""
                continue
            part, chunk = chunk[: self._left], chunk[self._left :]
            self._left -= len(part)
            if self._kind == _STDOUT:
                self._output(part)
            elif self._kind == _STDERR:
                self.err.add(part)

    def _output(self, part: bytes) -> None:
        if self._first is None:
            self.out.add(part)
            return
        line, newline, rest = (self._first + part).partition(b"\n")
        if not newline:
            self._first = line
            return
        self._first = None
        self.leader = line.decode(errors="replace")
        self.out.add(rest)
