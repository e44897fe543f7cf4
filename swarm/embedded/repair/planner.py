"""From failing tests to a plan: one sub-task for each suspected fault."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from swarm.embedded.repair import prompt
from swarm.embedded.repair.lines import is_test
from swarm.gating.pytest_output import Failure, Frame, parse

MAX_SUBTASKS = 40
MAX_STAGES = 4
WHAT_I_AM = "I am a program-repair policy, not a language model"


@dataclass(slots=True)
class Cluster:
    """Failures that one fault may explain. `path` is empty where nothing points to a source file."""

    path: str
    function: str
    failures: list[Failure] = field(default_factory=list)
    collection: bool = False

    @property
    def label(self) -> str:
        return f"{self.path}: {self.function}" if self.path and self.function else self.path or self.function


def plan(text: str) -> dict[str, Any]:
    """The answer to the planner's prompt, in the fields of a Plan."""
    gates = prompt.gates(text)
    stage, earlier = prompt.stages(text)
    unsuccessful = [e for e in earlier if not e.succeeded]
    if not gates:
        return _empty(f"{WHAT_I_AM}: without the output of a pytest run there is nothing that I can do.")
    gate = gates[-1]
    failures = parse(gate.output)
    if gate.exit_code == 0:
        dropped = [e.id for e in unsuccessful]
        return {"rationale": f"{WHAT_I_AM}. The test command passes.", "subtasks": [], "dropped": dropped}
    if not failures:
        last = " ".join(gate.output.rstrip().rpartition("\n")[2].split())[:200]
        why = f"; its output ends with: {last}" if last else "."
        return _empty(f"{WHAT_I_AM}: the test command fails, but shows no failing pytest test{why}")
    now = {f.nodeid for f in failures}
    tried = stage >= MAX_STAGES or all(e.outcome == "failed" for e in earlier)
    if stage and tried and len(gates) > 1 and {f.nodeid for f in parse(gates[-2].output)} == now:
        return _empty(f"{WHAT_I_AM}. The same {len(now)} tests fail as before, and the search was tried on them.")
    room = prompt.room(text)
    kept = room // 3 if room is not None and prompt.goes_on(text) else 0  # for what this stage leaves
    limit = MAX_SUBTASKS if room is None else max(1, min(MAX_SUBTASKS, room - kept))
    clusters = [c for c in cluster(failures, text, limit) if _failed_before(earlier, c) < 2]
    command = prompt.test_command(text)
    subtasks = [_subtask(n, c, command, stage) for n, c in enumerate(clusters, 1)]
    paths = Counter(c.path for c in clusters)
    for task, c in zip(subtasks, clusters, strict=True):  # who shares a file claims none
        task["files"] = [c.path] if c.path and paths[c.path] == 1 else []
    dropped = []
    for e in unsuccessful if subtasks else ():
        heirs = [t for t, c in zip(subtasks, clusters, strict=True) if _concerns(e, c)]
        if heirs:
            heirs[0]["replaces"].append(e.id)
        else:
            dropped.append(e.id)
    rationale = f"{WHAT_I_AM}. {len(failures)} failing tests point to {len(clusters)} suspected faults."
    return {"rationale": rationale, "subtasks": subtasks, "dropped": dropped}


def plan_json(text: str) -> str:
    return json.dumps(plan(text), ensure_ascii=False)


def _empty(rationale: str) -> dict[str, Any]:
    return {"rationale": rationale, "subtasks": [], "dropped": []}


def _failed_before(earlier: list[prompt.Earlier], c: Cluster) -> int:
    return sum(e.outcome == "failed" and _title(c) in e.text for e in earlier)


def _concerns(earlier: prompt.Earlier, c: Cluster) -> bool:
    return _title(c) in earlier.text or any(f.function in earlier.text for f in c.failures)


# -- clusters ----------------------------------------------------------------------------------------------------------


def cluster(failures: list[Failure], known_files: str = "", limit: int = MAX_SUBTASKS) -> list[Cluster]:
    """At most `limit` clusters, the largest first; `known_files` is text that lists the repository's files."""
    found: dict[tuple[str, str, bool], Cluster] = {}
    lines = frozenset(line.strip().removeprefix("./") for line in known_files.splitlines())
    for f in failures:
        collection = f.error and "::" not in f.nodeid
        path, function = _suspect(f, lines)
        if collection and not path:
            path, function = "", f.path
        elif not path:
            function = f.path
        key = (path or f.path, function, collection)
        found.setdefault(key, Cluster(path, function, collection=collection)).failures.append(f)
    clusters = list(found.values())
    clusters.sort(key=lambda c: -len(c.failures))
    while len(clusters) > limit:
        smallest = clusters.pop()
        home = next((c for c in reversed(clusters) if c.path == smallest.path), clusters[-1])
        home.failures += smallest.failures
        clusters.sort(key=lambda c: -len(c.failures))
    return clusters


def _suspect(f: Failure, files: frozenset[str]) -> tuple[str, str]:
    """File and function of the deepest frame in the program's own source."""
    for frame in reversed(f.frames):
        path = _inside(frame, files)
        if path and not is_test(path):
            return path, frame.function or _function_in(frame)
    return "", ""


def _function_in(frame: Frame) -> str:
    return f"line {frame.line}"


def _inside(frame: Frame, files: frozenset[str]) -> str:
    """The frame's path relative to the repository, "" for a file outside."""
    path = frame.path
    if re.search(r"(?:^|/)(?:site-packages|dist-packages|lib/python[\d.]+)/", path) or path.startswith(("<", "..")):
        return ""
    if not path.startswith("/"):
        return path.removeprefix("./")
    parts = PurePosixPath(path).parts
    return next((tail for n in range(1, len(parts)) if (tail := "/".join(parts[n:])) in files), "")


# -- sub-tasks ---------------------------------------------------------------------------------------------------------


def _title(c: Cluster) -> str:
    return (f"Repair the import of {c.failures[0].path}" if c.collection else f"Repair {c.label}")[:180]


def _subtask(number: int, c: Cluster, command: str, stage: int) -> dict[str, Any]:
    slug = re.sub(r"[^A-Za-z0-9]+", "-", f"{PurePosixPath(c.path).stem} {c.function}").strip("-").lower()[:40]
    ids = list(dict.fromkeys(f.nodeid for f in c.failures))
    lines = [f"Make these {len(ids)} failing tests pass without breaking others:" if not c.collection
             else "These test files cannot be imported. Make them import and pass:"]  # fmt: skip
    lines += ["", *ids, ""]
    if c.path:
        inside = f", {c.function}" if c.function.startswith("line ") else f", function {c.function}"
        lines.append(
            f"Suspected place: {c.path}{inside if c.function else ''} (the deepest frame of their tracebacks)."
        )
    else:
        lines.append("No traceback of theirs leads into the source.")
    messages = list(dict.fromkeys(f.message for f in c.failures if f.message))[:3]
    lines += [f"They say: {m[:200]}" for m in messages]
    if command:
        lines.append(f"Run them with the options of the test command ({command}), giving their node ids.")
    prefix = f"r{stage + 1}-" if stage else ""
    return {
        "id": f"{prefix}{number:02d}-{slug or 'tests'}"[:60].rstrip("-"),
        "title": _title(c),
        "instructions": "\n".join(lines),
        "depends_on": [],
        "files": [],
        "replaces": [],
    }
