"""A commit of a repository out of a local clone or mirror, without what came after it.

Its parent comes along, and nothing before that: eval scripts show what the commit changed, which without one is every
file.
"""

from __future__ import annotations

import os
from pathlib import Path

from swarm.errors import UsageError
from swarm.sandboxes.git.command import Git, own_git

_SERVE = "git -c safe.directory=* -c uploadpack.allowAnySHA1InWant=true upload-pack"
_CHECKOUT = {"GIT_ALLOW_PROTOCOL": "file"}


def find_mirror(folder: Path, repo: str) -> Path:
    """The repository `OWNER/NAME` in a folder that is one, or holds one by that name.

    Raises:
        UsageError: it is not there.
    """
    owner, _, name = repo.partition("/")
    names = [f"{owner}{between}{name}" for between in ("/", "__", "+", "-", "_")] + [name]
    places = [folder, *(folder / f"{each}{suffix}" for each in names for suffix in ("", ".git", "/repo", "/.git"))]
    for place in places:
        if _is_repository(place):
            return place
    raise UsageError(
        f"there is no repository {repo} in {folder}",
        remedy=f"clone it there: git clone --mirror URL {folder / f'{owner}__{name}.git'}",
    )


def check_out(mirror: Path, commit: str, target: Path) -> None:
    """Make a repository of one commit, with its files. Its history is cut: nothing but the objects of this commit and
    its parent is there, no other branch, tag, remote or reflog. Blocks.

    Raises:
        UsageError: the mirror does not hold the commit.
        MachineError: git cannot.
    """
    target.mkdir()
    store = own_git(target / ".git")
    git = Git({**store.env, **_CHECKOUT, "GIT_WORK_TREE": str(target)}, target, ("core.logAllRefUpdates=false",))
    git.run("init", "-q", "--template=", "-b", "main")
    got = git.attempt("fetch", "-q", "--depth=2", "--no-tags", f"--upload-pack={_SERVE}", mirror.resolve(), commit)
    if got.code != 0:
        raise UsageError(f"{mirror} does not hold the commit {commit}: {got.complaint}", remedy="fetch it first")
    git.run("update-ref", "refs/heads/main", commit)
    git.run("reset", "-q", "--hard", commit)
    for name in ("FETCH_HEAD", "ORIG_HEAD"):
        (target / ".git" / name).unlink(missing_ok=True)


def _is_repository(place: Path) -> bool:
    return (place / "HEAD").is_file() or os.path.lexists(place / ".git")
