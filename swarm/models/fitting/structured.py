"""Answers that must be JSON of a schema: asked for as strongly as an endpoint can, and always read here.

One that does not fit is left as it came: whoever asked gives it back to the model, in its own words and once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from swarm.models.fitting.call_forms import parse_lenient, untagged
from swarm.models.fitting.plain_schema import surely_fits
from swarm.types import JsonObject

if TYPE_CHECKING:
    from jsonschema import ValidationError

_CANDIDATES = 50
"""Places in an answer where its JSON may begin, that are tried."""


def schema_of(response_format: JsonObject | None) -> JsonObject | None:
    """The schema that a request wants its answer to fit; None where it wants no JSON by schema."""
    if response_format is None or response_format.get("type") != "json_schema":
        return None
    schema = response_format.get("json_schema", {}).get("schema")
    return schema if isinstance(schema, dict) else None


def format_text(schema: JsonObject) -> str:
    """What is added to the system prompt where an endpoint does not keep to a schema by itself."""
    told = json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
    return (
        "# The form of your answers\n\nAnswer with one JSON object and nothing else: no words around it, no code "
        f"fence. It must fit this JSON schema:\n\n{told}"
    )


def read_json(text: str, schema: JsonObject) -> str | None:
    """The JSON of an answer that fits a schema, as text; None where there is none.

    Prose or a fence around it is forgiven, and so are members that are missing or too many: a strict format requires
    every one, also those that have a default. Only an object that has none of them is another object.
    """
    return next((raw for value, raw in _candidates(text) if surely_fits(value, schema) or _fits(value, schema)), None)


def _fits(value: Any, schema: JsonObject) -> bool:
    from jsonschema import Draft202012Validator  # wanted only where it is not plain whether it fits

    return not any(map(_counts, Draft202012Validator(schema).iter_errors(value)))


def _counts(error: ValidationError) -> bool:
    if error.validator not in ("required", "additionalProperties") or not isinstance(error.instance, dict):
        return True
    properties = error.schema.get("properties", ()) if isinstance(error.schema, dict) else ()
    return not set(error.instance) & set(properties)


def _candidates(text: str) -> Iterator[tuple[Any, str]]:
    """What may be the answer's JSON, likeliest first: all of it, a fenced block, what begins at a brace."""
    if "</think>" in text:
        text = text.partition("</think>")[2]
    blocks = text.split("```")
    for part in (text, *(untagged(each) for each in blocks[1::2])):
        try:
            value = parse_lenient(part)
        except ValueError:
            continue
        yield value, _as_text(value, part)
    decoder = json.JSONDecoder(strict=False)
    position = text.find("{")
    for _ in range(_CANDIDATES):
        if position < 0:
            return
        try:
            value, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):
            end = position + 1
        else:
            yield value, _as_text(value, text[position:end])
        position = text.find("{", end)


def _as_text(value: Any, raw: str) -> str:
    """The text as it was written where it is JSON as it stands, else the mended value."""
    try:
        json.loads(raw)
    except (ValueError, RecursionError):
        return json.dumps(value, ensure_ascii=False)
    return raw.strip()
