"""Who wrote what: the lines of a patch, each with the sub-task that it came from, as the run's own store of trees has
it: one commit a sub-agent, merged one after the other.

The run's folder may come from anywhere. Of its store the objects are read and nothing else: a configuration or
attributes in it could name programs, and what its record calls a commit could be an option of git.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from swarm.errors import MachineError
from swarm.hunks import FilePatch, parse
from swarm.sandboxes.git.command import Git, own_git
from swarm.sandboxes.git.repository import ANSWER
from swarm.whole_file import open_plain

_HEAD = b"\x00\x00commit "
_BLAMED = 400
"""Files at which several have worked, and that are asked for line by line; of further ones the text tells."""
_RANGES = 100
_PATIENCE = 20.0
"""Seconds that asking line by line may take altogether."""

MOST_LINES = 500_000
"""Of a patch that is shown."""
_MOST_BYTES = 64 << 20
_MOST_READ = 4 * MOST_LINES
"""Lines of all that one store tells: a small one may unpack to any number."""

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")

Name = Callable[[str], str]
Lines = dict[tuple[str, str, str], list[str]]
"""By file, kind and text of a line: the commits that have it, oldest first."""


class TooMuch(MachineError):
    """The store has more to tell than is shown."""


class Store:
    """The commits of a run, read only; use `open_store`. `answer` is the one that it ended with, "" where none."""

    def __init__(self, git: Git, answer: str) -> None:
        self._git = git
        self._left = _MOST_READ
        self.answer = answer

    def diff(self, old: str, new: str) -> bytes:
        """The patch from one commit to another.

        Raises:
            MachineError: it cannot be read: the repository that the store borrows from may be gone.
        """
        options = ("-r", "-p", "--no-renames", "--no-ext-diff", "--no-textconv")
        out = self._told("diff-tree", *options, _checked(old), _checked(new))
        if out.count(b"\n") > MOST_LINES:
            raise TooMuch("the patch is too long to be shown")
        return out

    def _told(self, *args: str) -> bytes:
        out = self._git.most_of(*args, most=_MOST_BYTES)
        self._left -= out.count(b"\n")
        if self._left < 0:
            raise TooMuch("the store tells too much")
        return out

    def own(self, commit: str) -> bytes:
        """What a commit changed. Raises: as `diff`."""
        found = self._git.attempt("rev-parse", "--verify", "--quiet", f"{_checked(commit)}^")
        return self.diff(found.text, commit)

    def attribute(self, files: Sequence[FilePatch], base: str, tip: str, name: Name) -> None:
        """Write into each line of a patch who added or removed it; `name` makes a sub-task of a commit's author.

        Raises:
            MachineError: as `diff`.
        """
        who, lines, hands = self._commits(base, tip, name)
        blamed, until = 0, time.monotonic() + _PATIENCE
        for file in files:
            commits = hands.get(file.name, [])
            sure: dict[int, str] = {}
            if len(set(commits)) > 1 and file.change != "removed" and blamed < _BLAMED and time.monotonic() < until:
                blamed += 1
                sure = self._blame(file, base, tip)
            for hunk in file.hunks:
                number = hunk.new
                for line in hunk.lines:
                    if line.kind in "+-":
                        known = sure.get(number, "") if line.kind == "+" else ""
                        line.author = who.get(known, "") or _by_text(
                            file.name, line.kind, line.text, lines, commits, who
                        )
                    number += line.kind in " +"

    def _commits(self, base: str, tip: str, name: Name) -> tuple[dict[str, str], Lines, dict[str, list[str]]]:
        """The sub-task of each commit that is no merge, the lines of all, and the commits that worked at each file."""
        options = ("--reverse", "--topo-order", "--no-merges", "-p", "-r", "-U0", "--no-renames", "--no-ext-diff")
        form = "--format=%x00%x00commit %H%x00%an"
        out = self._told("log", *options, "--no-textconv", form, f"{_checked(base)}..{_checked(tip)}")
        who: dict[str, str] = {}
        lines: Lines = {}
        hands: dict[str, list[str]] = {}
        for part in out.split(_HEAD)[1:]:
            head, _, patch = part.partition(b"\n")
            commit, _, author = head.decode("utf-8", "replace").partition("\0")
            who[commit] = name(author)
            for file in parse(patch):
                hands.setdefault(file.name, []).append(commit)
                for hunk in file.hunks:
                    for line in hunk.lines:
                        lines.setdefault((file.name, line.kind, line.text), []).append(commit)
        return who, lines, hands

    def _blame(self, file: FilePatch, base: str, tip: str) -> dict[int, str]:
        """The commits of the lines in a file's hunks, by their number; the base's own are left out."""
        ranges = [
            f"-L{hunk.new},+{count}"
            for hunk in file.hunks
            if (count := sum(line.kind in " +" for line in hunk.lines)) and any(line.kind == "+" for line in hunk.lines)
        ]
        if not ranges:
            return {}
        shown = ranges if len(ranges) <= _RANGES else []
        done = self._git.attempt("blame", "--porcelain", *shown, f"{_checked(base)}..{_checked(tip)}", "--", file.name)
        if done.code:  # such as a name that is not UTF-8: the text of the lines tells then
            return {}
        found: dict[int, str] = {}
        for line in done.out.split(b"\n"):
            words = line.split(b" ")
            if not line.startswith(b"\t") and len(words) in (3, 4) and len(words[0]) in (40, 64) and words[2].isdigit():
                found[int(words[2])] = words[0].decode("ascii", "replace")
        return {number: commit for number, commit in found.items() if commit != base}


@contextmanager
def open_store(folder: Path) -> Iterator[Store | None]:
    """The store of a run, None where it has none."""
    objects = folder / "objects"
    if not objects.is_dir():
        yield None
        return
    answer = _answer(folder)
    with tempfile.TemporaryDirectory(prefix="swarm-report-") as place:
        own = Path(place)
        (own / "refs").mkdir()
        (own / "HEAD").write_text("ref: refs/heads/none\n")
        (own / "config").write_text(_CONFIG[_form(objects)] + _BINARY)
        git = own_git(own)
        yield Store(replace(git, env={**git.env, "GIT_OBJECT_DIRECTORY": str(objects.absolute())}), answer)


_BINARY = "[core]\n\tbigFileThreshold = 8m\n"
"""Larger files have no lines: a small object may unpack to any number."""

_CONFIG = {
    "sha1": "[core]\n\trepositoryformatversion = 0\n\tbare = true\n",
    "sha256": "[core]\n\trepositoryformatversion = 1\n\tbare = true\n[extensions]\n\tobjectformat = sha256\n",
}


def _form(objects: Path) -> str:
    """How the objects are named, by the length of a name: two of its characters are the folder's."""
    long = any(len(each.name) == 62 for folder in objects.glob("[0-9a-f][0-9a-f]") for each in folder.iterdir())
    return "sha256" if long else "sha1"


def _answer(folder: Path) -> str:
    try:
        with open_plain(folder / ANSWER, folder) as file:
            name = file.read(100).decode("ascii", "replace").strip()
    except OSError:
        return ""
    return name if _COMMIT.fullmatch(name) else ""


def _checked(commit: str) -> str:
    """Raises: MachineError where it is no commit's name."""
    if not _COMMIT.fullmatch(commit):
        raise MachineError("the record names a commit that is none")
    return commit


def _by_text(file: str, kind: str, text: str, lines: Lines, commits: Sequence[str], who: dict[str, str]) -> str:
    """Who has this line in his own patch, the last where several have; of a file of one hand, that."""
    found = lines.get((file, kind, text))
    if found:
        return who[found[-1]]
    return who[commits[0]] if len(set(commits)) == 1 else ""
