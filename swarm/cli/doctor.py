"""`swarm doctor`: what this machine can do, and what is missing for a run."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

from swarm.cli.doctor_sandboxes import look
from swarm.cli.findings import Finding

if TYPE_CHECKING:
    from pathlib import Path

    from swarm.journal.redaction import Redactor

NOT_POSSIBLE = 3


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "doctor",
        help="check what a run needs on this machine",
        description="Check what a run needs on this machine: programs, folders, sandboxes and the limits that hold in "
        "them, the model endpoint. Exit code 0 where a run is possible, else 3.",
        allow_abbrev=False,
    )
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
    told: set[str] = set()
    for finding in findings:
        mark = {True: "ok", False: "NO", None: "--"}[finding.ok]
        _print_folded(f"{mark}  {finding.name:<{width}}  ", finding.text)
        for text in _below(finding):
            name = text.partition(":")[0]
            _print_folded(" " * (width + 6), f"{name}: as above" if text in told else text)
            told.add(text)
    print("a run is possible" if possible else "a run is not possible: mend what is marked NO and needed:")
    if not possible:
        print("  " + ", ".join(finding.name for finding in findings if finding.needed and not finding.ok))
    return 0 if possible else NOT_POSSIBLE


def _print_folded(before: str, text: str) -> None:
    """Print in lines as wide as the terminal, those after the first indented like it."""
    import shutil
    import textwrap

    width = max(60, shutil.get_terminal_size((120, 24)).columns)
    indent = " " * len(before)
    print(textwrap.fill(text, width, initial_indent=before, subsequent_indent=indent, break_long_words=False))


def _below(finding: Finding) -> list[str]:
    """What is told under a finding: limits that do not hold in full, and what to do."""
    limits = [(name, why) for name, why in (finding.details or {}).items() if name.startswith("limit ")]
    told = [f"{name.removeprefix('limit ')}: {why}" for name, why in limits if why != "holds"]
    return [*told, *([f"-> {finding.remedy}"] if finding.remedy else [])]


async def _look(probe: bool) -> list[Finding]:
    """All findings, without secrets: endpoints and tools may tell what they were told."""
    import sys

    from swarm import __version__
    from swarm.cli.doctor_endpoint import look_at_endpoints
    from swarm.config import home, load_config
    from swarm.journal.redaction import Redactor, secrets_of
    from swarm.models.providers import secrets_in

    config = load_config({}, os.environ, await _repository())
    redactor = Redactor(secrets_of(os.environ) | secrets_in(config, os.environ))
    python = ".".join(str(part) for part in sys.version_info[:3])
    findings = [
        Finding("swarm", None, __version__),
        Finding("python", sys.version_info >= (3, 11), python, needed=True),
        await _git(),
        _home(home(os.environ)),
        *await _cut_off(),
        *await _sandboxes(),
        *await look_at_endpoints(config, redactor, probe=probe),
    ]
    return [finding._replace(**_without_secrets(_told(finding), redactor)) for finding in findings]


def _told(finding: Finding) -> dict[str, Any]:
    """The parts of a finding that others may have written."""
    return {"text": finding.text, "remedy": finding.remedy, "details": finding.details}


def _without_secrets(value: Any, redactor: Redactor) -> Any:
    if isinstance(value, str):
        return redactor.redact(value)[0]
    if isinstance(value, dict):
        return {name: _without_secrets(each, redactor) for name, each in value.items()}
    return [_without_secrets(each, redactor) for each in value] if isinstance(value, list | tuple) else value


async def _git() -> Finding:
    import anyio

    try:
        done = await anyio.run_process(["git", "--version"], check=False)
    except OSError:
        return Finding("git", False, "not found: install git", needed=True)
    return Finding("git", done.returncode == 0, done.stdout.decode(errors="replace").strip(), needed=True)


def _home(folder: Path) -> Finding:
    places = (folder, *folder.absolute().parents)
    existing = next(path for path in places if os.access(path, os.F_OK))  # `exists` raises where it may not look
    fits = existing.is_dir() and os.access(existing, os.W_OK)
    text, remedy = f"kept in {folder / 'runs'}", "set SWARM_HOME to a folder that you may write to"
    return Finding("runs", fits, text if fits else f"{text}: not writable", True, "" if fits else remedy)


async def _sandboxes() -> list[Finding]:
    """What works of them; where nothing can be kept, nothing could be tried."""
    from swarm.errors import MachineError

    try:
        return await look()
    except MachineError as error:
        return [Finding("sandbox", False, f"not tried: {error.message}", needed=True, remedy=error.remedy)]


async def _cut_off() -> list[Finding]:
    """Whether the checkout here was changed in part by an `--apply` that did not come to its end."""
    from pathlib import Path

    import anyio.to_thread

    from swarm.errors import SwarmError, UsageError
    from swarm.sandboxes.git.command import user_git
    from swarm.sandboxes.git.opened import opened
    from swarm.sandboxes.git.undo import refuse_half_done

    try:
        await anyio.to_thread.run_sync(lambda: refuse_half_done(opened(user_git(Path.cwd()))))
    except UsageError as error:
        return [Finding("checkout", False, error.message, needed=True, remedy=error.remedy or "")]
    except (SwarmError, OSError):  # no repository
        pass
    return []


async def _repository() -> Path | None:
    from pathlib import Path

    from swarm.errors import SwarmError
    from swarm.sandboxes.git.workspace import find_repository

    try:
        return await find_repository(Path())
    except SwarmError:
        return None
