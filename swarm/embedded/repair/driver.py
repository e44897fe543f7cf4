"""The program that searches for an edit: `python -m swarm_repair.driver FOLDER JOB`, run in the repository.

It imports pytest and its plugins once and forks for everything else, so that the program under test is imported
afresh where that matters. The files on disk are not edited: mutants live in memory, and what a test run changed is put
back. `FOLDER/JOB.json` holds the work, `FOLDER/JOB.state.json` where it stands; the last line printed is the report.
Runs inside the sandbox (Python 3.8 or newer, standard library and pytest only).
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
import time
import tokenize
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from .lines import Ours, Tracer, is_test
from .measure import Tests
from .search import Search
from .snapshot import Snapshot, walk
from .trial import Child, Overlay, Reports, run_items

REPORT = "repair-report: "
MAX_ROUNDS = 4
RELATED_S = 20.0


def preload(ours: Ours) -> None:
    """Import pytest's plugins, but not a plugin that is the program under test."""
    for name in ("_pytest.python", "_pytest.assertion.rewrite", "_pytest.unittest", "_pytest.doctest", "unittest.mock"):
        importlib.import_module(name)
    if os.environ.get("PYTEST_DISABLE_PLUGIN_AUTOLOAD"):
        return
    names = {
        e.value.partition(":")[0] for d in metadata.distributions() for e in d.entry_points if e.group == "pytest11"
    }
    for name in sorted(names):
        try:
            spec = importlib.util.find_spec(name.partition(".")[0])
            if spec is not None and not ours(spec.origin or ""):
                importlib.import_module(name)
        except Exception as e:  # noqa: BLE001  # a broken plugin: pytest itself will tell
            sys.stderr.write(f"{name}: {e}\n")


class _Plugin:
    """Takes the place of pytest's own run loop, and leaves the process after it."""

    def __init__(self, loop: Callable[[Any], None]) -> None:
        self._loop = loop

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: Any) -> bool:
        self._loop(session)
        return True


class Driver:
    def __init__(self, folder: Path, job: dict[str, Any], state: dict[str, Any]) -> None:
        self.job, self.state = job, state
        self.root = Path.cwd()
        self.ours = Ours(str(self.root))
        self.edits: list[dict[str, Any]] = state.setdefault("edits", [])
        self.texts: dict[str, str] = {}
        for e in self.edits:
            self.texts[e["path"]] = e["text"]
        files = {i.partition("::")[0]: None for i in job["ids"]}
        self.files = [f for f in files if Path(f).exists()]
        self.args = [
            *job["pytest_args"],
            "-qq",
            "--assert=plain",
            "--tb=native",
        ]
        if "no:cacheprovider" not in "".join(job["pytest_args"]):  # else it is unknown, and pytest may be strict
            self.args += ["-o", f"cache_dir={folder / 'cache'}"]
        for module, options in (
            ("xdist", ("-n0",)),
            ("pytest_cov", ("--no-cov",)),
            ("pytest_randomly", ("-p", "no:randomly")),
        ):
            if module in sys.modules:
                self.args += options

    def read(self, path: str) -> str:
        if path in self.texts:
            return self.texts[path]
        with tokenize.open(path) as f:
            encoding = f.encoding
        with open(path, encoding=encoding, newline="") as f:
            return f.read()

    # -- children --------------------------------------------------------------------------------------------------

    def _pytest(self, texts: dict[str, str], files: list[str], loop: Callable[[Any], None], reports: Reports) -> None:
        Overlay(texts).install()
        pytest.main([*self.args, *files], plugins=[_Plugin(loop), reports])

    def _fresh(
        self, texts: dict[str, str], files: list[str], asked: dict[str, Any] | None, total: float
    ) -> list[dict[str, Any]]:
        """Tests on freshly imported sources: those asked for, or else all that the files hold."""

        def body(send: Callable[[Any], None]) -> None:
            reports = Reports(self.ours)

            def loop(session: Any) -> None:
                items = {i.nodeid: i for i in session.items}
                if asked:
                    run_items(items, asked, reports, send)
                else:
                    for item in session.items:
                        signal.setitimer(signal.ITIMER_VIRTUAL, 2.0)  # its signal ends the process
                        send(reports.run(item, None))
                os._exit(0)

            self._pytest(texts, files, loop, reports)

        records, end = [], time.monotonic() + total
        child = Child(body, total)
        for record in child.records((asked or {}).get("each", 0.0) * 4 + 10):
            records.append(record)
            if time.monotonic() > end:
                break
        child.close()
        return records

    def _answer(self, asked: dict[str, Any]) -> list[dict[str, Any]]:
        path, texts = asked["path"], {**self.texts, asked["path"]: asked["text"]}
        files = self.files
        if asked.get("related"):
            more = self._related(path)
            files = [*files, *more]
            asked = {**asked, "then": [*asked["then"], *(i for ids in more.values() for i in ids)]}
        return self._fresh(texts, files, asked, 60.0)

    def _related(self, path: str) -> dict[str, list[str]]:
        """Other test files that name the module, with their tests that pass now (of those that run in time)."""
        at = Path(path)
        stem = (at.parent.name if at.name == "__init__.py" else at.stem).encode()
        known: dict[str, dict[str, list[str]]] = self.state.setdefault("related", {})
        if path not in known:
            files = [str(f.relative_to(self.root)) for f in walk(self.root) if "test" in f.name and f.suffix == ".py"]
            files = [f for f in files if is_test(f) and f not in self.files and "conftest" not in f]
            found = [f for f in files if stem in Path(f).read_bytes()]
            known[path] = {f: [] for f in sorted(found)}
            if found:
                for record in self._fresh(self.texts, sorted(found), None, RELATED_S):
                    file = record["id"].partition("::")[0]
                    if record["status"] == "passed" and file in known[path] and record["s"] < 0.5:
                        known[path][file].append(record["id"])
        return {f: ids for f, ids in known[path].items() if ids}

    def _round(self, deadline: float) -> dict[str, Any]:
        """One search in a child of its own, on the sources as edited so far."""
        read_end, write_end = os.pipe()

        def body(send: Callable[[Any], None]) -> None:
            os.close(write_end)
            answers = os.fdopen(read_end, "rb")
            reports, tracer = Reports(self.ours), Tracer(self.ours)

            def ask(question: Any) -> Any:
                send({"ask": question})
                return json.loads(answers.readline())

            def loop(session: Any) -> None:
                tests = Tests(session, reports, self.ours, tracer.take())
                search = Search(tests, self.state.setdefault("round", {}), self.read, ask)
                send({"end": search.run(self.job["ids"], deadline)})
                os._exit(0)

            tracer.start()
            self._pytest(self.texts, self.files, loop, reports)

        child = Child(body, 0, quiet=False)
        os.close(read_end)
        end: dict[str, Any] = {"status": "error"}
        with os.fdopen(write_end, "wb") as answers:
            for record in child.records(600):
                if "ask" in record:
                    answers.write(json.dumps(self._answer(record["ask"])).encode() + b"\n")
                    answers.flush()
                else:
                    end = record["end"]
        return end

    # -- rounds ----------------------------------------------------------------------------------------------------

    def run(self, started: float) -> dict[str, Any]:
        """Go on with the job for its `batch_s` seconds; `status` more: call again."""
        state, job = self.state, self.job
        spent = state.get("cpu", 0.0), state.get("wall", 0.0)
        while True:
            end = self._round(started + job["batch_s"])
            used = spent[0] + sum(os.times()[:4]), spent[1] + time.monotonic() - started
            state["cpu"], state["wall"] = used
            out = used[0] > job["cpu_s"] or used[1] > job["wall_s"]
            state["tried"] = state.get("tried", 0) + end.get("tried", 0)
            state.setdefault("targets", end.get("targets", 0))
            best, status = end.get("best"), end["status"]
            if status == "paused" and not out:
                state["round"] = {k: end[k] for k in ("base", "next", "best")}
                state["round"]["tried"] = end["round_tried"]
                return self._report("more", end)
            state["round"] = {}
            if status in ("found", "exhausted", "paused") and best:
                self._accept(best)
            if status == "found":
                return self._report("repaired", end, fixed_all=True)
            if status in ("missing", "error"):
                return self._report(status, end)
            if status == "nothing":
                return self._report("repaired" if self.edits else "passing", end)
            if not best or out or len(self.edits) >= MAX_ROUNDS:
                return self._report("partial" if self.edits else "none", end)
            if time.monotonic() > started + job["batch_s"]:
                return self._report("more", end)

    def _accept(self, best: dict[str, Any]) -> None:
        """Remember the edit, with enough lines around it to make its place unique."""
        source = self.read(best["path"])
        data = source.encode()
        after = (data[: best["start"]] + best["text"].encode() + data[best["end"] :]).decode()
        a, b = source.split("\n"), after.split("\n")
        first = next(i for i in range(len(a)) if i >= len(b) or a[i] != b[i])
        tail = 0
        while tail < min(len(a), len(b)) - first and a[len(a) - 1 - tail] == b[len(b) - 1 - tail]:
            tail += 1
        low, high = first, len(a) - tail
        while source.count("\n".join(a[low:high])) != 1 or low == high:
            low, high = max(0, low - 1), min(len(a), high + 1)
        self.edits.append({
            "path": best["path"], "text": after, "line": first + 1, "kind": best["kind"], "fixed": len(best["fixed"]),
            "old_string": "\n".join(a[low:high]), "new_string": "\n".join(b[low : high + len(b) - len(a)]),
            "old": "\n".join(a[first : len(a) - tail]).strip(), "new": "\n".join(b[first : len(b) - tail]).strip(),
        })  # fmt: skip
        self.texts[best["path"]] = after

    def _report(self, status: str, end: dict[str, Any], fixed_all: bool = False) -> dict[str, Any]:
        failing = (
            []
            if fixed_all
            else [f for f in end.get("failing", []) if f not in (end.get("best") or {}).get("fixed", ())]
        )
        keys = ("line", "kind", "fixed", "old_string", "new_string", "old", "new")
        edits = [{"path": os.path.relpath(e["path"], self.root), **{k: e[k] for k in keys}} for e in self.edits]
        return {
            "status": status,
            "targets": self.state.get("targets", 0),
            "failing": len(failing),
            "still": failing[:3],
            "tried": self.state.get("tried", 0),
            "cpu_s": round(self.state.get("cpu", 0.0), 1),
            "wall_s": round(self.state.get("wall", 0.0), 1),
            "edits": edits if status != "more" else [],
        }


def main() -> None:
    started = time.monotonic()
    folder, name = Path(sys.argv[1]).resolve(), sys.argv[2]
    out = os.fdopen(os.dup(1), "w")
    log = folder / f"{name}.log"
    log.write_bytes(b"")
    with open(log, "ab") as f:
        for fd in (1, 2):
            os.dup2(f.fileno(), fd)
    job = json.loads((folder / f"{name}.json").read_text())
    kept = folder / f"{name}.state.json"
    state: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    snapshot = Snapshot(Path.cwd())
    preload(Ours(str(Path.cwd())))
    try:
        report = Driver(folder, job, state).run(started)
    finally:
        snapshot.restore()
    kept.write_text(json.dumps(state))
    if report["status"] == "error":
        report["log"] = log.read_text(errors="replace")[-1500:]
    out.write(REPORT + json.dumps(report) + "\n")
    out.flush()


if __name__ == "__main__":
    main()
