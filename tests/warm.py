"""The command `swarm` in processes of their own that need not import it: forked from one that has done so.

A run of a test then costs what it does, and not two seconds of imports. What a fork cannot show (how light the start
is, that a module imports what it uses) is shown by the tests that start `python -m swarm` itself.

All workers of a test run share the two servers: whoever comes first starts them, and they end with the last. For each
worker a server forks a child, which forks the commands.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).resolve().parents[1]
_SERVERS = 2
_OTHERS_S = 600.0
"""How long whoever started the servers waits for the others at the end."""


class Process:
    """A command that was started, with the members of `subprocess.Popen` that the tests use. Leads its own session."""

    def __init__(self, pid: int, stdout: TextIO, stderr: TextIO, status: int) -> None:
        self.pid = pid
        self.stdout = stdout
        self.stderr = stderr
        self.returncode: int | None = None
        self._status = status

    def poll(self) -> int | None:
        return self._wait(0)

    def wait(self, timeout: float | None = None) -> int:
        """Raises: subprocess.TimeoutExpired."""
        code = self._wait(timeout)
        if code is None:
            raise subprocess.TimeoutExpired("swarm", timeout or 0)
        return code

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it still writes, until it and all that hold its output have ended.

        Raises:
            subprocess.TimeoutExpired: that takes too long.
        """
        readers = futures.ThreadPoolExecutor(2)
        texts = [readers.submit(stream.read) for stream in (self.stdout, self.stderr) if not stream.closed]
        readers.shutdown(wait=False)
        if futures.wait(texts, timeout).not_done:
            raise subprocess.TimeoutExpired("swarm", timeout or 0)
        self.stdout.close()
        self.stderr.close()
        self.wait(timeout)
        out, err = (text.result() for text in texts) if len(texts) == 2 else ("", "")
        return out, err

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _wait(self, timeout: float | None) -> int | None:
        if self.returncode is None and readable([self._status], timeout):
            told = os.read(self._status, 16)
            os.close(self._status)
            assert told, "the process that starts the others has gone"
            self.returncode = int(told)
        return self.returncode


Streams = tuple[int | None, int | None, int | None]
PIPED = (None, None, None)


class Warm:
    """Starts commands, from several servers in turn: what follows another's hashes (a resume) has hashes of its own."""

    def __init__(self, channels: Sequence[socket.socket]) -> None:
        self._channels = itertools.cycle(channels)
        self._turn = threading.Lock()

    def start(
        self,
        args: Sequence[str],
        cwd: Path,
        env: Mapping[str, str],
        *,
        io: tuple[int | None, int | None, int | None] = PIPED,
        module: str = "swarm",
    ) -> Process:
        """`python -m MODULE ARGS`. `io`: its descriptors; where none is given, no input, and output to be read."""
        order = json.dumps({"args": [module, *args], "cwd": str(cwd), "env": dict(env)}).encode()
        with ExitStack() as ours:

            def piped(given: int | None) -> tuple[int, int]:
                read, write = os.pipe() if given is None else (os.open(os.devnull, os.O_RDONLY), os.dup(given))
                ours.callback(os.close, write)
                return read, write

            (out, stdout), (err, stderr), (status, told) = piped(io[1]), piped(io[2]), piped(None)
            stdin = os.open(os.devnull, os.O_RDONLY) if io[0] is None else os.dup(io[0])
            ours.callback(os.close, stdin)
            with self._turn:
                channel = next(self._channels)
                socket.send_fds(channel, [order], [stdin, stdout, stderr, told])
                pid = int(channel.recv(16))
        return Process(pid, os.fdopen(out), os.fdopen(err), status)


@contextmanager
def warm_servers(place: Path) -> Iterator[Warm]:
    """Those of all who name the same folder. Open at once: the first start waits for the imports."""
    with ExitStack() as stack:
        yield Warm([stack.enter_context(_connected(place / f"warm-{number}")) for number in range(_SERVERS)])


@contextmanager
def _connected(place: Path) -> Iterator[socket.socket]:
    """A connection to the server of a folder, which is started where there is none."""
    with ExitStack() as stack:
        ours = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        with turn(place) as address:
            try:
                ours.connect(address)
            except (FileNotFoundError, ConnectionRefusedError):
                Path(address).unlink(missing_ok=True)
                with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
                    listener.bind(address)
                    listener.listen()
                    ours.connect(address)  # before it runs: it ends where nobody is connected
                    server = subprocess.Popen(
                        [sys.executable, "-m", "tests.warm_server", str(listener.fileno()), str(place)],
                        cwd=ROOT,
                        pass_fds=[listener.fileno()],
                        stdin=subprocess.DEVNULL,
                        start_new_session=True,
                    )
                stack.callback(server.wait, _OTHERS_S)
                stack.enter_context(ours)  # closed before that
        yield ours


@contextmanager
def turn(place: Path) -> Iterator[str]:
    """Nobody else connects, or ends the server. Gives its address, which is short however long the path is."""
    place.mkdir(parents=True, exist_ok=True)
    folder = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield f"/proc/self/fd/{folder}/socket"
    finally:
        os.close(folder)


def readable(fds: Sequence[int], timeout: float | None = None) -> list[int]:
    """Those that can be read, within seconds. `select` knows no descriptor above 1,023."""
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return [fd for fd, _ in poll.poll(None if timeout is None else timeout * 1000)]
