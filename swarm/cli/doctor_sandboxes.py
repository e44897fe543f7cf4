"""The part of `swarm doctor` that looks at sandboxes: which work, on what, and which limits hold in them."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

from swarm.cli.findings import Finding

if TYPE_CHECKING:
    from swarm.sandboxes.survey import Surveyed


async def look() -> list[Finding]:
    """Try all backends, cgroups and kinds of copies."""
    from swarm.config import home
    from swarm.sandboxes.copies.layering import Kind
    from swarm.sandboxes.leases.lease import open_lease
    from swarm.sandboxes.limits.cgroups import REMEDY
    from swarm.sandboxes.survey import cgroup_version, copies, survey

    async with open_lease(home(os.environ), f"doctor-{secrets.token_hex(4)}") as lease:
        surveyed = await survey(lease.folder)
        version, held = await cgroup_version(lease.folder)
        kind = await copies(lease.folder)
    found = [_backend(one) for one in surveyed]
    text = f"{version}: {', '.join(sorted(held))}" if held else "none may be used by this user (docker has its own)"
    found.append(Finding("cgroups", None, text, remedy="" if held else REMEDY))
    how = {
        Kind.OVERLAY: "overlay mounts, which share what is not changed",
        Kind.REFLINK: "reflinks, which share what is not changed",
        Kind.COPY: "plain copies (overlay mounts need root, reflinks btrfs or xfs)",
    }
    found.append(Finding("working copies", None, how[kind], details={"kind": kind.value}))
    names = [one.name for one in surveyed if not one.trouble]
    text = "none works"
    if names:
        text = f"default: {names[0]}" if names[0] != "process" else "only --sandbox process, which isolates nothing"
    return [*found, Finding("sandbox", bool(names), text, needed=True)]


def _backend(one: Surveyed) -> Finding:
    from swarm.cli.text import line

    name = f"sandbox {one.name}"
    if one.trouble:
        return Finding(name, False, line(one.trouble), remedy=line(one.remedy), details={"about": one.about})
    hold = [limit for limit, why in one.limits.items() if not why]
    text = f"works ({line(one.about)}); limits hold: {', '.join(hold) or 'none'}"
    details = {"about": one.about} | {f"limit {limit}": why or "holds" for limit, why in one.limits.items()}
    return Finding(name, True, text, details=details)
