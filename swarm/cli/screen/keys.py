"""Keys out of what a terminal sends for them."""

from __future__ import annotations

import re
from collections.abc import Iterator

_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O[ -~])|.", re.DOTALL)
_NAMES = {
    "A": "up",
    "B": "down",
    "C": "right",
    "D": "left",
    "H": "home",
    "F": "end",
    "1~": "home",
    "7~": "home",
    "4~": "end",
    "8~": "end",
    "5~": "page up",
    "6~": "page down",
    "Z": "left",
    "\r": "enter",
    "\n": "enter",
    "\t": "right",
    " ": "page down",
    "\x02": "page up",
    "\x06": "page down",
    "\x0c": "redraw",
    "\x1b": "escape",
}


def keys(data: bytes) -> Iterator[str]:
    """The keys that were pressed: names, or the character itself. What has no name here is left out."""
    for found in _SEQUENCE.findall(data.decode("utf-8", "replace")):
        sent = found.lstrip("\x1b[O") if len(found) > 1 else found
        if name := _NAMES.get(sent):
            yield name
        elif len(found) == 1 and found.isprintable():
            yield found
