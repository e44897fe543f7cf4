"""The turns of a sub-agent: run the tests, search in the sandbox, edit, check, submit.

Stateless: where it stands is read from its own earlier calls and their results.
"""

from __future__ import annotations

import base64
import io
import json
import re
import shlex
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from swarm.embedded.policy import PolicyReply, PolicyToolCall
from swarm.embedded.repair import command, planner, prompt
from swarm.gating import pytest_output

PROGRAM = ("driver", "search", "measure", "trial", "lines", "hotswap", "mutations", "edits", "slips", "snapshot")
"""The modules of this package that are sent into the sandbox."""

BATCH_S = 50
SEARCH_CPU_S = 30
SEARCH_WALL_S = 100
_MAX_SHOWN = 200
_REPORT = "repair-report: "
_QUIET = "export PYTHONDONTWRITEBYTECODE=1;"  # nothing of ours is to be left in the workspace


@dataclass(frozen=True, slots=True)
class Step:
    """One earlier call and what came back; `result` is None while it is not answered."""

    name: str
    arguments: dict[str, Any]
    result: str | None

    @property
    def shell(self) -> str:
        return str(self.arguments.get("command", "")) if self.name == "bash" else ""


def steps(messages: Sequence[dict[str, Any]]) -> list[Step]:
    results = {m.get("tool_call_id"): prompt.text_of(m) for m in messages if m.get("role") == "tool"}
    found = []
    for m in messages:
        for call in (m.get("tool_calls") or ()) if m.get("role") == "assistant" else ():
            function = call.get("function") or {}
            try:
                arguments = json.loads(function.get("arguments") or "{}")
            except (ValueError, RecursionError):
                arguments = {}
            arguments = arguments if isinstance(arguments, dict) else {}
            found.append(Step(function.get("name", ""), arguments, results.get(call.get("id"))))
    return found


class Worker:
    """Decides the next turn of one attempt."""

    def __init__(self, messages: Sequence[dict[str, Any]], *, graded: bool = True) -> None:
        self.graded = graded
        text = prompt.user_text(messages)
        self.gate = prompt.test_command(text)
        self.call = command.parse(self.gate)
        self.subtask = prompt.subtask(text)
        self.steps = steps(messages)
        self.text = text
        self._rounds = 1

    def turn(self) -> PolicyReply:
        opened = self._find("repair: dir=")
        if opened is None:
            return self._open()
        place = re.search(r"^repair: dir=(\S+) python=(\S+)", opened.result or "", re.MULTILINE)
        if place is None:
            return self._submit(
                "failed", f"{planner.WHAT_I_AM}: the sandbox has no Python with pytest. Nothing was changed."
            )
        folder, python = place.groups()
        groups = self._groups(opened)
        if not groups:
            text = "no failing test is named, and no test command shows one"
            return self._submit("failed", f"{planner.WHAT_I_AM}: {text}. Nothing was changed.")
        sent = sum(1 for s in self.steps if s.name == "write" and "/job" in str(s.arguments.get("path")))
        if sent < len(groups):
            return self._send(folder, groups, sent)
        reports = []
        for n in range(len(groups)):
            reply, report = self._group(n, folder, python)
            if reply is not None:
                return reply
            reports.append(report)
        return self._close(folder, python, groups, reports)

    # -- turns -----------------------------------------------------------------------------------------------------

    def _open(self) -> PolicyReply:
        """A folder of its own, the interpreter that has pytest, and the tests as they are."""
        named = [shlex.quote(self.call.python)] if self.call.python else []
        shebang = '"$(sed -n "1s/^#!//p" "$(command -v pytest)" 2>/dev/null)"'
        script = (
            'here=$PWD; d=$(mktemp -d "${TMPDIR:-/tmp}/repair.XXXXXX") && mkdir $d/tmp\n'
            f"{self._scene()}for p in {' '.join([*named, 'python', 'python3', shebang])}; "
            "do $p -c 'import pytest' 2>/dev/null && break; p=; done\n"
            '[ -n "$p" ] && echo "repair: dir=$d python=$p"\n'
        )
        ids = self._named()
        if conflicts := prompt.conflicts(self.text):  # what was to be brought in is searched for anew
            files = " ".join(map(shlex.quote, conflicts))
            script = f"sed -i -e '/^<<<<<<< /d' -e '/^||||||| /,/^>>>>>>> /d' -- {files} 2>/dev/null\n{script}"
        if ids:
            script += f"{self._tests('$p', '$d', ids)} 2>&1 | tail -n 60"
        elif self.gate and not self._shown():
            script += f'{_QUIET}\ncd "$here" && ( {self.gate} )'
        return _bash(script, 90 if ids else 600, "I run the failing tests as they are.")

    def _send(self, folder: str, groups: list[list[str]], sent: int) -> PolicyReply:
        """The program, once, and a job for each group that has none yet."""
        calls = [_call("write", path=f"{folder}/program.b64", content=_packed())] if not sent else []
        limits = {"batch_s": BATCH_S, "cpu_s": SEARCH_CPU_S, "wall_s": SEARCH_WALL_S}
        for n, ids in enumerate(groups[sent:], sent):
            job = {"ids": ids, "pytest_args": list(self.call.options), **limits}
            calls.append(_call("write", path=f"{folder}/job{n}.json", content=json.dumps(job)))
        text = "I put my search program beside the repository: modules of swarm.embedded.repair, as a zip archive."
        return PolicyReply(text if not sent else "I note the tests that fail now.", tuple(calls))

    def _group(self, n: int, folder: str, python: str) -> tuple[PolicyReply | None, dict[str, Any]]:
        """The next turn for one group of tests, or its report when it is done."""
        mark = f" job{n} "
        runs = [(i, s) for i, s in enumerate(self.steps) if "swarm_repair.driver" in s.shell and mark in s.shell]
        report: dict[str, Any] = _report(runs[-1][1].result) if runs else {"status": "more"}
        if report["status"] == "more" and len(runs) <= SEARCH_WALL_S // BATCH_S + 4:
            search = (
                f"{self._scene()}export {self._assigned()}PYTHONDONTWRITEBYTECODE=1 TMPDIR={folder}/tmp; "
                f"base64 -d {folder}/program.b64 > {folder}/program.zip; "
                f'PYTHONPATH={folder}/program.zip"${{PYTHONPATH:+:$PYTHONPATH}}" '
                f"{python} -m swarm_repair.driver {folder} job{n} 2>&1"
            )
            return _bash(search, BATCH_S + 130, "I search for an edit that makes them pass."), report
        edits = report.get("edits", [])
        done = sum(1 for s in self.steps[runs[-1][0] :] if s.name == "edit") if runs else 0
        if runs and any(s.name == "bash" for s in self.steps[runs[-1][0] + 1 :]):
            return None, report  # its edits are done
        if done < len(edits):
            e = edits[done]
            text = f"{e['kind']}: `{e['old']}` becomes `{e['new']}`."
            change = _call("edit", path=self._path(e["path"]), old_string=e["old_string"], new_string=e["new_string"])
            return PolicyReply(text, (change,)), report
        return None, report

    def _close(self, folder: str, python: str, groups: list[list[str]], reports: list[dict[str, Any]]) -> PolicyReply:
        checks = self._checks()
        ids = [i for group in groups for i in group]
        edits = [e for r in reports for e in r.get("edits", [])]
        single = self.subtask is None and bool(self.gate)
        if len(checks) < self._rounds:
            script = "git status --short 2>/dev/null | head\ntrue"
            if edits:
                script = (
                    f"{_QUIET}\n( {self.gate} )" if single else f"{self._scene()}{self._tests(python, folder, ids)}"
                )
            text = "I check the result." if edits else "I clean up."
            clean = f"[ $status != 0 ] || rm -rf {folder}" if single else f"rm -rf {folder}"
            return _bash(f"# check\n{script}\nstatus=$?\n{clean}\nexit $status", 600, text)
        green = _passed(checks[-1])
        if single and not green and self._find("# clean") is None:
            return _bash(f"# clean\nrm -rf {folder}", 60, "I clean up.")
        summary = " ".join(_told(r) for r in reports)
        if not edits:
            passing = all(r["status"] == "passing" for r in reports)
            return self._submit("done" if passing else "failed", f"{summary} Nothing was changed.")
        whole = all(r["status"] in ("repaired", "passing") for r in reports)
        if not green and whole and self.subtask is not None:
            return self._take_back(checks[-1], edits, summary)
        end = f"A fresh run of {'the test command' if single else 'them'} {'passes' if green else 'still fails'}."
        return self._submit("done" if green and (whole or single) else "partial", f"{summary} {end}")

    def _take_back(self, checked: Step, edits: list[dict[str, Any]], summary: str) -> PolicyReply:
        back = [s for s in self.steps[self.steps.index(checked) :] if s.name == "edit"]
        if len(back) < len(edits):
            e = edits[len(edits) - 1 - len(back)]
            undo = _call("edit", path=self._path(e["path"]), old_string=e["new_string"], new_string=e["old_string"])
            return PolicyReply("The tests do not pass with it: I take it back.", (undo,))
        return self._submit("failed", f"{summary} But a fresh run fails, so I took it back: nothing is changed.")

    def _submit(self, status: str, summary: str) -> PolicyReply:
        word: dict[str, Any] = {"status": status} if self.graded else {"success": status == "done"}
        return PolicyReply("", (_call("submit", **word, summary=summary),))

    # -- what is asked ---------------------------------------------------------------------------------------------

    def _named(self) -> list[str]:
        if self.subtask is not None:
            return prompt.node_ids(self.subtask)
        return [f.nodeid for f in self._shown()]

    def _shown(self) -> list[pytest_output.Failure]:
        gates = prompt.gates(self.text)
        return pytest_output.parse(gates[-1].output) if gates else []

    def _groups(self, opened: Step) -> list[list[str]]:
        """The tests to repair, by suspected fault; a sub-task is one group.

        What the test command shows only after a repair (a broken import hid it) is another round of groups.
        """
        self._rounds = 1
        if self.subtask is not None:
            named = prompt.node_ids(self.subtask)
            return [named] if named else []
        failures = self._shown() or pytest_output.parse(opened.result or "")
        groups = [[f.nodeid for f in c.failures] for c in planner.cluster(failures, self.text)]
        for check in self._checks():
            known = {i for group in groups for i in group}
            new = [f for f in pytest_output.parse(check.result or "") if f.nodeid not in known]
            if new and not _passed(check):
                self._rounds += 1
                groups += [[f.nodeid for f in c.failures] for c in planner.cluster(new, self.text)]
        return groups

    def _checks(self) -> list[Step]:
        return [s for s in self.steps if s.shell.startswith("# check") and s.result is not None]

    def _find(self, mark: str) -> Step | None:
        return next((s for s in self.steps if mark in s.shell), None)

    # -- shell -----------------------------------------------------------------------------------------------------

    def _scene(self) -> str:
        """`cd x && ` and the like, which the test command begins with."""
        scene = re.match(r"^(.*(?:&&|;)\s*)?", self.call.prefix, re.DOTALL)
        return (scene.group(1) or "") if scene else ""

    def _assigned(self) -> str:
        return self.call.prefix[len(self._scene()) :]

    def _path(self, path: str) -> str:
        moved = re.findall(r"\bcd\s+(\S+)\s*(?:&&|;)", self._scene())
        return "/".join([*(m.strip("'\"").rstrip("/") for m in moved), path]) if moved else path

    def _tests(self, python: str, folder: str, ids: list[str]) -> str:
        kept = " ".join(shlex.quote(o) for o in self.call.options)
        named = " ".join(shlex.quote(i) for i in ids[:_MAX_SHOWN])
        cache = "" if "no:cacheprovider" in kept else f"-o cache_dir={folder}/cache "
        run = f"{python} -m pytest -q --tb=short {cache}{kept}".rstrip()
        return f"{_QUIET} {self._assigned()}{run} {named}"


@cache
def _packed() -> str:
    """The program as a zip archive in base64: a quarter of the tokens of its text, which each turn sends again."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("swarm_repair/__init__.py"), "")
        for name in PROGRAM:
            text = (resources.files(__package__) / f"{name}.py").read_text(encoding="utf-8")
            entry = zipfile.ZipInfo(f"swarm_repair/{name}.py")  # of 1980: the same bytes each time
            archive.writestr(entry, text, zipfile.ZIP_DEFLATED, 9)
    return base64.encodebytes(packed.getvalue()).decode()


def _passed(check: Step) -> bool:
    return re.search(r"\[exit code 0\]\s*$", check.result or "") is not None


def _report(result: str | None) -> dict[str, Any]:
    for line in reversed((result or "").splitlines()):
        if line.startswith(_REPORT):
            try:
                found = json.loads(line[len(_REPORT) :])
            except (ValueError, RecursionError):
                break
            if isinstance(found, dict):
                return found
            break
    return {"status": "error", "log": (result or "")[-500:]}


def _told(r: dict[str, Any]) -> str:
    """A report in one or two sentences."""
    status = r["status"]
    if status == "error":
        return f"The search could not run: {' '.join(str(r.get('log', '')).split())[-300:]}"
    if status == "missing":
        return "The tests named are not there."
    if status == "passing":
        return "The tests pass already."
    effort = f"({r['tried']} candidates tried, {r['cpu_s']} s of CPU)"
    if status not in ("repaired", "partial"):
        return f"No edit found for {r['targets']} failing test{'s' * (r['targets'] != 1)} {effort}."
    changes = "; ".join(f"{e['path']}:{e['line']} `{e['old']}` -> `{e['new']}`" for e in r["edits"])
    if status == "repaired":
        passes = "the test passes" if r["targets"] == 1 else f"all {r['targets']} tests pass"
        return f"Changed {changes}: {passes} {effort}."
    rest = ", ".join(r["still"])
    return f"Partial: changed {changes}; {r['failing']} of {r['targets']} tests still fail ({rest}) {effort}."


def _call(name: str, **arguments: Any) -> PolicyToolCall:
    return PolicyToolCall(name, json.dumps(arguments, ensure_ascii=False))


def _bash(script: str, timeout: int, text: str) -> PolicyReply:
    return PolicyReply(text, (_call("bash", command=script, timeout=timeout),))
