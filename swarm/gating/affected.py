"""The tests that a change can reach: those that are changed, and those that import what is, over however many files.

Only what the text of Python files tells is followed. That a test is not among them is no proof that it stays green:
the whole gate has the last word.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from swarm.gating.imports import Import, Modules, imports
from swarm.gating.pytest_rules import SETTINGS, Rules, rules
from swarm.gating.selection import parse
from swarm.protocols import Repository

MOST_FILES = 5_000
"""Python files that are looked into."""

_MOST_BYTES = 1 << 20
_ASIDE = (".md", ".rst", ".txt", ".adoc")


@dataclass(frozen=True, slots=True)
class Touched:
    """The test files that a change can reach, in order, as the test command names files, out of so many. `whole` says
    why that cannot be told: then it may be any."""

    tests: tuple[str, ...] = ()
    whole: str = ""
    of: int = 0


class Affected:
    """Finds the tests that changes of a repository can reach, for one test command."""

    def __init__(self, repository: Repository, command: str) -> None:
        self._repository = repository
        self._call = parse(command)
        self._imports: dict[str, frozenset[Import]] = {}  # by content
        self._choosy: set[str] = set()  # contents that tell pytest what not to collect

    async def between(self, old: str, new: str) -> Touched:
        """What the change from one commit to another can reach in the tree of the second."""
        call = self._call
        if call is None or not call.by_file:
            return Touched(whole="the form of the command does not let files be chosen")
        changed = [name for name in await self._repository.changed_files(old, new) if not name.endswith(_ASIDE)]
        if other := [name for name in changed if not name.endswith(".py")]:
            return Touched(whole=f"{other[0]} is no Python file")
        files = await self._repository.contents(new)
        python = {name: blob for name, blob in files.items() if name.endswith(".py")}
        if len(python) > MOST_FILES:
            return Touched(whole=f"there are more than {MOST_FILES} Python files")
        top = f"{call.folder}/" if call.folder else ""
        known = await self._rules(files, top)
        if known.doubt:
            return Touched(whole=known.doubt)
        await self._learn(python.values())
        if any(blob in self._choosy for blob in python.values()):
            return Touched(whole="a file tells pytest what not to collect")
        reached = reach(changed, {name: self._imports[blob] for name, blob in python.items()})
        named = [name.removeprefix(top) for name in sorted(python) if name.startswith(top)]
        tests = [name for name in named if known.runs(name, call.paths)]
        return Touched(tuple(name for name in tests if top + name in reached), of=len(tests))

    async def _learn(self, blobs: Iterable[str]) -> None:
        new = [blob for blob in blobs if blob not in self._imports]
        texts = await self._repository.texts(new, _MOST_BYTES)
        for blob in new:
            text = texts.get(blob, b"").decode(errors="replace")
            self._imports[blob] = imports(text)
            if "collect_ignore" in text:
                self._choosy.add(blob)

    async def _rules(self, files: Mapping[str, str], top: str) -> Rules:
        names = [name for place in dict.fromkeys((top, "")) for name in (place + each for each in SETTINGS)]
        names = [name for name in names if name in files]
        texts = await self._repository.texts([files[name] for name in names], _MOST_BYTES)
        for name in names:
            if (found := rules(name, texts.get(files[name], b"").decode(errors="replace"))) is not None:
                return found
        return Rules()


def reach(changed: Sequence[str], files: Mapping[str, frozenset[Import]]) -> set[str]:
    """The changed files, and all that import one of them, directly or through others. `files` are all of the tree with
    what they import; a changed one that is not among them was removed."""
    modules = Modules({*files, *changed})
    importers: defaultdict[str, set[str]] = defaultdict(set)
    for file, what in files.items():
        for other in modules.imported(file, what) | _implied(file, files):
            importers[other].add(file)
    reached, todo = set(changed), deque(changed)
    while todo:
        for file in importers[todo.popleft()] - reached:
            reached.add(file)
            todo.append(file)
    return reached


def _implied(file: str, files: Mapping[str, frozenset[Import]]) -> set[str]:
    """What Python and pytest run before a file, without being told: packages above it, and their `conftest.py`."""
    folders = file.split("/")[:-1]
    above = ["/".join((*folders[:n], name)) for n in range(len(folders) + 1) for name in ("__init__.py", "conftest.py")]
    return {name for name in above if name in files and name != file}
