"""What a repair sub-agent is told: whose patch it brings in, what is in the way, and who made that."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_BACKTICKS = re.compile(r"`{3,}")
_MOST_INSTRUCTIONS = 6_000
_MOST_REPORT = 3_000
_MOST_HUNKS = 16_000
"""Characters of other sub-tasks' changes that one request holds."""

_MOST_CHANGE = 16_000
_MOST_OUTPUT = 12_000
_MOST_FILES = 40


@dataclass(frozen=True, slots=True)
class Case:
    """An evicted patch; `change` is its diff. `applies`: it does, and tests break. `others` are titles and the changes,
    as diffs, of those that it conflicts with; `notes` what git says of each conflict; `output` what the failing tests
    print."""

    subtask_id: str
    title: str
    instructions: str
    report: str
    change: str
    applies: bool
    reason: str
    files: Sequence[str] = ()
    notes: Sequence[str] = ()
    tests: Sequence[str] = ()
    others: Sequence[tuple[str, str, str]] = ()
    output: str = ""


def repair_instructions(case: Case) -> str:
    """The instructions of a repair sub-agent."""
    parts = [_opening(case), *(_broken(case) if case.applies else _conflict(case))]
    limit = _MOST_HUNKS // max(1, len(case.others))
    for name, title, diff in case.others:
        parts.append(f"What sub-task {name} ({title}) changed there, which is merged:\n{_block(_cut(diff, limit))}")
    parts.append(f"What {case.subtask_id} was asked to do:\n{_block(_cut(case.instructions, _MOST_INSTRUCTIONS))}")
    if case.report.strip():
        parts.append(f"What it reported:\n{_block(_cut(case.report.strip(), _MOST_REPORT))}")
    if case.change.strip():
        parts.append(f"What it changed:\n{_block(_cut(case.change, _MOST_CHANGE))}")
    parts.append(_closing(case))
    return "\n\n".join(parts)


def _opening(case: Case) -> str:
    where = "Your files are the merged work of all others, with the change of that sub-task put on top"
    how = "." if case.applies else ", as far as it could be."
    return (
        f"The change of sub-task {case.subtask_id} ({case.title}) could not be merged: {case.reason}. Bring it in. "
        f"{where}{how}"
    )


def _conflict(case: Case) -> list[str]:
    shown = [*case.files[:_MOST_FILES], *(["..."] if len(case.files) > _MOST_FILES else [])]
    lines = [f"- `{name}`" for name in shown]
    text = (
        "These files are in conflict. Where both sides changed the same lines, both stand there: after `<<<<<<<` what "
        f"is merged, after `|||||||` what both began from, after `=======` up to `>>>>>>>` what {case.subtask_id} made "
        "of it. Of files that are no text, or that one side moved or deleted, one side was taken: make of them what is "
        "right, a repair that changes nothing is none."
    )
    parts = [f"{text}\n" + "\n".join(lines)]
    if case.notes:
        parts.append("git says:\n" + "\n".join(f"- {note}" for note in case.notes[:_MOST_FILES]))
    return parts


def _broken(case: Case) -> list[str]:
    parts = []
    if case.tests:
        shown = [*case.tests[:_MOST_FILES], *(["..."] if len(case.tests) > _MOST_FILES else [])]
        parts.append("It applies, but these tests fail with it that did not fail without it:\n" + "\n".join(shown))
    if case.output.strip():
        parts.append(f"The end of the output of the test command:\n{_block(case.output.strip()[-_MOST_OUTPUT:])}")
    return parts


def _closing(case: Case) -> str:
    first = (
        "Find out why, and change what is needed"
        if case.applies
        else "Resolve every conflict, leave no line of these marks behind, and change what else is needed"
    )
    return (
        f"{first}, so that what {case.subtask_id} was asked for is done, nothing that others merged is lost, and the "
        "tests pass. Do not take the change back to make the tests pass, do not delete, skip or weaken a test for it, "
        "and do nothing beyond it. Where it cannot be done without breaking what others merged, submit with status "
        '"failed" and say why.'
    )


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}\n[... {len(text) - most} characters left out ...]"


def _block(text: str) -> str:
    fence = "`" * max(3, 1 + max(map(len, _BACKTICKS.findall(text)), default=0))
    return f"{fence}\n{text.rstrip()}\n{fence}"
