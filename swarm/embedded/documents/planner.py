"""One sub-task for each item or question that a task names."""

from __future__ import annotations

import json
import re

WHAT_I_AM = "I answer from documents by search and quotation, and am no language model"
MOST = 40

_TASK = re.compile(r"^# The (?:whole )?task\n\n(.*?)(?=^# |\Z)", re.MULTILINE | re.DOTALL)
_ITEM = re.compile(r"^[ \t]{0,40}(?:[-*+]|\d{1,3}[.)])[ \t]{1,40}(\S.*)$", re.MULTILINE)
_COLUMNS = re.compile(r"^[ \t]{0,40}columns?[ \t]{0,9}:[ \t]{0,40}(\S.*)$", re.MULTILINE | re.IGNORECASE)
_ROOM = re.compile(r"^At most (\d{1,9}) sub-tasks may be asked for\b", re.MULTILINE)
_SENTENCE = re.compile(r"[^.?!\n]++[.?!]?")


def task_of(text: str) -> str:
    """The task, without what else a prompt tells."""
    found = _TASK.search(text)
    return (found[1] if found else text).strip()


def items(task: str) -> list[str]:
    """What a task asks about, one by one: its list, else its questions, else the whole."""
    listed = [found.strip() for found in _ITEM.findall(task)]
    questions = [found.strip() for found in _SENTENCE.findall(task) if found.endswith("?") and 8 < len(found) <= 300]
    return listed or questions or [" ".join(task.split())]


def columns(task: str) -> list[str]:
    """The columns of the table that a task asks for, none where it asks for a text."""
    found = _COLUMNS.search(task)
    return [name.strip(" .") for name in found[1].split(",") if name.strip(" .")] if found else []


def plan_json(text: str) -> str:
    """The answer to the planner's prompt."""
    if "\n## Stage " in text:
        return json.dumps({"rationale": f"{WHAT_I_AM}: nothing is to be done again.", "subtasks": [], "dropped": []})
    task, told = task_of(text), _ROOM.findall(text)
    asked, wanted = items(task), columns(task)
    room = min(MOST, int(told[-1])) if told else MOST
    share = -(-len(asked) // max(1, room))
    groups = [asked[at : at + share] for at in range(0, len(asked), share)]
    subtasks = []
    for number, group in enumerate(groups, 1):
        lines = "\n".join(f"- {item}" for item in group)
        told_columns = f"\n\nColumns: {', '.join(wanted)}" if wanted else ""
        slug = re.sub(r"[^A-Za-z0-9]+", "-", group[0]).strip("-").lower()[:40].strip("-")
        subtasks.append(
            {
                "id": f"{number:02d}-{slug or 'part'}",
                "title": group[0][:180],
                "instructions": f"Find this in the attached documents, and quote them:\n\n{lines}{told_columns}",
                "depends_on": [],
                "files": [],
                "replaces": [],
            }
        )
    return json.dumps({"rationale": f"{WHAT_I_AM}. One sub-task for each item.", "subtasks": subtasks, "dropped": []})
