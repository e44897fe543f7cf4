"""What the sandboxes of this machine can do, for whoever wants to know before a run: looked at by trying."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from swarm.errors import SandboxError
from swarm.sandboxes.catalog import NAMES, open_backend
from swarm.sandboxes.copies.layering import Kind, best
from swarm.sandboxes.docker.engine import connect
from swarm.sandboxes.limits import cgroups
from swarm.sandboxes.limits import known as known_limits

INSTALL = {
    "docker": "sudo apt-get install docker.io",
    "bubblewrap": "sudo apt-get install bubblewrap util-linux",
    "process": "sudo apt-get install bash",
}
_ANSWERS_S = 10.0


@dataclass(frozen=True, slots=True)
class Surveyed:
    """One backend. `trouble` and `remedy` are empty where it works; `about` is what it runs on.

    `limits`: of each of memory, pids, cpu, disk and file-size, why it does not hold in full, or nothing where it does.
    """

    name: str
    trouble: str
    remedy: str
    about: str
    limits: Mapping[str, str]


async def survey(lease: Path) -> list[Surveyed]:
    """Try each backend. `lease` as in `SandboxRequest`."""
    return [await _one(name, lease) for name in NAMES]


async def copies(lease: Path) -> Kind:
    """The best kind of working copies that works here."""
    return await anyio.to_thread.run_sync(best, lease)


async def cgroup_version(lease: Path) -> tuple[str, frozenset[str]]:
    """Which version of cgroups swarm itself may use here, in words, and for which limits."""
    places = await anyio.to_thread.run_sync(cgroups.usable, lease)
    versions = sorted({f"version {place.version}" for place in places})
    return " and ".join(versions), frozenset(name for place in places for name in place.controllers)


async def _one(name: str, lease: Path) -> Surveyed:
    about = await _about(name)
    try:
        async with open_backend(name, lease) as backend:
            known = known_limits.of(backend)
    except SandboxError as error:
        return Surveyed(name, error.message, _remedy(name, error), about, {})
    return Surveyed(name, "", "", about, {limit: known.get(limit, "") for limit in known_limits.LIMITS})


def _remedy(name: str, error: SandboxError) -> str:
    """The command that installs what is missing, else what the error says."""
    program = {"docker": "dockerd", "bubblewrap": "bwrap"}.get(name, "sh")
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    if shutil.which(program, path=path) is None and not (name == "docker" and os.environ.get("DOCKER_HOST")):
        return f"install it with `{INSTALL[name]}`"
    return error.remedy or f"install it with `{INSTALL[name]}`"


async def _about(name: str) -> str:
    if name == "process":
        return "isolates nothing"
    if name == "bubblewrap":
        return await _bubblewrap()
    try:
        async with connect() as engine:
            with anyio.move_on_after(_ANSWERS_S):
                told: dict[str, Any] = await engine.call(partial(engine.client.info), abandon=True)
                cgroup = f"cgroup version {told.get('CgroupVersion', '1')} by {told.get('CgroupDriver', '?')}"
                return f"engine {told.get('ServerVersion', '?')}, storage {told.get('Driver', '?')}, {cgroup}"
    except SandboxError:
        return ""
    return ""


async def _bubblewrap() -> str:
    program = shutil.which("bwrap")
    if program is None:
        return ""
    try:
        done = await anyio.run_process([program, "--version"], check=False)
    except OSError:
        return ""
    how = "started by root without a user namespace" if os.geteuid() == 0 else "in a user namespace"
    return f"{done.stdout.decode(errors='replace').strip()}, {how}"
