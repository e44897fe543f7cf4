"""Putting one patch on top of a commit that does not hold what the patch was made on: the steps of a merge queue.

The patch is the difference between a commit and the one below it. git 2.38 takes no merge base by name, so it is given
one: a commit with the tree below, whose parent is what the patch was made on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from swarm.errors import MachineError
from swarm.sandboxes.git.command import Git
from swarm.sandboxes.git.objects import Commit
from swarm.sandboxes.git.overlay import Edits, edits_of
from swarm.stages import Change, Picked

MakeCommit = Callable[[str, Sequence[str], str, str], str]
"""Makes a commit of a tree, its parents, a message and an author."""

_STYLE = ("-c", "merge.conflictStyle=zdiff3")
_MARKS = ("<<<<<<<", ">>>>>>>")


def commits(git: Git, names: Sequence[str]) -> list[Commit]:
    """What some commits are."""
    told = [line.split() for line in git.run("show", "-s", "--format=%H %T %P", *names).text.splitlines()]
    return [Commit(name, tree, tuple(parents)) for name, tree, *parents in told]


def pick(git: Git, commit: MakeCommit, onto: Commit, work: Commit, message: str, author: str) -> Picked:
    """See `swarm.protocols.Repository.pick`."""
    ours, theirs, top, patch = onto.tree, work.tree, onto.name, work.name
    base = work.parents[0]
    if base == top:
        return Picked(top if ours == theirs else commit(theirs, [top], message, author), tree=theirs)
    below = commit(ours, [base], "what is merged", "swarm")
    done = git.merge_tree("--messages", below, patch, options=_STYLE)
    tree, *rest = done.out.split(b"\0")
    merged = tree.decode()
    if done.code == 0:
        return Picked(top if merged == ours else commit(merged, [top], message, author), tree=merged)
    names = rest[: rest.index(b"")]
    told = [text for kind, text in _messages(rest[len(names) + 1 :]) if kind.startswith("CONFLICT")]
    shown = [text.replace(below, "what is merged").replace(patch, "the patch") for text in told]
    return Picked(
        None,
        conflicts=tuple(dict.fromkeys(name.decode(errors="surrogateescape") for name in names)),
        notes=tuple(shown),
        tree=merged,
        marks=(f"{_MARKS[0]} {below}", f"{_MARKS[1]} {patch}"),
    )


def _messages(fields: Sequence[bytes]) -> Iterator[tuple[str, str]]:
    """Kind and text of what git says of a merge: how many paths, the paths, the kind, the text."""
    at = 0
    while at < len(fields) and fields[at].strip().isdigit():
        at += int(fields[at]) + 1
        if at + 1 >= len(fields):
            return
        yield fields[at].decode(errors="replace"), " ".join(fields[at + 1].decode(errors="replace").split())
        at += 2


def changes(git: Git, patch: str) -> tuple[tuple[Change, ...], Edits]:
    """See `swarm.protocols.Repository.changes`; and the same by objects."""
    options = ("-r", "-t", "-z", "--raw", "--numstat", "--no-abbrev", "--no-renames", "--no-ext-diff", "--no-textconv")
    fields = git.run("diff-tree", *options, f"{patch}^", patch).parts
    raw = 0
    while raw < len(fields) and fields[raw].startswith(b":"):
        raw += 2
    found = []
    for line in fields[raw:]:
        added, deleted, name = line.split(b"\t", 2)
        lines = 0 if added == b"-" else int(added) + int(deleted)
        found.append(Change(name.decode(errors="surrogateescape"), lines))
    return tuple(found), edits_of(fields[:raw])


def holding(git: Git, commit: str, words: Sequence[str]) -> tuple[str, ...]:
    """Which files of a commit hold one of the words."""
    if not words:
        return ()
    found = git.attempt("grep", "-l", "-z", "-F", *(part for word in words for part in ("-e", word)), commit)
    if found.code > 1:
        raise MachineError(f"git grep failed in {git.cwd}: {found.complaint}")
    return tuple(name.partition(b":")[2].decode(errors="surrogateescape") for name in found.parts)
