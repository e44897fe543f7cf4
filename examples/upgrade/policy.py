"""A policy of one's own behind an embedded endpoint: it upgrades programs by what their warnings say.

It is no language model. It shows what a policy is: a function of the messages, as a model is, with the same tools. As
planner it makes a sub-task of each file that the failing tests complain of; as sub-agent it runs its tests, reads the
warnings, derives renamings from them, applies these at the places that Python's parser gives, and runs the tests again,
until they pass or nothing new is said.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from importlib import resources
from pathlib import PurePosixPath
from typing import Any

from examples.upgrade.warned import Rules, rules_in
from swarm.embedded.policy import PolicyReply, PolicyRequest, PolicyToolCall
from swarm.embedded.repair import command, prompt
from swarm.embedded.repair.lines import is_test
from swarm.embedded.repair.worker import Step, steps
from swarm.gating.pytest_output import parse

WHAT_I_AM = "I am a program that follows warnings of deprecation, not a language model"
ROUNDS = 6
_HEADER = re.compile(r"^_{3,} (.+?) _{3,}$", re.MULTILINE)
_PLACE = re.compile(r"([\w./-]+\.py)(?::\d|\", line \d)")
_FILES = re.compile(r"^# Files of the repository\n\n(.*?)(?=\n\n|\Z)", re.MULTILINE | re.DOTALL)
_MINE = re.compile(r"^Upgrade (\S+\.py)\.$", re.MULTILINE)
_NOT_OURS = {"vendor", "third_party", "site-packages", "node_modules"}


class UpgradePolicy:
    """Implements `swarm.embedded.policy.Policy`."""

    name = "upgrade"

    def reply(self, request: PolicyRequest) -> PolicyReply:
        """The next turn; which role is meant shows in what the request offers."""
        text = prompt.user_text(request.messages)
        if (request.response_format or {}).get("type") == "json_schema":
            return PolicyReply(json.dumps(plan(text), ensure_ascii=False))
        if {"bash", "submit"} <= {tool.get("function", {}).get("name") for tool in request.tools}:
            return turn(text, steps(request.messages))
        results = prompt.results(text)
        return PolicyReply("\n\n".join(f"{head}: {body}" for head, body in results) or f"{WHAT_I_AM}.")


def plan(text: str) -> dict[str, Any]:
    """The answer to the planner's prompt: a sub-task for each file, and none for what was tried already."""
    gates = prompt.gates(text)
    _, earlier = prompt.stages(text)
    left = [each for each in earlier if not each.succeeded]
    if gates and gates[-1].exit_code == 0:
        return {"rationale": "The tests pass.", "subtasks": [], "dropped": [each.id for each in left]}
    wanted = concerned(gates[-1].output, text) if gates else {}
    wanted = {file: ids for file, ids in wanted.items() if not any(f"({_title(file)})" in e.text for e in earlier)}
    gate = prompt.test_command(text)
    said = f"{WHAT_I_AM}. The failing tests complain of {len(wanted)} files that were not tried yet."
    subtasks = [
        {
            "id": re.sub(r"[^A-Za-z0-9.-]+", "-", file.removesuffix(".py")).strip("-.")[-60:],
            "title": _title(file),
            "instructions": "\n".join(
                [f"Upgrade {file}.", "", "Its tests:", "", *ids, "", f"Run them with the options of `{gate}`."]
            ),
            "depends_on": [],
            "files": [file],
            "replaces": [],
        }
        for file, ids in list(wanted.items())[: prompt.room(text)]
    ]
    return {"rationale": said, "subtasks": subtasks, "dropped": []}


def _title(file: str) -> str:
    return f"Upgrade {file}"


def concerned(output: str, text: str) -> dict[str, list[str]]:
    """Files of the repository that failing tests complain of, with the tests: the first that each names which is
    neither a test nor a dependency. `text` lists the files."""
    listed = _FILES.search(text)
    files = [line.strip().removeprefix("./") for line in (listed[1].splitlines() if listed else ())]
    known = {file for file in files if not is_test(file) and not _NOT_OURS & set(PurePosixPath(file).parts)}
    parts = _HEADER.split(output)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    found: dict[str, list[str]] = {}
    for failure in parse(output):
        section = sections.get(failure.nodeid.partition("::")[2].replace("::", "."), "")
        named = (_within(place[1], known) for place in _PLACE.finditer(section))
        stem = re.search(r"\[([\w.-]+)\]$", failure.nodeid)
        alike = [file for file in sorted(known) if stem and PurePosixPath(file).stem == stem[1]]
        if file := next((name for name in named if name), alike[0] if alike else ""):
            found.setdefault(file, []).append(failure.nodeid)
    return found


def _within(path: str, known: set[str]) -> str:
    parts = PurePosixPath(path).parts
    return next((tail for n in range(len(parts)) if (tail := "/".join(parts[n:])) in known), "")


def turn(text: str, done: Sequence[Step]) -> PolicyReply:
    """The next turn of a sub-agent: look, rename, look again, submit. Where it stands, its own calls tell."""
    own = prompt.subtask(text) or ""
    files, ids = _MINE.findall(own), prompt.node_ids(own)
    if not files or not ids:
        return _submit("failed", f"{WHAT_I_AM}: no file to upgrade is named, or no test of it. Nothing was changed.")
    looks = [step for step in done if step.shell.startswith("# look") and step.result is not None]
    if not looks:
        return _look(text, ids, "I run the tests and gather what they warn of.")
    known = Rules()
    for step in looks[:-1]:
        known.names |= rules_in(step.result or "").names
        known.arguments |= rules_in(step.result or "").arguments
    changed = [line for step in done if step.shell.startswith("# rename") for line in _changes(step.result or "")]
    said = _told(changed)
    if (looks[-1].result or "").rstrip().endswith("[exit code 0]"):
        return _submit("done", f"{files[0]}: {said} Its tests pass.")
    new = rules_in(looks[-1].result or "").without(known)
    if done[-1].shell.startswith("# rename"):
        return _look(text, ids, "I run the tests again.")
    if new and len(looks) <= ROUNDS:
        return _rename(new, files)
    last = " ".join((looks[-1].result or "").split())[-400:]
    return _submit("failed", f"{files[0]}: {said} Its tests still fail, and no further renaming is told of: {last}")


def _look(text: str, ids: Sequence[str], why: str) -> PolicyReply:
    """Run the tests; of what they print only what warns, each thing once with its count, and the end."""
    call = command.parse(prompt.test_command(text))
    options = " ".join(map(shlex.quote, call.options))
    named = " ".join(map(shlex.quote, ids))
    script = (
        # Bytecode goes by size and whole seconds: a name as long as the old one, put there at once, would not be seen.
        "# look\nexport PYTHONDONTWRITEBYTECODE=1\nout=$(mktemp)\n"
        f"{call.prefix}{shlex.quote(call.python or 'python')} -m pytest -q --tb=short {options} {named} > $out 2>&1\n"
        "status=$?\n"
        "grep -E 'Warning:|Error:' $out | sed -E 's/^.*\\.py:[0-9]+: //' | sort | uniq -c | sort -rn | head -n 100\n"
        "tail -n 5 $out; rm -f $out\n"
        "(exit $status)"
    )
    return PolicyReply(why, (_call("bash", command=script, timeout=300),))


def _rename(rules: Rules, files: Sequence[str]) -> PolicyReply:
    """Rename, with the program of `rename.py` and the rules that the warnings gave."""
    told = json.dumps({"names": rules.names, "arguments": rules.arguments}, sort_keys=True)
    program = (resources.files(__package__) / "rename.py").read_text(encoding="utf-8")
    script = f"# rename\npython3 - {shlex.quote(told)} {' '.join(map(shlex.quote, files))} <<'RENAME'\n{program}RENAME"
    words = ", ".join(f"`{old}` is now `{new}`" for old, new in sorted((rules.names | rules.arguments).items()))
    return PolicyReply(f"The warnings say: {words}.", (_call("bash", command=script),))


def _changes(result: str) -> list[str]:
    return re.findall(r"^\S+\.py:\d+: (\w+ -> \w+)$", result, re.MULTILINE)


def _told(changed: Sequence[str]) -> str:
    """The renamings with how often each was made."""
    if not changed:
        return "nothing was renamed."
    counts = {each: changed.count(each) for each in sorted(set(changed))}
    return f"{len(changed)} places: " + ", ".join(f"{each} ({n})" for each, n in counts.items()) + "."


def _submit(status: str, summary: str) -> PolicyReply:
    return PolicyReply("", (_call("submit", status=status, summary=summary),))


def _call(name: str, **arguments: Any) -> PolicyToolCall:
    return PolicyToolCall(name, json.dumps(arguments, ensure_ascii=False))
