"""`swarm gc`: removes what killed runs left on this machine, after showing it."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

from swarm.cli.stdio import complain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from swarm.sandboxes.leases.reaper import Dead, DeadLease

NOT_ALL = 3


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "gc",
        help="remove what killed runs left behind: sandboxes, mounts, processes, files",
        description="Find what killed runs left behind: sandboxes, mounts, processes, files; remove it with --yes, or "
        "when the question on the terminal is answered so.",
        allow_abbrev=False,
    )
    parser.add_argument("--yes", action="store_true", help="remove it without asking")
    parser.add_argument("--json", action="store_true", help="one JSON object for each run, a line each")


def run(args: argparse.Namespace) -> int:
    """Show what is left, and remove it if told to: exit code 3 where something could not be looked at or removed.

    Raises:
        OSError: the folder of leases cannot be read.
    """
    from swarm.config import home
    from swarm.sandboxes.docker.leftovers import usual_engine
    from swarm.sandboxes.leases.reaper import dead_leases

    usual = usual_engine()
    with dead_leases(home(os.environ), [usual] if usual else []) as dead:
        if not args.json:
            _show(dead)
        _warn(dead)
        removing = bool(dead.leases) and (args.yes or (not args.json and _asked(dead)))
        return _finish(dead, removing, json=args.json)


def _show(dead: Dead) -> None:
    from swarm.cli.text import line

    for lease in dead.leases:
        print(f"{line(lease.id)}  {_whose(lease)}")
        for thing in lease.leftovers:
            print(f"  {thing.kind:<9}  {line(thing.name)}")
    if not dead.leases:
        print("nothing is left behind" if _all_seen(dead) else "nothing was found, but not all could be looked at")


def _warn(dead: Dead) -> None:
    for lease in dead.leases:
        for reason in lease.unseen:
            kept = f"{lease.folder}, which is kept to remember it"
            what = (
                f"start that engine, or remove {kept}, if it is no more" if reason in lease.away else f"remove {kept}"
            )
            _complain(f"{lease.id}: not looked at: {reason}; {what}")
    for reason in dead.unseen:
        _complain(f"not looked at: {reason}")


def _all_seen(dead: Dead) -> bool:
    return not dead.unseen and not any(lease.unseen for lease in dead.leases)


def _whose(lease: DeadLease) -> str:
    from swarm.cli.text import line

    if not lease.holder.pid:
        return "its holder is not known"
    since = f" since {lease.holder.since}" if lease.holder.since else ""
    return line(f"was held by {lease.holder.program or 'a process'} ({lease.holder.pid}){since}")


def _asked(dead: Dead) -> bool:
    import sys

    from swarm.cli.ask import ask_blocking, yes_or_no

    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    return bool(yes_or_no(ask_blocking(f"Remove all of it ({_count(dead.leases)})? [y/N]")))


def _finish(dead: Dead, removing: bool, *, json: bool) -> int:
    """Remove what was shown, or not; say what became of it."""
    import json as codec
    import math

    from swarm.sandboxes.leases.reaper import remove

    complete = not dead.unseen
    for lease in dead.leases:
        wrong = remove(lease, math.inf) if removing else []
        complete = complete and not wrong and not lease.unseen
        if json:
            print(codec.dumps(_as_json(lease, removing, wrong)), flush=True)
        for problem in wrong:
            _complain(f"{lease.id}: {problem}")
    if removing and not json:
        print(f"removed {_count(dead.leases)}" if complete else "not all could be looked at and removed")
    elif dead.leases and not json:
        print(f"nothing was removed ({_count(dead.leases)}); `swarm gc --yes` does it")
    return 0 if complete else NOT_ALL


def _complain(text: str) -> None:
    from swarm.cli.text import line

    complain(f"swarm: {line(text, 600)}")


def _count(leases: Sequence[DeadLease]) -> str:
    from swarm.cli.text import many

    return f"{many(sum(len(lease.leftovers) for lease in leases), 'thing')} of {many(len(leases), 'run')}"


def _as_json(lease: DeadLease, removing: bool, wrong: list[str]) -> dict[str, Any]:
    return {
        "id": lease.id,
        "folder": str(lease.folder),
        "held_by": {"pid": lease.holder.pid, "program": lease.holder.program} if lease.holder.pid else None,
        "since": lease.holder.since or None,
        "leftovers": [{"kind": thing.kind, "name": thing.name} for thing in lease.leftovers],
        "not_looked_at": list(lease.unseen),
        "removed": removing and not wrong and not lease.unseen,
        "problems": wrong,
    }
