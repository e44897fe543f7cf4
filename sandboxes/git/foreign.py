"""Repositories that lie in the user's without being recorded there: what they configure is not the user's word."""

from __future__ import annotations

import os
from dataclasses import replace

from swarm.sandboxes.git.command import Git

_LFS = "lfs"
"""Runs no program that is configured: `lfs.filtered` says what runs."""


def without_filters(git: Git) -> Git:
    """git in such a repository, without the filters that its own configuration names: they are programs.

    Those of the user's configuration stay, but where the repository gives them another meaning.
    """
    told = git.attempt("config", "--show-scope", "--name-only", "-z", "--get-regexp", r"^filter\.").out.split(b"\0")
    own = [key for scope, key in zip(told[::2], told[1::2], strict=False) if scope in (b"local", b"worktree")]
    names = dict.fromkeys(os.fsdecode(key.split(b".", 1)[1].rpartition(b".")[0]) for key in own)
    env = dict(git.env)
    count = int(env.get("GIT_CONFIG_COUNT") or 0)
    for name in names:
        if name == _LFS:
            continue
        for key, value in (("process", ""), ("clean", ""), ("smudge", ""), ("required", "false")):
            # Not by -c: a name may hold an equals sign.
            env |= {f"GIT_CONFIG_KEY_{count}": f"filter.{name}.{key}", f"GIT_CONFIG_VALUE_{count}": value}
            count += 1
    return replace(git, env=env | {"GIT_CONFIG_COUNT": str(count)} if names else git.env)
