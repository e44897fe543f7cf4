"""The search for an edit, in a process that has collected the tests: measure, rank, try.

Runs inside the sandbox (Python 3.8 or newer, standard library and pytest only).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from .edits import Edit
from .hotswap import HotFile
from .lines import Ours, Tracer, spread, suspicion
from .mutations import Mutator
from .trial import Child, Reports

COLD_FACTOR = 0.3  # an edit that needs a fresh import costs many times more
HANG_S = 10.0
MEASURE_S = 25.0
GIVE_UP_AFTER = 2  # targets that still fail, with none that passes


def run_items(
    items: dict[str, Any],
    first: list[str],
    then: list[str],
    each_cpu_s: float,
    reports: Reports,
    send: Callable[[Any], None],
) -> None:
    """In a child: the targets `first`, and if one of them passes, `then` those that must go on passing.

    A name that is a file's stands for all of its tests.
    """
    order = [*first, *then]
    passed = failed = 0
    for n, name in enumerate(order):
        signal.setitimer(signal.ITIMER_VIRTUAL, each_cpu_s)  # its signal ends the process
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
        if hopeless or (n >= len(first) and not good):
            break
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    send({"end": True})


class Search:
    """One round: `ask` has the parent run tests on freshly imported sources; `tell` reports progress."""

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

    # -- what is known of the tests before any edit ----------------------------------------------------------------

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
            passing = [i for i in rest if not traced or base["status"].get(i) == "passed"]
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
            limit = HANG_S if hangs == 0 else 3.0
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
        for n, name in enumerate(todo):
            signal.setitimer(signal.ITIMER_REAL, limit)
            if traced:
                tracer.start()
            record = self.reports.run(self.items[name], self.items[todo[n + 1]] if n + 1 < len(todo) else None)
            if traced:
                record["lines"] = tracer.take()
            send(record)

    # -- candidates ------------------------------------------------------------------------------------------------

    def candidates(
        self, failing: list[str], base: dict[str, Any], read: Callable[[str], str]
    ) -> list[tuple[str, Edit, bool]]:
        """(path, edit, whether it needs a fresh import), most promising first."""
        score = suspicion(failing, base["cover"], base["frames"])
        found: list[tuple[float, str, Edit, bool]] = []
        for path in sorted(score):
            source, lines = read(path), score[path]
            imported = self.at_import.get(path, set())
            try:
                spread(source, lines, imported.__contains__)
                mutator = Mutator(source, lambda a, b, lines=lines: max(lines.get(n, 0.0) for n in range(a, b + 1)))  # type: ignore[misc]  # a default binds the loop's value
                edits = mutator.edits()
            except (SyntaxError, ValueError, RecursionError):
                continue  # not parsed by this interpreter: nothing to offer
            for e in edits:
                cold = not e.in_body or not imported.isdisjoint(range(e.line, e.last + 1))
                found.append((e.score * (COLD_FACTOR if cold else 1.0), path, e, cold))
        found.sort(key=lambda f: -f[0])
        return [(path, e, cold) for _, path, e, cold in found]

    # -- tries -----------------------------------------------------------------------------------------------------

    def run(
        self,
        job: dict[str, Any],
        state: dict[str, Any],
        read: Callable[[str], str],
        ask: Callable[[Any], Any],
        deadline: float,
    ) -> dict[str, Any]:
        """Try candidates until one makes all targets pass, or the deadline of `time.monotonic`.

        The answer's `status`: found, exhausted, paused, nothing (no target fails), missing (no target is there).
        """
        targets = self.targets(job["ids"])
        if not targets:
            return {"status": "missing", "targets": 0, "failing": []}
        base = state.get("base") or self.measure(targets)
        status = base["status"]
        failing = [t for t in targets if status.get(t) != "passed"]
        answer: dict[str, Any] = {
            "base": base,
            "targets": len(targets),
            "failing": failing,
            "tried": 0,
            "next": 0,
            "best": state.get("best"),
        }
        if not failing:
            return {**answer, "status": "nothing"}
        passing = [i for i, s in status.items() if s == "passed"]
        slowest = max([base["s"].get(i, 0.0) for i in passing] + [0.2])
        each_cpu = max(1.0, 5 * slowest)
        hot: dict[str, HotFile] = {}
        for n, (path, edit, cold) in enumerate(self.candidates(failing, base, read)):
            if n < state.get("next", 0):
                continue
            answer["next"] = n
            if time.monotonic() > deadline:
                return {**answer, "status": "paused"}
            head = edit.line, edit.last
            covers = [f for f in failing if self._covers(base, f, path, head)]
            first = covers if covers and not cold else failing
            then = passing if cold else [p for p in passing if self._covers(base, p, path, head)]
            text = edit.apply(read(path))
            try:
                changes = (
                    None
                    if cold
                    else hot.setdefault(path, HotFile(path, read(path)) if path not in hot else hot[path]).changes(
                        text, edit.line
                    )
                )
                compile(text, path, "exec", dont_inherit=True) if cold else None
            except (SyntaxError, ValueError, RecursionError):
                continue
            if changes == []:
                continue
            answer["tried"] += 1
            if changes is None:
                records = ask({"path": path, "text": text, "first": first, "then": then, "each": each_cpu})
            else:
                records = self._hot(changes, first, then, each_cpu)
            fixed = self._fixed(records, first, then)
            if len(fixed) <= len((answer["best"] or {}).get("fixed", ())):
                continue
            # The same on freshly imported sources, with all tests and those of other files that may be concerned.
            records = ask(
                {"path": path, "text": text, "first": failing, "then": passing, "each": each_cpu, "related": True}
            )
            fixed = self._fixed(records, failing, passing)
            if len(fixed) <= len((answer["best"] or {}).get("fixed", ())):
                continue
            answer["best"] = {**asdict(edit), "path": path, "fixed": fixed}
            others = [f for f in failing if f not in fixed]
            if not others:
                return {**answer, "status": "found"}
            if not any(self._covers(base, f, path, edit.around) for f in others):
                return {**answer, "status": "exhausted"}  # what still fails is another fault's
        return {**answer, "status": "exhausted"}

    @staticmethod
    def _covers(base: dict[str, Any], test: str, path: str, lines: tuple[int, int]) -> bool:
        cover = base["cover"].get(test)
        if cover is None:
            return True  # not traced in time: it may
        return not set(cover.get(path, ())).isdisjoint(range(lines[0], lines[1] + 1))

    def _hot(self, changes: list[Any], first: list[str], then: list[str], each_cpu: float) -> list[dict[str, Any]]:
        def body(send: Callable[[Any], None]) -> None:
            for function, code in changes:
                function.__code__ = code
            run_items(self.items, first, then, each_cpu, self.reports, send)

        return list(Child(body, each_cpu * 20).records(each_cpu * 4))

    @staticmethod
    def _fixed(records: list[dict[str, Any]], first: list[str], then: list[str]) -> list[str]:
        """Targets that pass now; none where something else broke, or not everything was run."""
        good = {r["id"] for r in records if r.get("status") == "passed"}
        if not records or not records[-1].get("end") or not good.issuperset(then):
            return []
        return [f for f in first if f in good]
