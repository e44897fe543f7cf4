"""The life of one bubblewrap: its agent is the first process of a namespace, and killing that one kills them all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from types import MappingProxyType

import anyio

from swarm.errors import SandboxError
from swarm.sandboxes.bubblewrap import seccomp
from swarm.sandboxes.channel.channel import Channel
from swarm.sandboxes.shell import with_all_signals
from swarm.shortage import remedy_for, remedy_told

_STARTS_S = 30.0
_TELLS_S = 2.0
"""Seconds in which a bubblewrap that was started has told its first process."""

STATUS = "\0status"
"""Stands in a command line for options that are known only when it is started."""

FILTER = "\0filter"
"""Stands in a command line for the option that filters system calls (`swarm.sandboxes.bubblewrap.seccomp`)."""

CONTENT = "\0content "
"""With the path of a file inside, stands in a command line for the handle of what is to be in it."""

Contents = Mapping[str, bytes]
"""What is to be in files inside, by their paths."""

_NONE: Contents = MappingProxyType({})

_BOUND = 15.0
_KILLED = (
    "try again; where nobody did that, the machine ran out of memory (`dmesg`): give it more, or lower --concurrency"
)
HOME = "/tmp/home"
"""The user's home inside, if nothing else is asked for."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

REMEDY = "install it with `sudo apt-get install bubblewrap`, or choose --sandbox docker"


@asynccontextmanager
async def namespace(
    argv: Sequence[str], env: Mapping[str, str], channel: Channel, contents: Contents = _NONE, owner: int | None = None
) -> AsyncIterator[int]:
    """Run bubblewrap with an agent in it for the length of the block, and end every process inside. `owner` gets a home
    there.

    Gives the first process inside by its id on the host. `argv` is what comes to be bubblewrap in the end, with
    `STATUS` where the options go by which it tells us, `FILTER`, if wanted, where those of the filter do, and `CONTENT`
    with a path for each of the `contents`.

    Raises:
        SandboxError: it cannot be started; the message is bubblewrap's own.
    """
    with ExitStack() as stack:
        told, tell = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        stack.callback(os.close, told)
        try:
            process = _start(argv, env, tell, contents)
        finally:
            os.close(tell)
        stack.enter_context(process)
        outer = os.pidfd_open(process.pid)
        stack.callback(os.close, outer)
        status = bytearray()
        first: int | None = None
        try:
            with anyio.move_on_after(_STARTS_S):
                await _tell(told, status)
                first = _first(status, stack)  # now, before its id could be another's
                await _greeted(channel, outer)
            if not channel.open or process.poll() is not None:
                raise _failure(process)
            if first is not None and owner is not None:
                _make_home(_told_id(status), first, owner)
            yield _told_id(status)
        finally:
            try:
                with anyio.move_on_after(_BOUND, shield=True):
                    # Killed before it has told its first process, bubblewrap might leave that one behind.
                    with anyio.move_on_after(_TELLS_S):
                        await _tell(told, status)
                    first = _first(status, stack) if first is None else first
                    if first is not None:
                        with suppress(ProcessLookupError):
                            signal.pidfd_send_signal(first, signal.SIGKILL)
                        # Readable only when the kernel has ended all others of the namespace too.
                        await anyio.wait_readable(first)
            finally:
                process.kill()


def _make_home(first: int, alive: int, owner: int) -> None:
    """Make the home inside, from here: no program need be started for it. Where that fails, the proof makes it. `alive`
    is the first process as a descriptor."""
    where = Path(HOME)
    with suppress(OSError), ExitStack() as stack:
        above = os.open(f"/proc/{first}/root{where.parent}", _FOLDER)
        stack.callback(os.close, above)
        signal.pidfd_send_signal(alive, 0)  # raises where it is gone: then its id could be another's by now
        os.mkdir(where.name, dir_fd=above)
        made = os.open(where.name, _FOLDER, dir_fd=above)
        stack.callback(os.close, made)
        os.fchmod(made, 0o755)  # whatever the umask
        os.fchown(made, owner, owner)


def _start(argv: Sequence[str], env: Mapping[str, str], tell: int, contents: Contents) -> subprocess.Popen[bytes]:
    with ExitStack() as stack:
        try:
            given = {STATUS: ["--json-status-fd", str(tell)]}
            fds = [tell]
            if (machine := seccomp.machine()) and FILTER in argv:
                fds.append(_nameless(seccomp.program(machine), stack))
                given[FILTER] = ["--seccomp", str(fds[-1])]
            for path, content in contents.items():
                fds.append(_nameless(content, stack))
                given[CONTENT + path] = [str(fds[-1])]
            return subprocess.Popen(
                [*with_all_signals(), *(one for word in argv for one in given.get(word, (word,)))],
                bufsize=0,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=dict(env),
                start_new_session=True,
                pass_fds=fds,
            )
        except OSError as error:
            remedy = remedy_for(error) or REMEDY
            raise SandboxError(f"bubblewrap could not be started: {error}", remedy=remedy) from error


def _nameless(content: bytes, stack: ExitStack) -> int:
    """A handle on it as a file without a name, at its beginning, until the stack is left."""
    file = os.memfd_create("swarm")
    stack.callback(os.close, file)
    os.write(file, content)
    os.lseek(file, 0, os.SEEK_SET)
    return file


async def _greeted(channel: Channel, outer: int) -> None:
    """Wait for the agent, or for bubblewrap's end."""
    async with anyio.create_task_group() as group:

        async def watch() -> None:
            await anyio.wait_readable(outer)
            group.cancel_scope.cancel()

        group.start_soon(watch)
        await channel.greet()
        group.cancel_scope.cancel()


async def _tell(told: int, status: bytearray) -> None:
    """Read the line that names the namespace's first process; may be called again when it was cancelled."""
    while b"\n" not in status:
        await anyio.wait_readable(told)
        try:
            chunk = os.read(told, 1 << 12)
        except BlockingIOError:
            continue
        if not chunk:
            return
        status += chunk


def _first(status: bytearray, stack: ExitStack) -> int | None:
    """The namespace's first process as a file descriptor; None where there is none, or none any more."""
    if b"\n" not in status:
        return None
    try:
        first = os.pidfd_open(_told_id(status))
    except ProcessLookupError:
        return None
    stack.callback(os.close, first)
    return first


def _told_id(status: bytearray) -> int:
    return int(json.loads(bytes(status).partition(b"\n")[0])["child-pid"])


def _failure(process: subprocess.Popen[bytes]) -> SandboxError:
    """Why it did not come to be a sandbox: in its own words, or by how it ended."""
    assert process.stderr is not None
    os.set_blocking(process.stderr.fileno(), False)
    text = (process.stderr.read(1 << 12) or b"").decode(errors="replace").strip()
    code = process.poll()
    remedy = remedy_told(text) or REMEDY
    if code is not None and (number := -code if code < 0 else code - 128) > 0:  # its first process, or itself
        name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
        text, remedy = text or f"it was ended by {name}", remedy_told(text) or _KILLED
    if not text:
        text = f"no word within {_STARTS_S:g} s" if code is None else f"it ended with {code} and says nothing"
    return SandboxError(f"bubblewrap could not start: {text}", remedy=remedy)
