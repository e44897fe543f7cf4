"""A run's store on another machine: what it begins with there, and the commits that are made on either side.

The copy holds the base without its history: nobody who works on a sub-task needs more. Objects are named by their
content, so what is packed here is the same there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from swarm.errors import UsageError
from swarm.sandboxes.git.bare import make_store
from swarm.sandboxes.git.command import own_git
from swarm.sandboxes.git.repository import GitRepository, remembered

_HEAVY = ("objects", "lfs", "refs", "config")
_LFS = b"filter=lfs"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A store as it travels: its small files by their names, the name of its objects' hashes, the base, and a pack with
    the tree of that."""

    files: dict[str, bytes]
    form: str
    base: str
    pack: bytes


def bundle(tree: GitRepository) -> Bundle:
    """The store of a run, for another machine; blocks.

    Raises:
        UsageError: it holds what cannot be sent.
        MachineError: git failed.
    """
    store, git = tree.store, own_git(tree.store)
    if _LFS in (store / "info/attributes").read_bytes():
        raise UsageError(
            "the repository has files of Git LFS, whose contents are not sent to other machines",
            remedy="run it with --executor local",
        )
    found = (path for path in sorted(store.rglob("*")) if path.is_file() and not path.is_symlink())
    names = [path.relative_to(store) for path in found]
    files = {str(name): (store / name).read_bytes() for name in names if name.parts[0] not in _HEAVY}
    form = git.run("rev-parse", "--show-object-format").text
    listed = git.run("rev-list", "--objects", "--no-object-names", "--no-walk", tree.base).out
    return Bundle(files, form, tree.base, git.run("pack-objects", "--stdout", "-q", stdin=listed).out)


def unbundle(sent: Bundle, store: Path) -> GitRepository:
    """The store that was sent, in a new folder; blocks.

    Raises:
        MachineError: git failed, or the pack is damaged.
        OSError: it cannot be written.
    """
    git = make_store(store, sent.form)
    for name, content in sent.files.items():
        path = store / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (store / "shallow").write_text(f"{sent.base}\n")  # what it stands on was not sent
    git.run("index-pack", "--stdin", stdin=sent.pack)
    (store / "refs/heads/base").write_text(f"{sent.base}\n")
    return remembered(store)


def pack(store: Path, commits: Iterable[str], known: Iterable[str]) -> bytes:
    """What makes up commits beyond those that are `known` where it goes to; blocks.

    Raises:
        MachineError: git failed.
    """
    wanted = "".join(f"{name}\n" for name in (*commits, *(f"^{name}" for name in known)))
    return own_git(store).run("pack-objects", "--revs", "--stdout", "-q", stdin=wanted.encode()).out


def unpack(store: Path, data: bytes) -> None:
    """Take up what `pack` gave; blocks.

    Raises:
        MachineError: git failed, or the data is damaged.
    """
    own_git(store).run("unpack-objects", "-q", stdin=data)
