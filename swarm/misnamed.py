"""What somebody probably meant who gave a name that there is not, or a value of a wrong kind."""

from __future__ import annotations

from collections.abc import Iterable


def unknown(name: str, known: Iterable[str], what: str = "key") -> str:
    """`there is no such key; the nearest is 'model'`, for a message; without the second half where none is near."""
    from difflib import get_close_matches  # wanted for messages only

    near = get_close_matches(name.replace("-", "_").lower(), list(known), n=1, cutoff=0.6)
    return f"there is no such {what}" + (f"; the nearest is {near[0]!r}" if near else "")


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
