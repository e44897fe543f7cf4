"""A program that runs a package's tests in forked children of a warm interpreter, in the package's own environment.

It stands alone (the standard library and pytest only), is started with the folder of the package as its argument, and
answers one JSON object a line for each request on its standard input:

    {"path": FILE | null, "source": TEXT, "tests": [NODE IDS, none = all], "package": FOLDER | null,
     "part": [I, N], "timeout": SECONDS}

`timeout` bounds the CPU time, and three times of it the wall time. With `path`, that file is imported as if it held
`source`. With `package`, the lines of its files that each test runs are recorded. Only every N-th test file, from the
I-th on, is run. The answer:

    {"exit": pytest's code or null (out of time), "failed": [...], "seconds": {test: s},
     "lines": {file: {line: [tests]}}, "imported": {file: [lines]}}

where `imported` holds the lines that run outside of any test.
"""

from __future__ import annotations

import importlib.machinery
import json
import math
import os
import resource
import select
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest


class Recorder:
    """Pytest plugin: which tests failed, how long each took and, when wanted, which lines it ran."""

    def __init__(self, package: str | None, part: tuple[int, int]) -> None:
        self.package = package
        self.part = part
        self.failed: dict[str, None] = {}
        self.seconds: dict[str, float] = {}
        self.tests: list[str] = []
        self.by_line: dict[tuple[str, int], set[int]] = {}
        self.outside: set[tuple[str, int]] = set()
        self._now: set[tuple[str, int]] = set()
        self._code: dict[CodeType, bool] = {}

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        index, parts = self.part
        files = list(dict.fromkeys(item.path for item in items))
        items[:] = [item for item in items if files.index(item.path) % parts == index]

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if report.failed:
            self.failed[report.nodeid] = None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: Any) -> Any:
        if self.package is None:
            return (yield)
        self.outside |= self._now
        self._now = set()
        self.trace()
        try:
            return (yield)
        finally:
            for line in self._now:
                self.by_line.setdefault(line, set()).add(len(self.tests))
            self.tests.append(item.nodeid)
            self._now = set()

    def trace(self) -> None:
        threading.settrace(self._call)
        sys.settrace(self._call)

    def _call(self, frame: FrameType, event: str, arg: object) -> Any:
        code = frame.f_code
        ours = self._code.get(code)
        if ours is None:
            ours = self._code[code] = code.co_filename.startswith(str(self.package))
        if not ours:
            return None
        self._now.add((code.co_filename, frame.f_lineno))
        return self._line

    def _line(self, frame: FrameType, event: str, arg: object) -> Any:
        self._now.add((frame.f_code.co_filename, frame.f_lineno))
        return self._line

    def report(self, code: int) -> dict[str, Any]:
        lines: dict[str, dict[int, list[str]]] = {}
        for (file, line), tests in self.by_line.items():
            lines.setdefault(file, {})[line] = [self.tests[t] for t in sorted(tests)]
        outside: dict[str, list[int]] = {}
        for file, line in sorted(self.outside):
            outside.setdefault(file, []).append(line)
        return {
            "exit": code,
            "failed": list(self.failed),
            "seconds": self.seconds,
            "lines": lines,
            "imported": outside,
        }


def pretend(path: str, source: str) -> None:
    """Let the import of `path` give `source`."""
    loader = importlib.machinery.SourceFileLoader
    genuine = loader.get_code

    def get_code(self: Any, fullname: str) -> Any:
        if os.path.realpath(self.get_filename(fullname)) == path:
            return compile(source, path, "exec", dont_inherit=True)
        return genuine(self, fullname)

    loader.get_code = get_code  # type: ignore[method-assign]  # only in this short-lived child


def run_tests(request: dict[str, Any], out: int) -> None:
    """The child: never returns to the caller's loop."""
    os.setsid()
    silent = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(silent, fd)
    seconds = math.ceil(request["timeout"])  # of CPU: a busy machine must not change what is found
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 28, 1 << 28))
    if request["path"]:
        pretend(request["path"], request["source"])
    recorder = Recorder(request["package"], request["part"])
    if request["package"]:
        recorder.trace()
    own = ["-q", "-p", "no:cacheprovider", f"--basetemp={tempfile.gettempdir()}/pytest"]  # emptied for each run
    code = pytest.main([*own, *request["tests"]], plugins=[recorder])
    sys.settrace(None)
    threading.settrace(None)
    with os.fdopen(out, "wb") as pipe:
        pipe.write(json.dumps(recorder.report(int(code))).encode() + b"\n")


def answer(request: dict[str, Any]) -> bytes:
    """Run one request in a child, and leave nothing of it behind, also when this program is told to end."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.close(read)
            run_tests(request, write)
        finally:
            os._exit(1)
    os.close(write)
    data = b""
    deadline = time.monotonic() + 3 * float(request["timeout"])
    try:
        while not data.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([read], [], [], left)[0]:
                break
            chunk = os.read(read, 1 << 20)
            if not chunk:
                break
            data += chunk
    finally:
        os.close(read)
        for kill in (os.killpg, os.kill):  # the group exists only once the child has made it
            try:
                kill(child, signal.SIGKILL)
            except ProcessLookupError:
                pass
        os.waitpid(child, 0)
    return data if data.endswith(b"\n") else OUT_OF_TIME


OUT_OF_TIME = b'{"exit": null, "failed": [], "seconds": {}, "lines": {}, "imported": {}}\n'


def warm_up() -> None:
    """Let pytest load itself and its plugins once, in an empty folder and without the package's configuration."""
    out = os.dup(1)
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    with tempfile.TemporaryDirectory() as empty:
        pytest.main(["-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", empty, empty])
    sys.stdout.flush()
    os.dup2(out, 1)
    os.close(out)
    os.close(silent)


def main() -> None:
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    os.chdir(sys.argv[1])
    sys.path.insert(0, str(Path.cwd()))  # as `python -m pytest` does
    warm_up()
    for line in sys.stdin:
        sys.stdout.buffer.write(answer(json.loads(line)))
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
