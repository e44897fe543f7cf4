"""Taking the user's tree as it stands, submodules included, into a run's store; nothing of the user's is written."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from swarm.errors import MachineError, UsageError
from swarm.sandboxes.git import lfs
from swarm.sandboxes.git.apart import Apart, Module, module, quoted_line
from swarm.sandboxes.git.command import Finished, Git, one_line, own_git, quoted, user_git, without_filters
from swarm.sandboxes.git.index import may_hold_links, whole_tree
from swarm.sandboxes.git.nested import EXCLUDED
from swarm.sandboxes.git.opened import NoRepository, Opened, opened
from swarm.sandboxes.git.trees import FOLDER, GITLINK, Entry, links_of, replaced

_LINK = b"160000 "
_INVALID = re.compile(r"^error: [Ii]nvalid path '(.*)'$", re.MULTILINE)
_UNSHOWN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
"""What git shows as a question mark."""

_HOME = ("runs", "leases", "capabilities")
"""What there is in the folder where runs are kept."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A tree in the store, what is apart from it, and what the user should know of how it was taken."""

    tree: str
    apart: Apart = field(default_factory=Apart)
    notes: tuple[str, ...] = ()


def take(user: Opened, store: Path, *, foreign: bool = False) -> Taken:
    """Record a checkout with its uncommitted and untracked files, and those of the repositories in it.

    `foreign`: it is a repository that lies in the user's without being recorded there.

    Raises:
        UsageError: git cannot record the tree; the message says why.
        MachineError: the store cannot be written.
    """
    repo = user.git.cwd
    borrow(store, user)
    given = replace(user, git=without_filters(user.git)) if foreign else user
    tree, links, absent, refused = _recorded(given, lfs.filtered(given, store), store)
    recorded = links_of(user.git.run("ls-files", "-z", "--stage").parts) if links else {}
    modules: list[Module] = []
    notes: list[str] = []
    lines = [quoted_line(line) for line in absent]
    if absent:
        notes.append(f"{len(absent)} files that this partial clone never fetched are not in the copies")
    if refused:
        some = ", ".join(map(one_line, refused[:5])) + (", ..." if len(refused) > 5 else "")
        notes.append(f"not in the copies, for git does not take the name: {some}")
    empty = [path for path in links if not os.path.lexists(repo / os.fsdecode(path) / ".git")]
    if empty:
        some = ", ".join(map(one_line, empty[:5])) + (", ..." if len(empty) > 5 else "")
        notes.append(f"not checked out, and so empty in the copies: {some} ({len(empty)} of {len(links)} submodules)")
    for path, link in links.items():
        if path in empty:
            continue
        inner, said = _module(repo / os.fsdecode(path), path, store, user, recorded.get(path, ""), foreign)
        notes += said
        if inner is not None:
            tree = replaced(own_git(store), tree, path, Entry(FOLDER, inner.tree))
            modules += inner.apart.modules
            lines += inner.apart.absent
        elif path not in recorded:
            tree = replaced(own_git(store), tree, path, None)  # git would record the name of a commit, without files
        elif link != recorded[path]:
            tree = replaced(own_git(store), tree, path, Entry(GITLINK, recorded[path]))
    return Taken(tree, Apart(modules=tuple(modules), absent=tuple(lines)), tuple(notes))


def borrow(store: Path, user: Opened) -> None:
    """Let a store read the objects of a repository, as deep as that one's history goes."""
    alternates = store / "objects/info/alternates"
    alternates.parent.mkdir(parents=True, exist_ok=True)
    line = f"{quoted(user.common / 'objects')}\n"
    known = alternates.read_text(errors="surrogateescape") if alternates.exists() else ""
    if line not in known.splitlines(keepends=True):
        alternates.write_text(known + line, errors="surrogateescape")
    shallow, ours = user.common / "shallow", store / "shallow"
    if shallow.is_file():
        before = ours.read_text().splitlines() if ours.exists() else []
        ours.write_text("".join(f"{name}\n" for name in dict.fromkeys([*before, *shallow.read_text().split()])))


def _recorded(user: Opened, git: Git, store: Path) -> tuple[str, dict[bytes, str], list[bytes], list[bytes]]:
    """The tree by way of a copy of the index, the repositories in it with their commits, the lines of files that are
    not here, and the files whose names git does not take."""
    index = store / "snapshot-index"
    theirs = user.own / "index"
    if theirs.is_file():
        # With its time: by that git tells which files may have changed in the second in which it was written.
        shutil.copy2(theirs, index)
        index.chmod(0o600)
    env = {
        "GIT_INDEX_FILE": str(index),
        "GIT_OBJECT_DIRECTORY": str(store / "objects"),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": quoted(user.common / "objects"),
    }
    try:
        refused = _add(git, store, env)
        listed = user.partial or may_hold_links(index)
        entries = git.run("ls-files", "-z", "--stage", env=env).parts if listed else []
        links = links_of(entries)
        absent = _absent(store, entries) if user.partial else []
        if absent:
            gone = b"".join(map(_removed, absent))
            git.run("update-index", "-z", "--index-info", stdin=gone, env=env)
        tree = None if user.partial else whole_tree(index)  # nothing is changed, mostly
        return tree or git.run("write-tree", env=env).text, links, absent, refused
    finally:
        index.unlink(missing_ok=True)


def _add(git: Git, store: Path, env: dict[str, str]) -> list[bytes]:
    """Bring the copy of the index to what stands in the checkout. Gives the files whose names git does not take."""
    repo = git.cwd
    # What Python leaves behind changes with every test run: in the base it would be in every patch.
    where = [".", *(f":(exclude,glob)**/{name}/**" for name in EXCLUDED), ":(exclude,glob)**/*.pyc"]
    where += (f":(exclude,literal){path}" for path in _of_swarm(store.resolve(), repo.resolve()))
    options = ("add", "-A", "--sparse", "--")
    added = git.attempt(*options, *where, env=env)
    if added.code != 0 and "does not have a commit checked out" in added.err:
        where += (f":(exclude,literal){os.fsdecode(path)}" for path in _unborn(git, repo, env))
        added = git.attempt(*options, *where, env=env)
    refused: list[bytes] = []
    if added.code != 0 and _INVALID.search(added.err):
        refused = _invalid(git, where, env)
        where += (f":(exclude,literal){os.fsdecode(path)}" for path in refused)
        added = git.attempt(*options, *where, env=env)
    if added.code != 0:
        raise _refused(repo, added)
    return refused


def _of_swarm(store: Path, repo: Path) -> Sequence[Path]:
    """What in a checkout is of runs: the folder where all are kept, or, where that is the checkout, what is in it."""
    run = store.parent
    home = run.parent.parent if run.parent.name == "runs" else run
    if home == repo:
        return [Path(name) for name in _HOME if (repo / name).exists()]
    return [home.relative_to(repo)] if home.is_relative_to(repo) else []


def _invalid(git: Git, where: Sequence[str], env: dict[str, str]) -> list[bytes]:
    """The untracked files whose names git does not take."""
    tried = git.attempt("add", "-A", "--sparse", "--ignore-errors", "--", *where, env=env)
    named = {match[1] for match in _INVALID.finditer(tried.err)}
    others = git.run("ls-files", "-z", "--others", "--exclude-standard", env=env).parts
    return [path for path in others if _UNSHOWN.sub("?", path.decode(errors="replace")) in named]


def _refused(repo: Path, added: Finished) -> UsageError:
    wrong = [line for line in added.err.splitlines() if "filter" in line]
    if wrong:
        return UsageError(
            f"git cannot record the files of {repo}: {'; '.join(wrong[-2:])}",
            remedy="install what the filter runs, or take `filter.NAME.required` out of the configuration of git",
        )
    return UsageError(
        f"git cannot record the files of {repo}: {added.complaint}",
        remedy="see `git -C PATH status`; remove or ignore what it names",
    )


def _unborn(git: Git, repo: Path, env: dict[str, str]) -> Sequence[bytes]:
    """Untracked repositories without a commit: git has nothing to record of them."""
    others = git.run("ls-files", "-z", "--others", "--exclude-standard", env=env).parts
    inner = [path.rstrip(b"/") for path in others if path.endswith(b"/")]
    return [path for path in inner if _at(repo / os.fsdecode(path)) is None]


def _module(
    folder: Path, path: bytes, store: Path, outer: Opened, link: str, foreign: bool
) -> tuple[Taken | None, list[str]]:
    """What a repository in the checkout holds, itself the first of its modules; None where it cannot be had."""
    shown = one_line(path)
    there = _at(folder)
    if there is None or there.head is None:
        return None, [f"{shown} is no repository that git can read: its files are not in the copies"]
    if not link and there.common == outer.common:
        return None, [f"{shown} is another worktree of this repository: its files are not in the copies"]
    if there.form != outer.form:
        return None, [f"{shown} names objects otherwise (sha1, sha256): its files are not in the copies"]
    try:
        inner = take(there, store, foreign=foreign or not link)
    except (UsageError, MachineError) as error:
        return None, [f"the files of {shown} are not in the copies: {error.message}"]
    modules = (module(path, there.head, link), *(_moved(path, each) for each in inner.apart.modules))
    absent = tuple(quoted_line(_line_below(path, line)) for line in inner.apart.lines)
    return Taken(inner.tree, Apart(modules=modules, absent=absent)), [f"{shown}: {note}" for note in inner.notes]


def _moved(path: bytes, inner: Module) -> Module:
    return module(path + b"/" + inner.path, inner.head, inner.link)


def _line_below(path: bytes, line: bytes) -> bytes:
    about, _, name = line.partition(b"\t")
    return about + b"\t" + path + b"/" + name


def _absent(store: Path, entries: Iterable[bytes]) -> list[bytes]:
    """The lines of files whose content a partial clone never fetched."""
    files = {line.split(b" ")[1]: line for line in entries if not line.startswith(_LINK)}
    told = own_git(store).run("cat-file", "--batch-check=%(objectname)", stdin=b"\n".join(files) + b"\n").out
    gone = {line.split(b" ")[0] for line in told.split(b"\n") if line.endswith(b" missing")}
    found = []
    for line in entries:
        about, _, path = line.partition(b"\t")
        mode, name, _ = about.split(b" ")
        if name in gone:
            found.append(b"%s %s\t%s" % (mode, name, path))
    return found


def still_there(repo: Path, path: bytes) -> bool:
    """Whether at a path in a checkout, by no link, there is a repository of its own."""
    parts = Path(os.fsdecode(path)).parts
    folders = [repo.joinpath(*parts[: n + 1]) for n in range(len(parts))]
    return not any(folder.is_symlink() for folder in folders) and _at(folders[-1]) is not None


def _removed(line: bytes) -> bytes:
    """The line of `update-index --index-info` that takes an entry out of the index."""
    about, _, path = line.partition(b"\t")
    return b"0 %s\t%s\0" % (b"0" * len(about.split(b" ")[1]), path)


def _at(folder: Path) -> Opened | None:
    """The repository, with a commit, whose files lie in a folder; None: there is none that git can read."""
    try:
        found = opened(user_git(folder)) if folder.is_dir() else None
    except NoRepository:
        return None
    if found is None or found.head is None or found.top is None or found.top.resolve() != folder.resolve():
        return None
    return found
