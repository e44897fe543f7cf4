"""The form in which a model answers a plan, and how such an answer is read.

A model is told the form twice: as a schema, where the endpoint keeps to one (few show it to the model), and in words
in the planner's prompt. Strict schemas know no free objects: a result's schema is told by its fields, the need of
groups as a list. An answer in the terms of `swarm.types.Plan` itself is read as well.
"""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails

from swarm.types import JsonObject, Plan, SubTask

WITHHELD = {"system_prompt"}
"""Fields of a sub-task that programs set, not planners."""

_KNOWN = frozenset(SubTask.model_fields)

_IDS: JsonObject = {"type": "array", "items": {"type": "string"}}
_TYPES: dict[str, JsonObject] = {
    "string": {"type": "string"},
    "number": {"type": "number"},
    "integer": {"type": "integer"},
    "boolean": {"type": "boolean"},
    "list of strings": {"type": "array", "items": {"type": "string"}},
}
_MOST_PROBLEMS = 10


def _object(**properties: JsonObject) -> JsonObject:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


_FIELD = _object(
    name={"type": "string", "description": "letters, digits and _"},
    type={"type": "string", "enum": list(_TYPES)},
    description={"type": "string", "description": "what it says, in which unit or spelling"},
)

_RESULT = {
    **_object(rows={"type": "boolean"}, fields={"type": "array", "items": _FIELD}),
    "description": "what the agent hands in beside its words: its `fields`, each with `name`, `type` "
    f"({', '.join(_TYPES)}) and `description`; with `rows` true a list of such rows, which are united into one table. "
    "No fields: words and changed files are all that is wanted",
}

_SUBTASK: dict[str, JsonObject] = {
    "id": {
        "type": "string",
        "description": "short and new: no other sub-task of any stage has it; letters, digits, `-`, `_`, `.`",
    },
    "title": {"type": "string", "description": "one line for the people who watch"},
    "instructions": {
        "type": "string",
        "description": "all that the agent must know: what to do and what not, where, how to check it, what to hand in",
    },
    "depends_on": {**_IDS, "description": "ids of sub-tasks, or names of groups, whose results it needs"},
    "files": {
        **_IDS,
        "description": "paths that it will write, folders with a `/` at the end, `*` allowed; empty where it writes "
        "none or nobody can tell. Sub-tasks that may run at the same time must not share any",
    },
    "kind": {
        "type": "string",
        "description": 'one word, the same for sub-tasks that should take about as long as each other, or ""',
    },
    "budget_share": {
        "type": "number",
        "description": "the part of this stage's budget, from 0 to 1, that it may use; 0 for none of its own: those "
        "without one draw on the rest together. Only to hold back what could eat up what others need",
    },
    "result_schema": _RESULT,
    "group": {
        "type": "string",
        "description": 'the name that sub-tasks share which try the same thing, so that the best is kept, or "". Each '
        "costs its full price: only where one try is likely to fail",
    },
    "replaces": {**_IDS, "description": "earlier sub-tasks without success that it takes over"},
}

_PLAN: dict[str, JsonObject] = {
    "rationale": {"type": "string", "description": "why the work is cut like this, in one to three sentences"},
    "subtasks": {
        "type": "array",
        "items": _object(**_SUBTASK),
        "description": "the sub-tasks of this stage, each with the fields below",
    },
    "groups": {
        "type": "array",
        "items": _object(name={"type": "string"}, need={"type": "integer"}),
        "description": "groups of which some are enough: `name`, and as `need` how many must complete; the others are "
        "then stopped. Groups that are not named here go to their end, and the best one is kept",
    },
    "dropped": {
        **_IDS,
        "description": "earlier sub-tasks without success that are not needed any more, as others did their work",
    },
}


@cache
def plan_format() -> JsonObject:
    """The `response_format` of a plan, strict: every field required, nothing else allowed."""
    return {"type": "json_schema", "json_schema": {"name": "plan", "strict": True, "schema": _object(**_PLAN)}}


def plan_fields() -> str:
    """The form in words."""
    lines = [f"- `{name}`: {field['description']}." for name, field in _PLAN.items()]
    at = 1 + next(n for n, name in enumerate(_PLAN) if name == "subtasks")
    lines[at:at] = [f"  - `{name}`: {field['description']}." for name, field in _SUBTASK.items()]
    return "\n".join(lines)


def offered() -> set[str]:
    """The fields of a sub-task that planners are told of."""
    return set(_SUBTASK)


class _ResultField(BaseModel, defer_build=True):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=64)
    type: Literal["string", "number", "integer", "boolean", "list of strings"] = "string"
    description: str = ""


class _ResultForm(BaseModel, defer_build=True):
    model_config = ConfigDict(extra="forbid")

    rows: bool = False
    fields: list[_ResultField]

    @field_validator("fields")
    @classmethod
    def _named_once(cls, value: list[_ResultField]) -> list[_ResultField]:
        if twice := [name for name, n in Counter(field.name for field in value).items() if n > 1]:
            raise ValueError(f"the name {twice[0]!r} is given to more than one field")
        return value


class _Group(BaseModel, defer_build=True):
    model_config = ConfigDict(extra="forbid")

    name: str
    need: int


def read_plan(text: str) -> tuple[Plan | None, list[str]]:
    """A plan out of a model's answer, or what is wrong with it, in words for the model. A code fence around it is
    forgiven, prose is not."""
    body = text.strip()
    if body.startswith("```"):
        body = body.removeprefix("```json").removeprefix("```").removesuffix("```").strip()
    if not body.startswith("{"):
        how = f"not a JSON object but begins with {body[:60]!r}" if body else "empty"
        return None, [f"the answer is {how}"]
    try:
        answer = json.loads(body, strict=False)
    except (ValueError, RecursionError) as error:
        return None, [f"the answer is not JSON: {error}"]
    found: list[str] = []
    subtasks = answer.get("subtasks")
    for at, subtask in enumerate(subtasks if isinstance(subtasks, list) else ()):
        if not isinstance(subtask, dict):
            continue
        found += [f"{_name(subtask, at)}: `{name}` is no field of a sub-task" for name in subtask if name not in _KNOWN]
        if _is_form(subtask.get("result_schema")):
            try:
                subtask["result_schema"] = _schema(_ResultForm.model_validate(subtask["result_schema"]))
            except ValidationError as error:
                found += _words(error, answer, ("subtasks", at, "result_schema"))
    groups = answer.pop("groups", None)
    if isinstance(groups, list) and "need" not in answer:
        try:
            named = [_Group.model_validate(group) for group in groups]
            answer["need"] = {group.name: group.need for group in named}
            twice = [name for name, n in Counter(group.name for group in named).items() if n > 1]
            found += [f"`groups`: {name!r} is named more than once" for name in twice]
        except ValidationError as error:
            found += _words(error, answer, ("groups",))
    try:
        plan = Plan.model_validate(answer)
    except ValidationError as error:
        found += _words(error, answer)
    return (None, found[:_MOST_PROBLEMS]) if found else (plan, [])


def _is_form(value: Any) -> bool:
    return isinstance(value, dict) and "fields" in value and "type" not in value


def _schema(form: _ResultForm) -> JsonObject | None:
    """The JSON schema of a result. Every field must be there; what cannot be known is null."""
    if not form.fields:
        return None
    properties = {
        field.name: {"anyOf": [_TYPES[field.type], {"type": "null"}], "description": _described(field)}
        for field in form.fields
    }
    one = _object(**properties)
    return {"type": "array", "items": one} if form.rows else one


def _described(field: _ResultField) -> str:
    return f"{field.description or field.name}; null where it cannot be known"


def _words(error: ValidationError, answer: JsonObject, within: tuple[str | int, ...] = ()) -> list[str]:
    """What is wrong, with the sub-task by its id and the field by its name."""
    return [_problem(each, answer, within) for each in error.errors(include_url=False, include_input=False)]


def _problem(error: ErrorDetails, answer: JsonObject, within: tuple[str | int, ...]) -> str:
    place = [*within, *error["loc"]]
    where = ""
    if len(place) > 1 and place[0] == "subtasks" and isinstance(place[1], int):
        where = f"{_name(answer['subtasks'][place[1]], place[1])}: "
        place = place[2:]
    field = ".".join(str(part) for part in place)
    said = _SAID.get(error["type"], error["msg"].removeprefix("Value error, "))
    return f"{where}{f'`{field}`' if field else 'it'}: {said}"


def _name(subtask: Any, at: int) -> str:
    name = subtask.get("id") if isinstance(subtask, dict) else None
    return f"sub-task {name!r}" if isinstance(name, str) and name else f"sub-task number {at + 1}"


_SAID = {
    "missing": "is missing",
    "string_too_short": "must not be empty",
    "string_too_long": "is too long",
    "string_pattern_mismatch": "takes letters, digits, `-`, `_` and `.`, a letter or digit first, 64 at most",
    "string_type": "must be a string",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "extra_forbidden": "does not belong there",
}
