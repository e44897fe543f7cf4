"""The composition root of what sandboxes show: the workspace's place, the environment, the user's Python."""

from __future__ import annotations

import os
from pathlib import Path

from swarm.config import HOST_IMAGE, RunConfig
from swarm.hiring import shown_for_worker
from swarm.places.shown import Showing, Shown
from swarm.protocols import SandboxBackend
from swarm.values import value

_WORKDIR = "/workspace"


@value(frozen=True, slots=True)
class Site:
    """How a sandbox looks from inside: where the workspace is, the environment, what else is visible."""

    workdir: str
    shown: Showing
    notice: str = ""


async def sandbox_site(backend: SandboxBackend, config: RunConfig, repo: Path | None, module: str = "") -> Site:
    """The site for a backend. On the machine's own root the copy stands at the repository's own path, so that
    absolute paths and editable installs mean the copy; the user's Python is visible read-only, or, without a
    repository, one that has a module."""
    if backend.name == "docker" and config.image != HOST_IMAGE:
        return Site(config.workdir or _WORKDIR, Showing.of(Shown(config.sandbox_env, config.toolchain)))
    hired = await shown_for_worker(config)

    async def find() -> Shown:
        from swarm.sandboxes.toolchain import of_repository, with_module

        shown, entries = await (with_module(module) if module and repo is None else of_repository(repo))
        toolchain = tuple(dict.fromkeys((*config.toolchain, *shown, *hired)))
        return Shown({"PATH": os.pathsep.join(entries), **config.sandbox_env}, toolchain)

    notice = (
        "no isolation: --sandbox process runs commands as you, on this machine" if backend.name == "process" else ""
    )
    return Site(str(repo or _WORKDIR), Showing(find), notice)
