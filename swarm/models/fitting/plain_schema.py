"""Whether a value fits a plain schema, such as that of a plan, without the library that knows them all: loading that
takes longer than the rest of what reads a first answer."""

from __future__ import annotations

from typing import Any

_PLAIN = frozenset({"type", "properties", "items", "required", "additionalProperties", "enum", "title", "description"})
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "null": (type(None),),
    "integer": (int,),
    "number": (int, float),
}


def surely_fits(value: Any, schema: Any) -> bool:
    """Whether it certainly fits. Members that are missing or too many are forgiven where it has any of those that are
    named, as `structured.read_json` does. Not so where the schema is not plain: then it has to be looked at."""
    if not isinstance(schema, dict) or not schema.keys() <= _PLAIN:
        return False
    if "type" in schema and type(value) not in _TYPES.get(str(schema["type"]), ()):
        return False
    if "enum" in schema and not (
        isinstance(value, str) and isinstance(schema["enum"], list) and value in schema["enum"]
    ):
        return False
    if isinstance(value, list):
        return "items" not in schema or all(surely_fits(each, schema["items"]) for each in value)
    if isinstance(value, dict):
        return _members_fit(value, schema)
    return True


def _members_fit(value: dict[str, Any], schema: dict[str, Any]) -> bool:
    members, required = schema.get("properties", {}), schema.get("required", [])
    further = schema.get("additionalProperties", True)
    if not isinstance(members, dict) or not isinstance(required, list) or not isinstance(further, bool):
        return False
    named = members.keys() & value.keys()
    odd = bool(set(required) - value.keys()) or not (further or value.keys() <= members.keys())
    return bool(named or not odd) and all(surely_fits(value[name], members[name]) for name in named)
