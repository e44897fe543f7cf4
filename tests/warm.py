"""The command `swarm` in processes of their own that need not import it: forked from one that has done so.

A run of a test then costs what it does, and not two seconds of imports. What a fork cannot show (how light the start
is, that a module imports what it uses) is shown by the tests that start `python -m swarm` itself.

All workers of a test run share the two servers: whoever comes first starts them, and they end with the last. For each
worker a server forks a child, which forks the commands.
"""

from __future__ import annotations

import atexit
import fcntl
import gc
import importlib
import importlib.util
import itertools
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
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
_ASIDE = ("swarm.__main__", "swarm.embedded.repair.", "swarm.rl.")
_LAZY = (
    *(
        "docker",
        "genai_prices",
        "jsonschema",
        "langgraph.checkpoint.sqlite.aio",
        "langgraph.graph",
        "mcp",
        "openai",
        "swarm.embedded.repair.policy",
    ),
    *("rich.live", "starlette.applications", "uvicorn", "uvicorn.lifespan.off", "uvicorn.lifespan.on"),
    *("anyio._backends._asyncio", "uvicorn.protocols.http.h11_impl"),
)
"""What swarm imports only where it is needed: most runs of the tests need it."""


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
        if self.returncode is None and _readable([self._status], timeout):
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
        with _turn(place) as address:
            try:
                ours.connect(address)
            except (FileNotFoundError, ConnectionRefusedError):
                Path(address).unlink(missing_ok=True)
                with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
                    listener.bind(address)
                    listener.listen()
                    ours.connect(address)  # before it runs: it ends where nobody is connected
                    server = subprocess.Popen(
                        [sys.executable, "-m", __name__, str(listener.fileno()), str(place)],
                        cwd=ROOT,
                        pass_fds=[listener.fileno()],
                        stdin=subprocess.DEVNULL,
                        start_new_session=True,
                    )
                stack.callback(server.wait, _OTHERS_S)
                stack.enter_context(ours)  # closed before that
        yield ours


@contextmanager
def _turn(place: Path) -> Iterator[str]:
    """Nobody else connects, or ends the server. Gives its address, which is short however long the path is."""
    place.mkdir(parents=True, exist_ok=True)
    folder = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield f"/proc/self/fd/{folder}/socket"
    finally:
        os.close(folder)


def _prepare() -> None:
    """Import everything, and keep the garbage collector from touching it in each child."""
    import swarm

    gc.disable()
    for found in pkgutil.walk_packages(swarm.__path__, "swarm."):
        if found.name.startswith(_ASIDE):
            continue
        try:
            importlib.import_module(found.name)
        except ImportError:
            pass  # what wants it will tell
    for name in _LAZY:
        if importlib.util.find_spec(name.partition(".")[0]):
            importlib.import_module(name)
    _build()
    gc.collect()
    gc.freeze()
    gc.enable()
    some = gc.get_freeze_count()
    gc.get_freeze_count = lambda: some  # who asks in a child would go through all of them


def _build() -> None:
    """Make the checks of all models, which are made when they are first used else: in each child anew."""
    from pydantic import BaseModel

    from swarm.events import ANY_EVENT

    models = [BaseModel]
    while models:
        model = models.pop()
        models += model.__subclasses__()
        if model.__module__.startswith("swarm."):
            model.model_rebuild()
    ANY_EVENT.rebuild()


def _receive(listener: socket.socket, place: Path) -> socket.socket:
    """Fork for each who connects. Gives the connection in the child; the server itself ends with the last of them."""
    children: set[int] = set()
    while True:
        ready = _readable([listener.fileno(), *children])
        if listener.fileno() in ready:
            channel, _ = listener.accept()
            pid = os.fork()
            if not pid:
                listener.close()
                for child in children:
                    os.close(child)
                return channel
            channel.close()
            children.add(os.pidfd_open(pid))
        for child in children & set(ready):
            os.waitid(os.P_PIDFD, child, os.WEXITED)
            os.close(child)
            children.remove(child)
        if not children:
            with _turn(place) as address:
                if not _readable([listener.fileno()], 0):
                    Path(address).unlink(missing_ok=True)
                    sys.exit()


def _serve(channel: socket.socket) -> list[str]:
    """Fork for each order. Gives the arguments in the child; the server itself ends where nobody is left to order."""
    statuses: dict[int, int] = {}
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        ready = _readable([channel.fileno(), woken])
        if woken in ready:
            os.read(woken, 4096)
            while statuses and (ended := os.waitpid(-1, os.WNOHANG))[0]:
                status = statuses.pop(ended[0])
                _tell(status, os.waitstatus_to_exitcode(ended[1]))
                os.close(status)
        if channel.fileno() in ready:
            order, fds, _, _ = socket.recv_fds(channel, 1 << 20, 4)
            if not order:
                sys.exit()
            pid = os.fork()
            if not pid:
                return _become(json.loads(order), fds, channel)
            for fd in fds[:3]:
                os.close(fd)
            statuses[pid] = fds[3]


def _readable(fds: Sequence[int], timeout: float | None = None) -> list[int]:
    """Those that can be read, within seconds. `select` knows no descriptor above 1,023."""
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return [fd for fd, _ in poll.poll(None if timeout is None else timeout * 1000)]


def _tell(status: int, code: int) -> None:
    try:
        os.write(status, str(code).encode())
    except BrokenPipeError:
        pass  # nobody waits for it


def _become(order: dict[str, object], fds: list[int], channel: socket.socket) -> list[str]:
    """Be a process as `subprocess.Popen` would have started it."""
    args, cwd, env = order["args"], order["cwd"], order["env"]
    assert isinstance(args, list) and isinstance(cwd, str) and isinstance(env, dict)
    os.setsid()
    channel.send(str(os.getpid()).encode())
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    channel.close()
    for fd, wanted in zip(fds[:3], range(3), strict=True):
        os.dup2(fd, wanted)
    os.closerange(3, 1 + max(int(fd.name) for fd in Path("/proc/self/fd").iterdir()))
    sys.stdin = os.fdopen(0, encoding="utf-8")
    sys.stdout = os.fdopen(1, "w", encoding="utf-8")
    sys.stderr = os.fdopen(2, "w", 1, "utf-8", "backslashreplace")
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    tempfile.tempdir = None
    sys.path[0] = cwd
    return args


def main() -> None:
    """The process that starts the others. Its children come back here from its loops."""
    with socket.socket(fileno=int(sys.argv[1])) as listener:
        _prepare()
        channel = _receive(listener, Path(sys.argv[2]))
    with channel:
        module, *args = _serve(channel)
    sys.argv[1:] = args
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if not isinstance(end.code, int | None):
            raise
        _end(end.code or 0)
    else:
        _end(0)


def _end(code: int) -> None:
    """End as the interpreter does, but for taking apart all that was imported: its memory is copied by that."""
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        sys.exit(code)  # the interpreter tells of it
    os._exit(code)


if __name__ == "__main__":
    main()
