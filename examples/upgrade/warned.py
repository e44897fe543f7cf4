"""What warnings and errors say has another name now."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_NAMED = r"[`'\"]([A-Za-z_][\w.]*)(?:\(\))?[`'\"]"
_KINDS = r"(?: keyword| method| function| class| attribute| parameter| argument)*"
_SAID = re.compile(
    rf"{_NAMED}(?P<kind>{_KINDS}),? (?:is |was |has been )?(?:deprecated|renamed|removed)\b[^`'\"\n]{{0,120}}{_NAMED}"
)
_MEANT = re.compile(r"(?:has no attribute|cannot import name|unexpected keyword argument) '(\w+)'.{0,200}?"
                    r"Did you mean:? '(\w+)'")  # fmt: skip


@dataclass(slots=True)
class Rules:
    """Old names and new ones, of what is called and of its arguments."""

    names: dict[str, str] = field(default_factory=dict)
    arguments: dict[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.names or self.arguments)

    def without(self, known: Rules) -> Rules:
        """Those that are not in `known`."""
        return Rules(
            {old: new for old, new in self.names.items() if known.names.get(old) != new},
            {old: new for old, new in self.arguments.items() if known.arguments.get(old) != new},
        )

    def add(self, old: str, new: str, *, argument: bool) -> None:
        """One more; the last parts of dotted names count, and what stays the same is none."""
        old, new = old.rpartition(".")[2], new.rpartition(".")[2]
        if old != new:
            (self.arguments if argument else self.names)[old] = new


def rules_in(text: str) -> Rules:
    """The renamings that an output tells of: `'old' deprecated - use 'new'` and its like in other libraries' words."""
    found = Rules()
    for said in _SAID.finditer(text):
        argument = "argument" in said["kind"] or "parameter" in said["kind"] or "keyword" in said["kind"]
        found.add(said[1], said[3], argument=argument)
    for line in text.splitlines():
        for meant in _MEANT.finditer(line):
            found.add(meant[1], meant[2], argument="keyword argument" in meant[0])
    return found
