"""Who wrote what: the lines of a patch, each with the sub-task that it came from, as the run's own store of trees has
it: one commit a sub-agent, merged one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from swarm.hunks import FilePatch, parse
from swarm.sandboxes.git.command import Git, own_git

_HEAD = b"\x00\x00commit "
_BLAMED = 400
"""Files at which several have worked, and that are asked for line by line; of further ones the text tells."""
_RANGES = 100

Name = Callable[[str], str]
Lines = dict[tuple[str, str, str], list[str]]
"""By file, kind and text of a line: the commits that have it, oldest first."""


class Store:
    """The store of a run, read only.

    Raises:
        MachineError: it cannot be read: the repository that it borrows from may be gone.
    """

    def __init__(self, folder: Path) -> None:
        self._git: Git = own_git(folder)

    def commit(self, name: str) -> str:
        """The commit that a name stands for, empty where there is none."""
        found = self._git.attempt("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        return found.text if found.code == 0 else ""

    def diff(self, old: str, new: str) -> bytes:
        """The patch from one commit to another."""
        options = ("-r", "-p", "--no-renames", "--no-ext-diff", "--no-textconv")
        return self._git.run("diff-tree", *options, old, new).out

    def attribute(self, files: Sequence[FilePatch], base: str, tip: str, name: Name) -> None:
        """Write into each line of a patch who added or removed it; `name` makes a sub-task of a commit's author."""
        who, lines, hands = self._commits(base, tip, name)
        blamed = 0
        for file in files:
            commits = hands.get(file.name, [])
            sure: dict[int, str] = {}
            if len(set(commits)) > 1 and file.change != "removed" and blamed < _BLAMED:
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
        out = self._git.run("log", *options, "--no-textconv", form, f"{base}..{tip}").out
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
        done = self._git.attempt("blame", "--porcelain", *shown, f"{base}..{tip}", "--", file.name)
        if done.code:  # such as a name that is not UTF-8: the text of the lines tells then
            return {}
        found: dict[int, str] = {}
        for line in done.out.split(b"\n"):
            words = line.split(b" ")
            if not line.startswith(b"\t") and len(words) in (3, 4) and len(words[0]) in (40, 64) and words[2].isdigit():
                found[int(words[2])] = words[0].decode("ascii", "replace")
        return {number: commit for number, commit in found.items() if commit != base}


def open_store(folder: Path) -> Store | None:
    """The store of a run, None where it has none."""
    return Store(folder) if (folder / "HEAD").is_file() else None


def _by_text(file: str, kind: str, text: str, lines: Lines, commits: Sequence[str], who: dict[str, str]) -> str:
    """Who has this line in his own patch, the last where several have; of a file of one hand, that."""
    found = lines.get((file, kind, text))
    if found:
        return who[found[-1]]
    return who[commits[0]] if len(set(commits)) == 1 else ""
