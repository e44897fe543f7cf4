"""Which Python files a Python file imports, as far as its text tells: rather one too many than one too few."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_FROM = re.compile(
    r"^[ \t]*+from[ \t]++(\.*+)(?:[ \t]*+([\w.]++))?[ \t]++import[ \t]*(\([^)]{0,10000}\)|[^\n#;]*)", re.MULTILINE
)
_IMPORT = re.compile(r"^[ \t]*import[ \t]+([^\n#;]+)", re.MULTILINE)
_STRING = re.compile(r"""["']([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+)["']""")
_NOTE = re.compile(r"#[^\n]*")
_NAME = re.compile(r"[\w.]+")


@dataclass(frozen=True, slots=True)
class Import:
    """A dotted name, after so many dots (0: not relative). `told`: it stands in a string, as for a mock."""

    name: str
    dots: int = 0
    told: bool = False


def imports(source: str) -> frozenset[Import]:
    """What a file imports, and every dotted name that it tells in a string."""
    text = source.replace("\\\n", " ")
    found: set[Import] = set()
    for dots, module, names in _FROM.findall(text):
        found.add(Import(module, len(dots)))
        for name in _names(_NOTE.sub("", names).strip("() \n\t")):
            found.add(Import(f"{module}.{name}" if module else name, len(dots)))
    for names in _IMPORT.findall(text):
        found.update(Import(name) for name in _names(names))
    found.update(Import(name, told=True) for name in _STRING.findall(text))
    return frozenset(found)


def _names(text: str) -> Iterator[str]:
    for part in text.split(","):
        if name := _NAME.match(part.strip()):
            yield name[0]


class Modules:
    """The Python files of a tree by the names that they can be imported under, wherever its roots are."""

    def __init__(self, files: Iterable[str]) -> None:
        self._files = frozenset(files)
        self._named: defaultdict[str, set[str]] = defaultdict(set)
        folders = {file.rpartition("/")[0] for file in self._files if file.rpartition("/")[2] == "__init__.py"}
        for file in self._files:
            stem = file.removesuffix(".py").removesuffix("/__init__")
            parts = stem.split("/")
            below = 0  # so many folders above it are packages: it cannot be imported without their names
            while "/".join(parts[: len(parts) - 1 - below]) in folders and below < len(parts) - 1:
                below += 1
            for start in range(len(parts) - below):
                self._named[".".join(parts[start:])].add(file)

    def imported(self, file: str, what: Iterable[Import]) -> set[str]:
        """The files that a file makes Python run, of those it names itself."""
        found: set[str] = set()
        for each in what:
            found |= self._beside(file, each) if each.dots else self._by_name(each.name)
        found.discard(file)
        return found

    def _by_name(self, name: str) -> set[str]:
        found, parts = set[str](), name.split(".")
        for end in range(1, len(parts) + 1):
            found |= self._named.get(".".join(parts[:end]), set())
        return found

    def _beside(self, file: str, what: Import) -> set[str]:
        folder = file.split("/")[: -what.dots]
        found, parts = set[str](), what.name.split(".") if what.name else []
        for end in range(len(parts) + 1):
            path = "/".join((*folder, *parts[:end]))
            found |= self._files & {f"{path}.py", f"{path}/__init__.py".removeprefix("/")}
        return found
