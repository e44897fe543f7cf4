"""Whether a result says anything."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Any

from swarm.types import JsonObject

_THOUGHT = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL | re.IGNORECASE)


def says(text: str) -> bool:
    """Whether there is a letter, a digit or a picture in a text, outside of what a model thought aloud."""
    return any(
        unicodedata.category(sign)[0] in "LN" or unicodedata.category(sign) == "So" for sign in _THOUGHT.sub("", text)
    )


def holds(value: Any, schema: JsonObject) -> bool:
    """Whether there is a value anywhere in a result: a number, a truth value, a text that is not blank. That nothing
    was found is a value where the schema says so: an empty list for which it has `minItems: 0`."""
    left: list[tuple[Any, list[JsonObject]]] = [(value, [schema])]
    while left:  # no recursion: a result may be nested deep
        part, given = left.pop()
        forms = list(_forms(given, schema.get("$defs", {})))
        if isinstance(part, dict):
            left += [
                (held, _schemas(form.get("properties", {}).get(name) for form in forms)) for name, held in part.items()
            ]
        elif isinstance(part, list):
            if not part and any(form.get("minItems") == 0 for form in forms):
                return True
            within = _schemas(form.get("items") for form in forms)
            left += [(held, within) for held in part]
        elif isinstance(part, str):
            if any(not sign.isspace() and unicodedata.category(sign)[0] != "C" for sign in part):
                return True
        elif part is not None:
            return True
    return False


def _forms(given: list[JsonObject], defined: JsonObject) -> Iterator[JsonObject]:
    """Schemas, and all that they refer to or choose from."""
    left, seen = list(given), set[int]()
    while left:
        form = left.pop()
        if id(form) not in seen:
            seen.add(id(form))
            yield form
            others = [defined.get(str(form.get("$ref", "")).removeprefix("#/$defs/"))]
            for way in ("anyOf", "oneOf", "allOf"):
                others += form.get(way, [])
            left += _schemas(others)


def _schemas(found: Any) -> list[JsonObject]:
    return [each for each in found if isinstance(each, dict)]
