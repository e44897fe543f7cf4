"""Repositories in which the work of several agents must collide (see coding.py)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarm.embedded.policy import Policy, PolicyReply, PolicyRequest, PolicyToolCall
from swarm.embedded.repair.policy import RepairPolicy
from swarm.evals.faults import Fault, Planted
from swarm.evals.packages import BOLTONS, make_repository

TASK = "The tests of this package fail. Find the damage in the sources below pkg/ and repair it."


@dataclass(frozen=True, slots=True)
class Forced:
    """A repository of so many places for the same collision, and the model that is to get over it."""

    name: str
    folder: Path
    task: str
    test: str
    planted: Planted
    policy: Policy


class Partly:
    """The repair policy, but for some sub-tasks: `scripted` gives the command that their agent runs, by their id.

    `added` are sub-tasks that stand in the first plan besides those that the policy finds.
    """

    name = "repair"

    def __init__(self, scripted: Callable[[str], str | None], added: tuple[dict[str, Any], ...] = ()) -> None:
        self._scripted = scripted
        self._added = added
        self._repair = RepairPolicy()

    def reply(self, request: PolicyRequest) -> PolicyReply:
        """The next turn."""
        text = "\n".join(str(message.get("content")) for message in request.messages if message["role"] == "user")
        if (request.response_format or {}).get("type") == "json_schema":
            reply = self._repair.reply(request)
            if "## Stage" in text:
                return reply
            plan = json.loads(reply.content)
            return PolicyReply(json.dumps({**plan, "subtasks": [*plan["subtasks"], *self._added]}))
        name = text.rpartition("Sub-task ")[2].partition(":")[0]
        command = self._scripted(name)
        if command is None or not request.tools:
            return self._repair.reply(request)
        if not any(message["role"] == "assistant" for message in request.messages):
            arguments = json.dumps({"command": command, "timeout": 60})
            return PolicyReply("", (PolicyToolCall("bash", arguments),))
        return PolicyReply("", (PolicyToolCall("submit", json.dumps({"status": "done", "summary": f"ran {command}"})),))


def forced(number: int, out: Path) -> Iterator[Forced]:
    """Each kind of collision, so many times in one repository."""
    for make in (one_function, moved, broken, together):
        yield make(number, out)


def one_function(number: int, out: Path) -> Forced:
    """Two faults on lines next to each other: both patches are right, and they do not apply together."""
    files, faults = {"pkg/__init__.py": ""}, []
    for n in range(number):
        file = f"pkg/figures_{n}.py"
        files[file] = "def figures(a, b):\n    area = a + b\n    ring = a - b\n    return area, ring\n"
        for place, (name, wanted, old) in enumerate((("area", 12, "a * b"), ("ring", 7, "a + b"))):
            test = f"tests/test_{name}_{n}.py"
            files[test] = _test(f"pkg.figures_{n}", "figures", f"figures(3, 4)[{place}] == {wanted}")
            new = files[file].split("\n")[1 + place]
            faults.append(Fault(file, 2 + place, "figures", "", f"    {name} = {old}", new, (f"{test}::test_it",)))
    return _made("one function", files, faults, out, RepairPolicy())


def moved(number: int, out: Path) -> Forced:
    """One agent moves a file that another one edits."""
    files, faults, moves = {"pkg/__init__.py": ""}, [], []
    filling = "".join(f"\n\ndef constant_{n}():\n    return {n}\n" for n in range(6))
    for n in range(number):
        file, test = f"pkg/old_{n}.py", f"tests/test_moved_{n}.py"
        files[file] = f"def area(a, b):\n    return a + b\n{filling}"
        files[f"pkg/api_{n}.py"] = f'from pkg.old_{n} import area\n\n__all__ = ["area"]\n'
        files[test] = _test(f"pkg.api_{n}", "area", "area(3, 4) == 12")
        faults.append(Fault(file, 2, "area", "", "    return a * b", "    return a + b", (f"{test}::test_it",)))
        moves.append({
            "id": f"move-{n}", "title": f"Move pkg/old_{n}.py to pkg/new_{n}.py",
            "instructions": f"Move pkg/old_{n}.py to pkg/new_{n}.py, and its import in pkg/api_{n}.py.",
            "depends_on": [], "files": [], "replaces": [],
        })  # fmt: skip

    def scripted(name: str) -> str | None:
        kind, _, n = name.partition("-")
        if kind != "move" or not n.isdecimal():
            return None
        return f"mv pkg/old_{n}.py pkg/new_{n}.py && sed -i 's/pkg.old_{n} /pkg.new_{n} /' pkg/api_{n}.py"

    return _made("moved, edited", files, faults, out, Partly(scripted, tuple(moves)))


def broken(number: int, out: Path) -> Forced:
    """A repair that breaks a test that was green: what made up for the fault elsewhere has to change as well."""
    files, faults = {"pkg/__init__.py": ""}, []
    for n in range(number):
        scale, total, test = f"pkg/scale_{n}.py", f"pkg/total_{n}.py", f"tests/test_scale_{n}.py"
        files[scale] = "def scale(x):\n    return x * 3\n"
        files[total] = f"from pkg.scale_{n} import scale\n\n\ndef total(x):\n    return scale(x) + 0\n"
        files[test] = _test(f"pkg.scale_{n}", "scale", "scale(1) == 2 and scale(4) == 8")
        files[f"tests/test_total_{n}.py"] = _test(f"pkg.total_{n}", "total", "total(1) == 3")
        faults.append(Fault(scale, 2, "scale", "", "    return x * 2", "    return x * 3", (f"{test}::test_it",)))
    return _made("breaks a test", files, faults, out, RepairPolicy())


def together(number: int, out: Path) -> Forced:
    """Two patches that apply, each of them green by itself, and with both a test is red that never was."""
    files, faults = {"pkg/__init__.py": ""}, []
    for n in range(number):
        for name, right, wrong in (("first", 6, 5), ("second", 8, 7)):
            file, test = f"pkg/{name}_{n}.py", f"tests/test_{name}_{n}.py"
            files[file] = f"def {name}():\n    return {wrong}\n"
            files[test] = _test(f"pkg.{name}_{n}", name, f"{name}() == {right}")
            old, new = f"    return {right}", f"    return {wrong}"
            faults.append(Fault(file, 2, name, "", old, new, (f"{test}::test_it",)))
        files[f"pkg/agree_{n}.py"] = (
            f"from pkg.first_{n} import first\nfrom pkg.second_{n} import second\n\n\n"
            "def agree():\n    return not (first() > 5 and second() > 7)\n"
        )
        files[f"tests/test_agree_{n}.py"] = _test(f"pkg.agree_{n}", "agree", "agree()")
    return _made("red together", files, faults, out, RepairPolicy())


def _test(module: str, name: str, check: str) -> str:
    return f"from {module} import {name}\n\n\ndef test_it():\n    assert {check}\n"


def _made(name: str, files: Mapping[str, str], faults: list[Fault], out: Path, policy: Policy) -> Forced:
    folder = out / name.replace(", ", "-").replace(" ", "-")
    shutil.rmtree(folder, ignore_errors=True)
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    make_repository(folder, name)
    tests = sum(path.startswith("tests/") for path in files)
    failing = tuple(sorted({test for fault in faults for test in fault.failing}))
    return Forced(name, folder, TASK, BOLTONS.test, Planted(tuple(faults), failing, tests), policy)
