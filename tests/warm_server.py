"""The process that `tests.warm` forks commands from: it has imported all that they need."""

from __future__ import annotations

import atexit
import gc
import importlib
import importlib.util
import json
import os
import pkgutil
import runpy
import signal
import socket
import sys
import tempfile
import threading
from pathlib import Path

from tests.warm import readable, turn

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
        ready = readable([listener.fileno(), *children])
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
            with turn(place) as address:
                if not readable([listener.fileno()], 0):
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
        ready = readable([channel.fileno(), woken])
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
