"""Putting a folder as it stands into git's index, whatever was made in it, without running anything of it."""

from __future__ import annotations

import os
import re
import stat
from bisect import bisect_left
from collections.abc import Container, Iterable, Sequence
from pathlib import Path

from swarm.errors import MachineError
from swarm.sandboxes.copies.beneath import Beneath
from swarm.sandboxes.copies.touched import Touched
from swarm.sandboxes.git.command import Finished, Git, one_line
from swarm.sandboxes.git.index import listed
from swarm.sandboxes.git.nested import LONGEST, looked_through
from swarm.values import value

LARGEST = 100 << 20
"""Bytes of a new or changed file that is still recorded."""

MOST = 1 << 30
"""Bytes of all new or changed files that are still recorded; beyond them the largest are left out."""

_TRIED = 100
_ARGUMENTS = 500
_EXCLUDED = 50
"""Repositories inside that git is told to pass over; with more of them it gets a list of what to take."""
_NAMED = 20
_MACHINE = re.compile(
    r"No space left|[Qq]uota|unable to (write|create)|insufficient permission|Input/output|Read-only|[Oo]ut of memory"
)
"""What git says where not the content is to blame."""


class Uncapturable(MachineError):
    """What stands in a folder does not let itself be recorded: the doing of whoever worked there."""


@value(frozen=True, slots=True)
class Staged:
    """A recorded folder. `left_out` names, with the reason, what changed and yet is not in the tree."""

    tree: str
    left_out: tuple[str, ...] = ()


def add_all(git: Git, folder: Path, index: Path, *, ours: bool = True, only: Touched | None = None) -> Staged:
    """Put the folder as it stands into the index of `git`, and that into a tree.

    `ours`: it is a copy, and what git would wait for (a FIFO by the name of `.gitignore`) may be removed from it.
    `only`: nothing else differs from what the index says.
    Submodules are taken out of the index meanwhile: git would look into them by running git there, which would heed
    the configuration that whoever worked in the folder left in them.

    Raises:
        Uncapturable: git refuses what stands there.
        MachineError: git cannot.
    """
    with looked_through(folder, ours=ours, within=only.folders if only else None) as found:
        files, links = listed(index)
        if links:
            _index_info(git, [_none(name, path) for path, name in links.items()])
        tracked = _Names(files)
        apart = {path: None for path in found.repositories if not tracked.hold(path)}
        inside = [path for path in found.inside if _under(path, apart) and not _under(path, links)]
        seen = _changed(git, only.paths if only else None)
        changed = [path for path in seen if not _under(path.rstrip(b"/"), apart)]
        large = _too_large(folder, [*changed, *inside])
        inside = [path for path in inside if path not in large]
        few = [path for path in changed if path not in large]
        if (only is None and len(apart) <= _EXCLUDED) or not _update(git, few):
            _add(git, [*apart, *large], inside, changed)
        elif inside:
            _add_inside(git, inside, [])
        names = _restore(git, index, links)
        missing = [path for path in (*few, *inside) if path not in names]
        tree = git.run("write-tree").text
    left_out = [f"{one_line(path)} ({size >> 20} MiB)" for path, size in large.items()]
    left_out += [f"{one_line(path)} (no file of rules that git can read)" for path in found.removed]
    left_out += _refused_names(folder, missing)
    if found.deep:
        left_out.append(f"{found.deep} files with paths of more than {LONGEST} bytes")
    return Staged(tree, tuple(left_out))


def _refused_names(folder: Path, missing: Iterable[bytes]) -> list[str]:
    """The files that should be in the index and are not, with the reason."""
    told: list[str] = []
    really = Beneath(folder)
    for path in missing:
        found = really.stat(path)
        if found is None:  # removed, or as deep as git does not reach
            continue
        mode, there = found.st_mode, b"%s/%s" % (os.fsencode(folder), path)
        if stat.S_ISLNK(mode) or (stat.S_ISREG(mode) and os.access(there, os.R_OK)):
            told.append(f"{one_line(path)} (a name that git does not take)")
        elif stat.S_ISREG(mode):
            told.append(f"{one_line(path)} (it cannot be read)")
    if len(told) > _NAMED:
        told[_NAMED:] = [f"{len(told) - _NAMED} more files that git does not take"]
    return told


def _changed(git: Git, paths: Sequence[bytes] | None) -> list[bytes]:
    """What is changed or gone, by its look, and then what is new; at the paths alone where they are given."""
    if paths is not None:
        return _changed_at(git, paths)
    done = git.attempt("ls-files", "-z", "--others", "--modified", "--exclude-standard")
    if done.code == 0:
        return list(dict.fromkeys(done.parts))
    # It compares some contents, and one may not let itself be converted: then all may have changed.
    others = git.run("ls-files", "-z", "--others", "--exclude-standard").parts
    return others + git.run("ls-files", "-z").parts


def _changed_at(git: Git, paths: Sequence[bytes]) -> list[bytes]:
    found: list[bytes] = []
    for number in range(0, len(paths), _ARGUMENTS):
        some = [os.fsdecode(path) for path in paths[number : number + _ARGUMENTS]]
        options = ("-z", "--cached", "--others", "--exclude-standard")
        found += git.run("--literal-pathspecs", "ls-files", *options, "--", *some).parts
    return list(dict.fromkeys(found))


def _too_large(folder: Path, paths: Iterable[bytes]) -> dict[bytes, int]:
    """The files that are left out for their size, and how large they are."""
    sizes: dict[bytes, int] = {}
    really = Beneath(folder)
    for path in paths:
        found = really.stat(path)  # None: gone, or too deep down, and git does not reach it either
        if found is not None and stat.S_ISREG(found.st_mode):
            sizes[path] = found.st_size
    whole = sum(size for size in sizes.values() if size <= LARGEST)
    out: dict[bytes, int] = {}
    for path, size in sorted(sizes.items(), key=lambda each: -each[1]):
        if size > LARGEST:
            out[path] = size
        elif whole > MOST:
            out[path] = size
            whole -= size
        else:
            break
    return out


def _add(git: Git, apart: Sequence[bytes], inside: Sequence[bytes], changed: Sequence[bytes]) -> None:
    """Put all into the index but what is `apart`; of that the files `inside` of nested repositories all the same."""
    done = _git_add(git, apart)
    refused: list[bytes] = []
    if done.code == 128:
        refused = _refused(git, [*changed, *inside])
        done = _git_add(git, [*apart, *refused])
    if done.code == 128:
        raise _blamed(done)
    _add_inside(git, inside, refused)


def _update(git: Git, paths: Sequence[bytes]) -> bool:
    """Bring the index to what stands at these paths; False where git cannot, and perhaps did in part."""
    if not paths:
        return True
    options = ("-z", "--add", "--remove", "--replace", "--stdin")
    return git.attempt("update-index", *options, stdin=_lines(paths)).code == 0


def _add_inside(git: Git, inside: Sequence[bytes], refused: list[bytes]) -> None:
    raw = set(refused)
    plain = [path for path in inside if path not in raw]
    if plain:
        told = git.attempt("update-index", "-z", "--add", "--replace", "--stdin", stdin=_lines(plain))
        if told.code != 0 and not refused:
            refused = _refused(git, plain)
            raw = set(refused)
            plain = [path for path in plain if path not in raw]
            git.run("update-index", "-z", "--add", "--replace", "--stdin", stdin=_lines(plain), ok=(0, 128))
    _add_raw(git, refused)


def _git_add(git: Git, apart: Sequence[bytes]) -> Finished:
    # Code 1: something that cannot be read or is no file (a socket, a FIFO) was left as it was.
    where = _lines([b".", *(b":(exclude,literal)" + path for path in apart)])
    options = ("-A", "--sparse", "--ignore-errors", "--pathspec-from-file=-", "--pathspec-file-nul")
    done = git.attempt("add", *options, stdin=where)
    if done.code not in (0, 1, 128):
        raise MachineError(f"git add failed in {git.cwd}: {done.complaint}")
    return done


def _refused(git: Git, paths: Sequence[bytes]) -> list[bytes]:
    """The files whose content is not in the encoding that the user's tree asks of them."""
    told = git.run("check-attr", "-z", "--stdin", "working-tree-encoding", stdin=_lines(paths)).out.split(b"\0")
    encoded = [
        path for path, value in zip(told[::3], told[2::3], strict=False) if value not in (b"unspecified", b"unset")
    ]
    if len(encoded) > _TRIED:
        return encoded
    # git itself would follow a link, and wait for a FIFO.
    really = Beneath(git.cwd)
    found = ((path, really.read(path, LARGEST)) for path in encoded)
    return [path for path, data in found if data is not None and not _converts(git, path, data)]


def _converts(git: Git, path: bytes, data: bytes) -> bool:
    return git.attempt("hash-object", "-w", "--stdin", f"--path={os.fsdecode(path)}", stdin=data).code == 0


def _add_raw(git: Git, paths: Sequence[bytes]) -> None:
    """Put files into the index as they are, byte for byte."""
    lines = []
    really = Beneath(git.cwd)
    for path in paths:
        found, data = really.stat(path), really.read(path, LARGEST)
        if found is not None and data is not None:
            name = git.run("hash-object", "-w", "--no-filters", "--stdin", stdin=data).text.encode()
            lines.append(b"%o %s\t%s" % (0o100755 if found.st_mode & 0o100 else 0o100644, name, path))
    if lines:
        _index_info(git, lines)


def _blamed(done: Finished) -> MachineError:
    kind = MachineError if _MACHINE.search(done.err) else Uncapturable
    return kind(f"git add: {done.complaint}")


def _index_info(git: Git, lines: Iterable[bytes]) -> None:
    git.run("update-index", "-z", "--index-info", stdin=_lines(lines))


def _restore(git: Git, index: Path, links: dict[bytes, str]) -> set[bytes]:
    """Put submodules back as they were where nothing took their place, and forget new ones. Gives what else is in the
    index."""
    files, new = listed(index)
    names = _Names([*files, *new])
    lines = [_none(name, path) for path, name in new.items() if path not in links]
    for path, name in links.items():
        if not names.hold(path):
            lines.append(b"160000 %s\t%s" % (name.encode(), path))
    if lines:
        _index_info(git, lines)
    return set(names.sorted)


class _Names:
    """Names that are in an index."""

    def __init__(self, names: Iterable[bytes]) -> None:
        self.sorted = sorted(names)

    def hold(self, path: bytes) -> bool:
        """Whether something stands at a path or below it."""
        for wanted in (path, path + b"/"):
            at = bisect_left(self.sorted, wanted)
            if at < len(self.sorted) and (self.sorted[at] == path or self.sorted[at].startswith(path + b"/")):
                return True
        return False


def _under(path: bytes, folders: Container[bytes]) -> bool:
    """Whether a path is one of some folders, or below one."""
    while path not in folders:
        path = path.rpartition(b"/")[0]
        if not path:
            return False
    return True


def _none(name: str, path: bytes) -> bytes:
    """The line of `update-index --index-info` that takes an entry out of the index."""
    return b"0 %s\t%s" % (b"0" * len(name), path)


def _lines(parts: Iterable[bytes]) -> bytes:
    return b"".join(part + b"\0" for part in parts)
