"""The search for an edit, in a process that has collected the tests: rank, try, keep the best.

Runs inside the sandbox (Python 3.8 or newer, standard library and pytest only).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from .edits import Edit
from .hotswap import HotFile
from .lines import spread, suspicion
from .measure import Tests
from .mutations import Mutator
from .trial import Child, run_items

COLD_FACTOR = 0.3  # an edit that needs a fresh import costs many times more
MAX_EXTRA = 20
PATIENCE_WHOLE = 60
PATIENCE_PART = 150


class Search:
    """One round. `ask` has the parent run tests on a freshly imported source; `read` gives a source as edited so far.

    Other tests of the same files that fail as well are evidence: where several edits make all targets pass, the one
    that also helps them is more likely the right one.
    """

    def __init__(
        self, tests: Tests, state: dict[str, Any], read: Callable[[str], str], ask: Callable[[Any], Any]
    ) -> None:
        self.tests, self.state, self.read, self.ask = tests, state, read, ask
        self.base: dict[str, Any] = {}
        self.failing: list[str] = []
        self.passing: list[str] = []
        self.extra: list[str] = []
        self.hung: set[str] = set()
        self.each = 1.0
        self.hot: dict[str, HotFile] = {}

    def run(self, wanted: list[str], deadline: float) -> dict[str, Any]:
        """Try candidates until one makes all targets pass, or the deadline of `time.monotonic`.

        The answer's `status`: found, exhausted (perhaps with a `best`), paused, nothing (no target fails), missing (no
        target is there).
        """
        targets = self.tests.targets(wanted)
        if not targets:
            return {"status": "missing", "targets": 0, "failing": [], "tried": 0}
        self._learn(targets)
        state = self.state
        answer: dict[str, Any] = {"base": self.base, "targets": len(targets), "failing": self.failing, "tried": 0}
        answer.update(next=state.get("next", 0), best=state.get("best"))
        if not self.failing:
            return {**answer, "status": "nothing"}
        before = state.get("tried", 0)
        for n, (path, edit, cold) in enumerate(self.candidates()):
            if n < state.get("next", 0):
                continue
            best, tried = answer["best"], before + answer["tried"]
            if best and tried > 2 * best["at"] + (PATIENCE_WHOLE if self._whole(best) else PATIENCE_PART):
                break
            if time.monotonic() > deadline:
                return {**answer, "next": n, "round_tried": tried, "status": "paused"}
            fixed = self._try(path, edit, cold, best["fixed"] if best else [])
            answer["tried"] += fixed is not None
            if not fixed:
                continue
            answer["best"] = {**asdict(edit), "path": path, "fixed": fixed, "at": tried}
            left = [f for f in [*self.failing, *self.extra] if f not in fixed]
            if not any(self._covers(f, path, edit.around) for f in left):
                break  # what still fails is another fault's
        return {**answer, "status": "found" if self._whole(answer["best"]) else "exhausted"}

    def _learn(self, targets: list[str]) -> None:
        self.base = self.state.get("base") or self.tests.measure(targets)
        status = self.base["status"]
        self.failing = [t for t in targets if status.get(t) != "passed"]
        self.passing = [i for i, s in status.items() if s == "passed"]
        self.extra = [i for i, s in status.items() if s == "failed" and i in self.tests.items and i not in targets]
        self.extra = self.extra[:MAX_EXTRA]
        self.hung = {i for i, s in status.items() if s == "hang"}
        self.each = max(1.0, 5 * max([self.base["s"].get(i, 0.0) for i in self.passing] + [0.2]))

    def candidates(self) -> list[tuple[str, Edit, bool]]:
        """(path, edit, whether it needs a fresh import), most promising first."""
        score = suspicion(self.failing, self.extra, self.base["cover"], self.base["frames"])
        found: list[tuple[float, str, Edit, bool]] = []
        for path in sorted(score):
            source, lines = self.read(path), score[path]
            imported = self.tests.at_import.get(path, set())
            try:
                spread(source, lines, imported.__contains__)
                edits = Mutator(source, _highest(lines)).edits()
            except (SyntaxError, ValueError, RecursionError):
                continue  # not parsed by this interpreter: nothing to offer
            for e in edits:
                cold = not e.in_body or not imported.isdisjoint(range(e.line, e.last + 1))
                found.append((e.score * (COLD_FACTOR if cold else 1.0), path, e, cold))
        found.sort(key=lambda f: -f[0])
        return [(path, e, cold) for _, path, e, cold in found]

    def _try(self, path: str, edit: Edit, cold: bool, known: list[str]) -> list[str] | None:
        """The failing tests that pass with the edit, if better than `known`, else none. None: nothing to try."""
        source = self.read(path)
        text = edit.apply(source)
        try:
            changes = self._changes(path, source, text, edit.line) if not cold else None
            if changes is None:
                compile(text, path, "exec", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError):
            return None
        if changes == []:
            return None
        head = edit.line, edit.last
        mine = [f for f in self.failing if cold or self._covers(f, path, head)] or self.failing
        extra = [x for x in self.extra if cold or self._covers(x, path, head)]
        asked = self._order(mine, [p for p in self.passing if cold or self._covers(p, path, head)], extra)
        records = self.ask({**asked, "path": path, "text": text}) if changes is None else self._swapped(changes, asked)
        fixed = self._fixed(records, asked)
        if self._rank(fixed) <= self._rank(known):
            return []
        # The same on freshly imported sources, with all tests and those of other files that may be concerned.
        mine = [f for f in fixed if f in self.failing]
        asked = self._order(mine, self.passing, [f for f in [*self.extra, *self.failing] if f not in mine])
        fixed = self._fixed(self.ask({**asked, "path": path, "text": text, "related": True}), asked)
        return fixed if self._rank(fixed) > self._rank(known) else []

    def _order(self, mine: list[str], then: list[str], extra: list[str]) -> dict[str, Any]:
        """What a child is to run. A test that hung may hang again, and end the child: such ones come last."""
        calm = [f for f in mine if f not in self.hung] or mine[:1]
        late = sorted([*extra, *(f for f in mine if f not in calm)], key=lambda f: f in self.hung)
        each = self.each if self.hung.isdisjoint(calm) else max(0.5, self.each / 2)
        return {"first": calm, "then": then, "extra": late, "each": each}

    def _changes(self, path: str, source: str, text: str, line: int) -> list[Any] | None:
        if path not in self.hot:
            self.hot[path] = HotFile(path, source)
        return self.hot[path].changes(text, line)

    def _swapped(self, changes: list[Any], asked: dict[str, Any]) -> list[dict[str, Any]]:
        def body(send: Callable[[Any], None]) -> None:
            for function, code in changes:
                function.__code__ = code
            run_items(self.tests.items, asked, self.tests.reports, send)

        return list(Child(body, self.each * 20).records(self.each * 4))

    def _covers(self, test: str, path: str, lines: tuple[int, int]) -> bool:
        cover = self.base["cover"].get(test)
        if cover is None:
            return True  # not traced in time: it may
        return not set(cover.get(path, ())).isdisjoint(range(lines[0], lines[1] + 1))

    def _whole(self, best: dict[str, Any] | None) -> bool:
        return best is not None and set(self.failing) <= set(best["fixed"])

    def _rank(self, fixed: list[str]) -> tuple[int, int]:
        """Targets first, then the others; nothing without a target."""
        mine = len({*fixed} & {*self.failing})
        return (mine, len(fixed) - mine) if mine else (0, 0)

    @staticmethod
    def _fixed(records: list[dict[str, Any]], asked: dict[str, Any]) -> list[str]:
        """What failed and passes now; none where something else broke, or not everything was run."""
        good = {r["id"] for r in records if r.get("status") == "passed"}
        if not any(r.get("end") for r in records) or not good.issuperset(asked["then"]):
            return []
        return [f for f in [*asked["first"], *asked["extra"]] if f in good]


def _highest(lines: dict[int, float]) -> Callable[[int, int], float]:
    return lambda first, last: max(lines.get(n, 0.0) for n in range(first, last + 1))
