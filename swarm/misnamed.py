"""What somebody probably meant who gave a name that there is not, or a value of a wrong kind."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from pydantic import BaseModel


def unknown(name: str, known: Iterable[str], what: str = "key") -> str:
    """`there is no such key; the nearest is 'model'`, for a message; without the second half where none is near."""
    from difflib import get_close_matches  # wanted for messages only

    name = name.replace("-", "_").lower()
    near = get_close_matches(name, list(known), n=3, cutoff=0.6)
    near.sort(key=lambda each: sorted(each) != sorted(name))  # signs that changed places are the likeliest mistake
    return f"there is no such {what}" + (f"; the nearest is {near[0]!r}" if near else "")


def keys_at(model: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """The names that may stand where an unknown one does, in a model or one inside it."""
    for part in place[:-1]:
        field = model.model_fields.get(str(part))
        inner = (field.annotation, *get_args(field.annotation)) if field is not None else ()
        model = next((each for each in inner if isinstance(each, type) and issubclass(each, BaseModel)), model)
    return list(model.model_fields)


def wanted(kind: str, message: str) -> str:
    """What should stand in place of a wrong value: pydantic's kind of error and its message, as one says it of TOML."""
    kind = kind.removesuffix("_type").removesuffix("_parsing").removesuffix("_from_float")
    if kind in _KINDS:
        return f"{_KINDS[kind]} is wanted"
    return message.removeprefix("Value error, ").replace("Input should be", "it should be")


_KINDS = {
    "string": "a text",
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "tuple": "a list",
    "list": "a list",
    "dict": "a table",
    "mapping": "a table",
    "model": "a table",
    "path": "a text",
    "missing": "it is missing; a value",
}
