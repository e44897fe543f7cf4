"""What runs begin with: the files of an instance as they stand in its image, as a commit without a history.

The repository of the image is not taken along. It may hold what the agent must not see: later commits, in branches,
tags, reflogs and packs. Files that its git ignores are (compiled extensions, `egg-info`), for without them the
environment in the image, which is installed from there, does not work.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread

from swarm.errors import SandboxError
from swarm.evals.swebench.container import Container, Wanted, open_container
from swarm.removal import remove_tree
from swarm.sandboxes.docker.engine import Engine
from swarm.sandboxes.git.command import Git, own_git, quoted
from swarm.sandboxes.git.repository import commit_tree

TESTBED = "/testbed"
_MARK = b"\0swarm\0"
_IGNORED = (
    "git -c safe.directory='*' ls-files -z --others --ignored --exclude-standard --directory && "
    "printf '\\0swarm\\0' && git -c safe.directory='*' log -1 --format=%ct"
)
_ACTIVE = (
    "if [ -r /opt/miniconda3/bin/activate ]; then . /opt/miniconda3/bin/activate; conda activate testbed; fi; "
    "printf '\\0swarm\\0'; env -0"
)
_PASSING = frozenset({b"_", b"PWD", b"OLDPWD", b"SHLVL", b"PS1", b"HOME", b"HOSTNAME"})
_DROPPED = frozenset({".git", "__pycache__", ".pytest_cache"})


@dataclass(frozen=True, slots=True)
class Base:
    """`store` is a bare repository of the one `commit`, whose name follows from its content; `env` what is set where
    the instance's environment is active; `ignored` are the paths that the image's git ignores, folders with a slash at
    the end."""

    store: Path
    commit: str
    env: dict[str, str]
    ignored: tuple[bytes, ...]


async def take_base(engine: Engine, lease: Path, image: str, folder: Path) -> Base:
    """Take an instance's files out of its image, into a folder that is not there yet.

    Raises:
        SandboxError: the image cannot be had, or holds no repository at /testbed.
    """
    async with open_container(engine, lease, Wanted(image, "none")) as container:
        code, listed = await container.output(["/bin/sh", "-c", f"cd {TESTBED} && {_IGNORED}"])
        ignored, _, date = listed.rpartition(_MARK)
        if code != 0 or not date.strip().isdigit():
            raise SandboxError(
                f"image {image} holds no repository at {TESTBED}",
                remedy="give --image-template the images of SWE-bench, or make one with `swarm eval swebench build`",
            )
        env = await _environment(container)
        await anyio.to_thread.run_sync(folder.mkdir)
        await container.fetch(TESTBED, folder / "files")
    commit = await anyio.to_thread.run_sync(_commit, folder, int(date))
    return Base(folder / "repo.git", commit, env, tuple(path for path in ignored.split(b"\0") if path))


def lay_out(base: Base, target: Path) -> None:
    """Make a repository with the files of a base in a new folder. It borrows the base's objects. Blocks.

    Raises:
        MachineError: git cannot.
    """
    target.mkdir(parents=True)
    git = _git(target / ".git", target)
    git.run("init", "-q", "--template=", "-b", "main")
    (target / ".git/objects/info").mkdir(exist_ok=True)
    (target / ".git/objects/info/alternates").write_text(f"{quoted(base.store / 'objects')}\n")
    git.run("update-ref", "refs/heads/main", base.commit)
    git.run("read-tree", "--reset", "-u", base.commit)


async def _environment(container: Container) -> dict[str, str]:
    """The variables that activating the environment sets."""
    code, told = await container.output(["/bin/bash", "-c", _ACTIVE])
    if code != 0:
        return {}
    _, plain = await container.output(["/usr/bin/env", "-0"])
    before = set(plain.split(b"\0"))
    found: dict[str, str] = {}
    for line in told.rpartition(_MARK)[2].split(b"\0"):
        name, equals, value = line.partition(b"=")
        if equals and name not in _PASSING and line not in before:
            found[name.decode(errors="replace")] = value.decode(errors="replace")
    return found


def _commit(folder: Path, date: int) -> str:
    """Record the files in a store, and remove them; gives the commit."""
    files = folder / "files"
    for place, folders, names in os.walk(files):
        for name in [*folders, *names]:
            if name in _DROPPED:
                path = Path(place, name)
                if path.is_symlink() or not path.is_dir():
                    path.unlink()
                else:
                    remove_tree(path)
        folders[:] = [name for name in folders if name not in _DROPPED]
    git = _git(folder / "repo.git", files)
    git.run("init", "-q", "--template=", "-b", "main")
    git.run("add", "-A", "-f")
    tree = git.run("write-tree").text
    commit = commit_tree(git, tree, [], "base", author="swarm", date=date)
    git.run("update-ref", "refs/heads/main", commit)
    remove_tree(files)
    return commit


def _git(store: Path, files: Path) -> Git:
    settings = ("core.logAllRefUpdates=false", "core.looseCompression=1")
    return Git({**own_git(store).env, "GIT_WORK_TREE": str(files)}, files, settings)
