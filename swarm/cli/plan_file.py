"""A plan as a file that a person edits: TOML, written and read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import ValidationError

from swarm.misnamed import unknown, wanted
from swarm.scheduling.plan_graph import problems
from swarm.toml_file import parsed
from swarm.types import Plan, SubTask

_ALWAYS = ("id", "title", "instructions", "depends_on", "files")
_FIELDS = tuple(SubTask.model_fields)
_PLAN_FIELDS = tuple(Plan.model_fields)
_HELP = """\
# The plan as it will be run. Save and leave the editor to run it; empty the file to run nothing.
# Each [[subtasks]] is one sub-agent. depends_on: ids that must be done before it. files: what it may write.
# Further keys of a sub-task: system_prompt, kind, group, budget_share, result_schema (a JSON text), replaces.
"""


def written(plan: Plan, wrong: Sequence[str] = ()) -> str:
    """The file's text. `wrong` is told in comments at its head."""
    lines = [f"# WRONG: {' '.join(each.split())}" for each in wrong]
    lines += [*([""] if wrong else []), _HELP, f"rationale = {_text(plan.rationale)}"]
    if plan.dropped:
        lines.append(f"dropped = {_value(list(plan.dropped))}")
    if plan.need:
        inner = ", ".join(f"{_text(group)} = {number}" for group, number in plan.need.items())
        lines.append(f"need = {{ {inner} }}")
    for subtask in plan.subtasks:
        lines += ["", "[[subtasks]]"]
        for name, field in SubTask.model_fields.items():
            value = getattr(subtask, name)
            if name in _ALWAYS or value != field.default:
                lines.append(f"{name} = {_value(value)}")
    return "\n".join(lines) + "\n"


def read(text: str, room: int) -> tuple[Plan | None, list[str]]:
    """The plan that a file holds, or all that is wrong with it; neither where the file is empty but for comments.
    `room`: sub-tasks that may be asked for."""
    text = text.removeprefix("\ufeff")  # some editors begin a file so
    if not any(line.strip() and not line.lstrip().startswith("#") for line in text.splitlines()):
        return None, []
    try:
        held = parsed(text)
    except ValueError as error:
        return None, [f"this is no TOML: {error}"]
    wrong = _misnamed(held)
    if wrong:
        return None, wrong
    try:
        plan = Plan.model_validate(_with_schemas(held))
    except ValidationError as error:
        return None, [
            _told(each["loc"], wanted(each["type"], each["msg"]), held) for each in error.errors(include_url=False)
        ]
    except ValueError as error:
        return None, [str(error)]
    wrong = problems(plan, room=room) or ([] if plan.subtasks else ["it has no sub-task"])
    return (None, wrong) if wrong else (plan, [])


def _misnamed(held: dict[str, Any]) -> list[str]:
    wrong = [f"{key}: {unknown(key, _PLAN_FIELDS)}" for key in held if key not in _PLAN_FIELDS]
    for number, subtask in _subtasks(held):
        wrong += [f"sub-task {number}: {key}: {unknown(key, _FIELDS)}" for key in subtask if key not in _FIELDS]
    return wrong


def _subtasks(held: dict[str, Any]) -> Iterable[tuple[int, dict[str, Any]]]:
    given = held.get("subtasks", [])
    each = given if isinstance(given, list) else []
    return ((number, subtask) for number, subtask in enumerate(each, 1) if isinstance(subtask, dict))


def _with_schemas(held: dict[str, Any]) -> dict[str, Any]:
    """Schemas are written as JSON, which TOML cannot hold all of.

    Raises:
        ValueError: one is none.
    """
    for number, subtask in _subtasks(held):
        if isinstance(schema := subtask.get("result_schema"), str):
            try:
                subtask["result_schema"] = json.loads(schema)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"sub-task {number}: result_schema: this is no JSON: {error}") from None
    return {"subtasks": [], **held}


def _told(place: tuple[int | str, ...], message: str, held: dict[str, Any]) -> str:
    if place == ("subtasks",):
        return "subtasks: each stands under [[subtasks]], in two brackets"
    if len(place) > 1 and place[0] == "subtasks" and isinstance(place[1], int):
        given = held["subtasks"][place[1]]
        name = f" ({given['id']})" if isinstance(given, dict) and isinstance(given.get("id"), str) else ""
        return ": ".join([f"sub-task {place[1] + 1}{name}", *(str(part) for part in place[2:3]), message])
    return ": ".join([*(str(part) for part in place[:1]), message])


def _value(value: Any) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_text(each) for each in value)}]"
    if isinstance(value, dict):
        return _text(json.dumps(value, indent=1, ensure_ascii=False))
    return repr(value)


def _text(text: str) -> str:
    """A TOML string: over several lines as it stands, where it can be."""
    safe = all(c in "\n\t" or ((c.isprintable() or ord(c) > 0x9F) and not 0xD800 <= ord(c) < 0xE000) for c in text)
    if "\n" in text and safe and "'''" not in text and not text.endswith("'"):
        return f"'''\n{text}'''"
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if 0xD800 <= ord(char) < 0xE000:  # half a character, which no file can hold
        return "\N{REPLACEMENT CHARACTER}"
    return f"\\u{ord(char):04X}" if ord(char) < 0x20 or 0x7F <= ord(char) <= 0x9F else char


_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
