"""Running tests in forked children that may loop, eat memory or die: limits, results by pipe, changed sources.

Runs inside the sandbox (Python 3.8 or newer, standard library and pytest only).
"""

from __future__ import annotations

import ctypes
import importlib.abc
import importlib.machinery
import json
import os
import resource
import select
import signal
import sys
import traceback
import types
from collections.abc import Callable, Iterator
from typing import Any

MEMORY = 2 << 30
FILE_BYTES = 64 << 20
GIVE_UP_AFTER = 2  # targets that still fail, with none that passes


def _confine(cpu_s: float) -> None:
    """Limits of a child: die with the parent, bounded CPU, memory and files; no terminal, no output."""
    os.setsid()
    try:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    except (OSError, AttributeError):
        pass  # not Linux: the CPU limit remains
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    cpu = int(cpu_s + sum(os.times()[:2])) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (cpu if hard < 0 else min(cpu, hard), hard))
    with open("/proc/self/statm") as f:
        size = int(f.read().split()[0]) * resource.getpagesize()
    memory = max(MEMORY, 2 * size)
    for what, limit in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_FSIZE, FILE_BYTES), (resource.RLIMIT_CORE, 0)):
        hard = resource.getrlimit(what)[1]
        resource.setrlimit(what, (limit if hard < 0 else min(limit, hard), hard))
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)


class Child:
    """A forked process that sends records. `body(send)` runs in it; its end, however it comes, ends the records."""

    def __init__(self, body: Callable[[Callable[[Any], None]], None], cpu_s: float, quiet: bool = True) -> None:
        read, write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(read)
                pipe = os.fdopen(write, "wb")

                def send(record: Any) -> None:
                    pipe.write(json.dumps(record).encode() + b"\n")
                    pipe.flush()

                if quiet:
                    _confine(cpu_s)
                body(send)
            except BaseException:  # noqa: BLE001  # nothing may run on past the fork
                traceback.print_exc()
            finally:
                os._exit(0)
        os.close(write)
        self.fd = read
        self._rest = b""

    def records(self, silence_s: float) -> Iterator[Any]:
        """Records until the child ends, or sends nothing for so long: then it is killed."""
        try:
            while True:
                while b"\n" in self._rest:
                    line, self._rest = self._rest.split(b"\n", 1)
                    yield json.loads(line)
                ready, _, _ = select.select([self.fd], [], [], silence_s)
                data = os.read(self.fd, 1 << 16) if ready else b""
                if not data:
                    return
                self._rest += data
        finally:
            self.close()

    def close(self) -> None:
        """Kill the child with all that it started."""
        if self.fd < 0:
            return
        os.close(self.fd)
        self.fd = -1
        for kill in (os.killpg, os.kill):
            try:
                kill(self.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass  # already gone, or not yet the leader of its group
        os.waitpid(self.pid, 0)


class Overlay(importlib.abc.MetaPathFinder):
    """Imports the given sources (real path -> text) in place of what stands on disk, without .pyc files."""

    def __init__(self, sources: dict[str, str]) -> None:
        self.sources = sources

    def install(self) -> None:
        if self.sources:
            sys.meta_path.insert(0, self)

    def find_spec(
        self, name: str, path: Any, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        specs = (f.find_spec(name, path, target) for f in sys.meta_path if f is not self)
        spec = next((s for s in specs if s is not None), None)
        source = self.sources.get(os.path.realpath(spec.origin)) if spec and spec.origin else None
        if spec is None or spec.origin is None or source is None:
            return None
        spec.loader = _OverlayLoader(name, spec.origin, source)
        return spec


class _OverlayLoader(importlib.machinery.SourceFileLoader):
    def __init__(self, name: str, path: str, source: str) -> None:
        super().__init__(name, path)
        self._source = source

    def get_code(self, fullname: str) -> types.CodeType:
        return compile(self._source, self.path, "exec", dont_inherit=True)


class Reports:
    """A pytest plugin: what became of the item that runs now, and where it broke."""

    def __init__(self, mine: Callable[[str], bool]) -> None:
        self.mine = mine
        self.broken: dict[str, list[tuple[str, int]]] = {}
        self._status, self._seconds = "", 0.0
        self._frames: list[tuple[str, int]] = []

    def pytest_runtest_makereport(self, item: Any, call: Any) -> None:
        if call.excinfo is not None:
            self._frames = [
                (str(e.path), e.lineno + 1)
                for e in call.excinfo.traceback
                if e.lineno is not None and self.mine(str(e.path))
            ]

    def pytest_runtest_logreport(self, report: Any) -> None:
        self._seconds += report.duration
        if report.failed:
            self._status = "failed"
        elif report.skipped and self._status != "failed":
            self._status = "skipped"
        elif report.when == "call" and not self._status:
            self._status = "passed"

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.broken[report.nodeid] = frames_of(str(report.longrepr), self.mine)

    def run(self, item: Any, following: Any) -> dict[str, Any]:
        """One item with all of its fixtures, as pytest itself runs it."""
        self._status, self._seconds, self._frames = "", 0.0, []
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        return {"id": item.nodeid, "status": self._status, "s": self._seconds, "frames": self._frames}


def frames_of(text: str, mine: Callable[[str], bool]) -> list[tuple[str, int]]:
    """The repository's frames in a printed traceback."""
    found = []
    for line in text.splitlines():
        path, _, rest = line.partition(":")
        number = rest.partition(":")[0]
        real = os.path.realpath(path)
        if number.isdigit() and path.endswith(".py") and mine(real):
            found.append((real, int(number)))
    return found


def run_items(items: dict[str, Any], asked: dict[str, Any], reports: Reports, send: Callable[[Any], None]) -> None:
    """In a child: the targets `first`; if one of them passes, `then` those that must go on passing, then `extra`.

    A name that is a file's stands for all of its tests. `each`: seconds of CPU for one of them.
    """
    first, then = asked["first"], asked["then"]
    order = [*first, *then, *asked["extra"]]
    passed = failed = 0
    for n, name in enumerate(order):
        if n == len(first) + len(then):
            send({"end": True})
        signal.setitimer(signal.ITIMER_VIRTUAL, asked["each"])  # its signal ends the process
        if name in items:
            following = next((items[o] for o in order[n + 1 : n + 2] if o in items), None)
            record = reports.run(items[name], following)
        else:
            states = [reports.run(item, None)["status"] for i, item in items.items() if i.startswith(name + "::")]
            whole = bool(states) and name not in reports.broken and not {*states} - {"passed", "skipped"}
            record = {"id": name, "status": "passed" if whole else "failed"}
        send(record)
        good = record["status"] == "passed"
        passed, failed = passed + good, failed + (not good)
        hopeless = not passed and (failed >= GIVE_UP_AFTER or n + 1 == len(first))
        if hopeless or (len(first) <= n < len(first) + len(then) and not good):
            return
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    send({"end": True})
