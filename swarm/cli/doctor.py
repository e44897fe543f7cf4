"""`swarm doctor`: what this machine can do, and what is missing for a run."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

    from swarm.cli.doctor_endpoint import EndpointFinding

NOT_POSSIBLE = 3


class Finding(NamedTuple):
    """One thing looked at. `ok` is None where it is neither good nor bad; `needed`: without it there is no run."""

    name: str
    ok: bool | None
    text: str
    needed: bool = False


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Declare the command."""
    parser = commands.add_parser("doctor", help="check what a run needs on this machine", allow_abbrev=False)
    parser.add_argument("--json", action="store_true", help="the findings as one JSON object")
    parser.add_argument("--probe", action="store_true", help="ask the endpoint anew what it can do (a few small calls)")


def run(args: argparse.Namespace) -> int:
    """Print the findings: exit code 0 where a run is possible, else 3.

    Raises:
        UsageError: a configuration file cannot be used.
    """
    import json

    import anyio

    findings = anyio.run(_look, args.probe)
    possible = all(finding.ok for finding in findings if finding.needed)
    if args.json:
        print(json.dumps({"ok": possible, "findings": [finding._asdict() for finding in findings]}))
        return 0 if possible else NOT_POSSIBLE
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        mark = {True: "ok", False: "NO", None: "--"}[finding.ok]
        print(f"{mark}  {finding.name:<{width}}  {finding.text}")
    print("a run is possible" if possible else "a run is not possible: mend what is marked NO and needed:")
    if not possible:
        print("  " + ", ".join(finding.name for finding in findings if finding.needed and not finding.ok))
    return 0 if possible else NOT_POSSIBLE


async def _look(probe: bool) -> list[Finding | EndpointFinding]:
    import sys

    from swarm import __version__
    from swarm.cli.doctor_endpoint import look_at_endpoints
    from swarm.config import home, load_config

    python = ".".join(str(part) for part in sys.version_info[:3])
    return [
        Finding("swarm", None, __version__),
        Finding("python", sys.version_info >= (3, 11), python, needed=True),
        await _git(),
        _home(home(os.environ)),
        *await _sandboxes(),
        *await look_at_endpoints(load_config({}, os.environ, await _repository()), probe=probe),
    ]


async def _git() -> Finding:
    import anyio

    try:
        done = await anyio.run_process(["git", "--version"], check=False)
    except OSError:
        return Finding("git", False, "not found: install git", needed=True)
    return Finding("git", done.returncode == 0, done.stdout.decode(errors="replace").strip(), needed=True)


def _home(folder: Path) -> Finding:
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    fits = existing.is_dir() and os.access(existing, os.W_OK)
    return Finding("runs", fits, f"kept in {folder / 'runs'}" + ("" if fits else ": not writable"), needed=True)


async def _repository() -> Path | None:
    from pathlib import Path

    from swarm.errors import SwarmError
    from swarm.sandboxes.workspace import find_repository

    try:
        return await find_repository(Path())
    except SwarmError:
        return None


async def _sandboxes() -> list[Finding]:
    from swarm.cli.text import line
    from swarm.config import home
    from swarm.sandboxes.catalog import available
    from swarm.sandboxes.lease import open_lease

    async with open_lease(home(os.environ), f"doctor-{os.getpid()}") as lease:
        tried = await available(lease.folder)
    found = [Finding(f"sandbox {name}", works, "works" if works else line(why)) for name, works, why in tried]
    names = [name for name, works, _ in tried if works]
    text = "none works"
    if names:
        text = f"default: {names[0]}" if names[0] != "process" else "only --sandbox process, which isolates nothing"
    return [*found, Finding("sandbox", bool(names), text, needed=True)]
