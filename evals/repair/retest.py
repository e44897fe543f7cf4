"""Runs the tests of a tree once more, in a sandbox: whoever changed the tree may have put anything into it."""

from __future__ import annotations

import functools
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread

from swarm.config import RunConfig
from swarm.gating.pytest_output import parse
from swarm.protocols import SandboxBackend
from swarm.sandboxes.catalog import open_backend
from swarm.sandboxes.folders import private_folder
from swarm.sandboxes.leases.lease import open_lease
from swarm.site import Site, sandbox_site
from swarm.types import SandboxRequest

TIMEOUT = 300.0
"""Seconds for all tests of a tree."""
_OUTPUT = 16 << 20
_TOLD = "-rpfE --tb=no"
_PASSED = re.compile(r"^PASSED (\S.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Retested:
    """What became of the tests, by pytest's names of them. `ended` is False where they came to no end; then nothing
    else is known."""

    passed: frozenset[str] = frozenset()
    failed: frozenset[str] = frozenset()
    ended: bool = True
    output: str = ""


class Retester:
    """Use `open_retester`."""

    def __init__(self, backend: SandboxBackend, lease: Path, config: RunConfig) -> None:
        self._backend = backend
        self._lease = lease
        self._config = config

    def room(self) -> AbstractAsyncContextManager[Path]:
        """A folder on this machine for as long as a block."""
        return private_folder(self._lease, "room")

    async def site(self) -> Site:
        """What its sandboxes look like: they have a Python with pytest, if there is one."""
        return await sandbox_site(self._backend, self._config, None, "pytest")

    async def run(self, tree: Path, test: str, timeout: float = TIMEOUT) -> Retested:
        """Run a test command, which is one of pytest, in a copy of a tree.

        Raises:
            SandboxError: the sandbox failed, not the tests.
        """
        site = await self.site()
        shown = await site.shown()
        async with private_folder(self._lease, "tree") as folder:
            copy = folder / "tree"
            ignore = shutil.ignore_patterns("__pycache__", ".git")
            await anyio.to_thread.run_sync(functools.partial(shutil.copytree, symlinks=True, ignore=ignore), tree, copy)
            request = SandboxRequest(
                "retest", "tests", self._lease, copy, site.workdir, env=shown.env, toolchain=shown.toolchain
            )
            async with self._backend.open(request) as sandbox:
                done = await sandbox.exec(f"{test} {_TOLD}", timeout=timeout, max_output=_OUTPUT)
        output = done.stdout.decode("utf-8", "replace")
        if done.timed_out or done.exit_code not in (0, 1):
            return Retested(ended=False, output=output + done.stderr.decode("utf-8", "replace"))
        return Retested(
            frozenset(_PASSED.findall(output)), frozenset(each.nodeid for each in parse(output)), output=output
        )


@asynccontextmanager
async def open_retester(config: RunConfig, home: Path) -> AsyncIterator[Retester]:
    """A retester in the sandboxes of a configuration; what they leave is under a lease in `home`.

    Raises on entering:
        SandboxError: the sandbox cannot be used on this machine.
    """
    async with (
        open_lease(home, f"retest-{secrets.token_hex(4)}") as lease,
        open_backend(config.sandbox, lease.folder, image=config.image) as backend,
    ):
        yield Retester(backend, lease.folder, config)


async def failing(tree: Path, test: str, sandbox: RunConfig, home: Path) -> frozenset[str] | None:
    """The tests that fail in a tree; None where they come to no end.

    Raises:
        SandboxError: the sandbox failed, not the tests.
    """
    home.mkdir(parents=True, exist_ok=True)
    async with open_retester(sandbox, home) as retester:
        told = await retester.run(tree, test)
    return told.failed if told.ended else None


def applied(tree: Path, patch: Path | None, final: Path) -> bool:
    """Write a tree with a patch into the new folder `final`; blocks. False where the patch does not apply: the tree is
    as it was then. No patch, or an empty one, changes nothing."""
    shutil.copytree(tree, final, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", ".git"))
    if patch is None or not patch.is_file() or not patch.stat().st_size:
        return True
    env = {"PATH": os.environ.get("PATH", os.defpath), "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    # Git must not take the folder for a part of a repository that is around it.
    env |= {"GIT_CEILING_DIRECTORIES": str(final.parent), "LANG": "C.UTF-8"}
    command = ["git", "apply", "--whitespace=nowarn", str(patch.resolve())]
    return subprocess.run(command, cwd=final, env=env, capture_output=True, check=False).returncode == 0
