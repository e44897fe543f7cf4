"""`swarm`, which meets with an accident at a named point of its own program. Run as a module in the place of `swarm`.

The product knows nothing of this: the functions behind the points are wrapped in the process that is about to run. What
is to happen stands in the environment (`CHAOS`, see `Act`); what did is told as a line in the file `CHAOS_TOLD`.
"""

from __future__ import annotations

import errno
import faulthandler
import functools
import importlib
import inspect
import json
import os
import re
import runpy
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

When = Literal["before", "after", "torn"]

POINTS = {
    "journal.write": "swarm.journal.lines:LineFile.write",
    "journal.sync": "swarm.journal.lines:LineFile.sync",
    "git": "swarm.sandboxes.git.command:Git.attempt",
    "file.whole": "swarm.whole_file:write_whole",
    "file.replace": "pathlib:Path.replace",
    "process": "subprocess:Popen.__init__",
    "snapshot": "swarm.wiring:take_snapshot",
    "lease.take": "swarm.sandboxes.leases.lease:_take",
    "lease.release": "swarm.sandboxes.leases.lease:_release",
    "lease.forget": "swarm.sandboxes.leases.lease:forget",
    "reap": "swarm.sandboxes.leases.reaper:_reap",
    "copy.make": "swarm.sandboxes.copies.checkouts:Checkouts.make",
    "copy.stage": "swarm.sandboxes.copies.checkouts:Checkouts.stage",
    "checkpoint": "swarm.agents.checkpoints:Keeper._keep",
    "merge.commit": "swarm.sandboxes.git.repository:GitRepository._commit",
    "merge.pick": "swarm.sandboxes.git.repository:GitRepository._pick",
    "answer": "swarm.sandboxes.git.repository:GitRepository.set_answer",
    "patch": "swarm.places.outbox:_write",
    "graph": "langgraph.checkpoint.sqlite.aio:AsyncSqliteSaver.aput",
    "measured": "swarm.run:keep",
    "parquet": "swarm.journal.parquet:on_close",
    "go_on": "swarm.resuming:go_on",
    "deliver": "swarm.cli.deliver:deliver",
    "apply": "swarm.sandboxes.git.applying:_apply",
    "apply.note": "swarm.sandboxes.git.undo:_note",
    "branch": "swarm.sandboxes.git.branch:create_branch",
}
"""Points of the program by name. `event:TYPE` is `journal.write` of a record of that type."""

HOST = "endpoint.chaos.test"
"""A name that leads to this machine, until it is `dns-gone`."""


@dataclass(frozen=True, slots=True)
class Act:
    """What happens at the `nth` time that a point is come to: before it is done, after, or when half of it is written.

    `do`: `kill`, `term`, `int`, `hup`, `stop` are signals to the process itself; `clock` moves the time of day by
    `value` seconds; `dns-gone`, `dns-back`; `full`, `io`: from now on the journal's files cannot be written; `skip`:
    it is not done at all, this time: the product is broken on purpose, to see that it is noticed.
    """

    point: str
    nth: int
    do: str
    when: When = "after"
    value: float = 0.0


def environment(acts: list[Act], told: str) -> dict[str, str]:
    """What a process has to be started with."""
    return {"CHAOS": json.dumps([asdict(act) for act in acts]), "CHAOS_TOLD": told}


_SIGNALS = {
    "kill": signal.SIGKILL,
    "term": signal.SIGTERM,
    "int": signal.SIGINT,
    "hup": signal.SIGHUP,
    "stop": signal.SIGSTOP,
}


class Accidents:
    """Counts how often each point was come to, and does what is due there."""

    def __init__(self, acts: list[Act], told: str) -> None:
        self._acts = acts
        self._told = told
        self._lock = threading.Lock()
        self._times: Counter[tuple[str, str]] = Counter()
        self._offset = 0.0
        self._dns_gone = False
        self._no_write: int | None = None

    def install(self) -> None:
        """Wrap what is behind the points."""
        if any(act.do == "clock" for act in self._acts):
            real = time.time
            time.time = lambda: real() + self._offset
        self._resolve()
        names = {"journal.write" if act.point.startswith("event:") else act.point for act in self._acts}
        for name in sorted(names):
            _wrap(POINTS[name], functools.partial(self._around, name))

    def _resolve(self) -> None:
        real = socket.getaddrinfo

        def getaddrinfo(host: Any, *args: Any, **more: Any) -> Any:
            name = host.decode() if isinstance(host, bytes) else host
            if name != HOST:
                return real(host, *args, **more)
            if self._dns_gone:
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            return real("127.0.0.1", *args, **more)

        socket.getaddrinfo = getaddrinfo

    def _around(self, name: str, inner: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(inner):

            @functools.wraps(inner)
            async def later(*args: Any, **more: Any) -> Any:
                points = self._come(name, args)
                self._due(points, "before")
                if self._skips(points):
                    return None
                try:
                    return await inner(*args, **more)
                finally:
                    self._due(points, "after")

            return later

        @functools.wraps(inner)
        def now(*args: Any, **more: Any) -> Any:
            points = self._come(name, args)
            self._due(points, "before")
            if name == "journal.write":
                self._write(points, *args)
            if self._skips(points):
                return None
            try:
                return inner(*args, **more)
            finally:
                self._due(points, "after")

        return now

    def _come(self, name: str, args: tuple[Any, ...]) -> dict[str, int]:
        """The points that this is, and how often each was come to."""
        names = [name]
        if name == "journal.write" and (found := re.match(rb'.{0,120}?"type":"(\w+)"', args[1])):
            names.append(f"event:{found[1].decode()}")
        with self._lock:
            self._times.update((each, "") for each in names)
            return {each: self._times[each, ""] for each in names}

    def _skips(self, points: dict[str, int]) -> bool:
        due = [act for act in self._acts if act.do == "skip" and points.get(act.point) == act.nth]
        for act in due:
            self._tell(act)
        return bool(due)

    def _due(self, points: dict[str, int], when: When) -> None:
        for act in self._acts:
            if act.do != "skip" and act.when == when and points.get(act.point) == act.nth:
                self._do(act)

    def _write(self, points: dict[str, int], file: Any, line: bytes) -> None:
        if self._no_write is not None and file.failure is None:
            file.fail(OSError(self._no_write, os.strerror(self._no_write)))
        for act in self._acts:
            if act.when == "torn" and points.get(act.point) == act.nth:
                os.write(file.fd, line[: max(1, len(line) // 2)])
                self._do(act)

    def _tell(self, act: Act) -> None:
        fd = os.open(self._told, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)
        os.write(fd, f"{act.do} {act.point} {act.nth} {act.when}\n".encode())
        os.close(fd)

    def _do(self, act: Act) -> None:
        self._tell(act)
        match act.do:
            case "clock":
                self._offset += act.value
            case "dns-gone" | "dns-back":
                self._dns_gone = act.do == "dns-gone"
            case "full" | "io":
                self._no_write = errno.ENOSPC if act.do == "full" else errno.EIO
            case _:
                os.kill(os.getpid(), _SIGNALS[act.do])


def _wrap(place: str, wrapper: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Put a wrapper in the place of a function, wherever it was imported to."""
    module, _, path = place.partition(":")
    owner: Any = importlib.import_module(module)
    *above, name = path.split(".")
    for each in above:
        owner = getattr(owner, each)
    original = getattr(owner, name)
    wrapped = wrapper(original)
    setattr(owner, name, wrapped)
    if above:
        return
    for module_here in list(sys.modules.values()):
        if getattr(module_here, "__name__", "").startswith("swarm"):
            for key, value in list(vars(module_here).items()):
                if value is original:
                    setattr(module_here, key, wrapped)


def main() -> None:
    """Run `swarm` with the accidents that the environment wants."""
    faulthandler.register(signal.SIGUSR1)  # whoever hangs can be asked where
    acts = [Act(**each) for each in json.loads(os.environ.pop("CHAOS", "[]"))]
    told = os.environ.pop("CHAOS_TOLD", os.devnull)
    Accidents(acts, told).install()
    runpy.run_module("swarm", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
