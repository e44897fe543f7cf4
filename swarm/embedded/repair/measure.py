"""What is known of the tests before any edit: their state, how long they take, which lines they run.

Runs inside the sandbox (Python 3.8 or newer, standard library and pytest only).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

from .lines import Ours, Tracer
from .trial import Child, Reports

HANG_S = 10.0
MEASURE_S = 25.0


class Tests:
    """The tests of one session, by node id."""

    __test__ = False

    def __init__(self, session: Any, reports: Reports, ours: Ours, at_import: dict[str, list[int]]) -> None:
        self.items = {i.nodeid: i for i in session.items}
        self.near = {session.config.cwd_relative_nodeid(i): i for i in self.items}
        self.reports, self.ours = reports, ours
        self.at_import = {path: set(lines) for path, lines in at_import.items()}

    def targets(self, wanted: list[str]) -> list[str]:
        """Node ids as this session knows them; a file that cannot be imported stands for its tests."""
        found: dict[str, None] = {}
        for w in wanted:
            broken = [b for b in self.reports.broken if w == b or w.startswith(b + "::")]
            same = [n for c, n in self.near.items() if w in (c, n)]
            inside = [n for c, n in self.near.items() if c.startswith((w + "[", w + "::"))]
            found.update(dict.fromkeys(broken or same or inside))
        return list(found)

    def measure(self, targets: list[str]) -> dict[str, Any]:
        """status, seconds, frames and covered lines by test."""
        base: dict[str, Any] = {"status": {}, "s": {}, "frames": {}, "cover": {}}
        for path, frames in self.reports.broken.items():
            base["status"][path] = "failed"
            base["frames"][path] = frames
            base["cover"][path] = {p: sorted(lines) for p, lines in self.at_import.items()}
        wanted = [t for t in targets if t in self.items]
        rest = [i for i in self.items if i not in set(wanted)]
        for traced in (False, True):
            passing = [i for i in rest if not traced or base["status"].get(i) in ("passed", "failed")]
            mine = [t for t in wanted if not traced or base["status"].get(t) != "passed"]
            for record in [*self._sweep(mine, traced, 90.0), *self._sweep(passing, traced, MEASURE_S)]:
                name = record["id"]
                if traced:
                    base["cover"][name] = record.get("lines", {})
                else:
                    base["status"][name] = record["status"]
                    base["s"][name] = record.get("s", HANG_S)
                if record.get("frames"):
                    base["frames"][name] = record["frames"]
        return base

    def _sweep(self, todo: list[str], traced: bool, total_s: float) -> Iterator[dict[str, Any]]:
        end = time.monotonic() + total_s
        hangs = 0
        while todo and time.monotonic() < end:
            limit = HANG_S if hangs == 0 and not traced else 3.0
            done = 0
            child = Child(lambda send, todo=todo, limit=limit: self._watch(todo, traced, limit, send), total_s)  # type: ignore[misc]  # a default binds the loop's value
            for record in child.records(limit + 3):
                done += 1
                hangs += record["status"] == "hang"
                yield record
                if time.monotonic() > end:
                    break
            child.close()
            if done < len(todo) and time.monotonic() < end and (done == 0 or record["status"] != "hang"):
                yield {"id": todo[done], "status": "crashed"}
                done += 1
            todo = todo[done:]

    def _watch(self, todo: list[str], traced: bool, limit: float, send: Callable[[Any], None]) -> None:
        tracer = Tracer(self.ours)
        name = ""

        def hung(signum: int, frame: Any) -> None:
            frames = []
            while frame is not None:
                if self.ours(frame.f_code.co_filename):
                    frames.append((frame.f_code.co_filename, frame.f_lineno))
                frame = frame.f_back
            send({"id": name, "status": "hang", "frames": frames[::-1], "lines": tracer.take() if traced else {}})
            os._exit(0)

        signal.signal(signal.SIGALRM, hung)
        signal.signal(signal.SIGVTALRM, hung)
        for n, name in enumerate(todo):
            signal.setitimer(signal.ITIMER_REAL, limit)
            signal.setitimer(signal.ITIMER_VIRTUAL, limit / 2)  # of CPU: an endless loop needs no longer look
            if traced:
                tracer.start()
            record = self.reports.run(self.items[name], self.items[todo[n + 1]] if n + 1 < len(todo) else None)
            if traced:
                record["lines"] = tracer.take()
            send(record)
