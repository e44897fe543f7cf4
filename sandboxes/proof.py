"""The proof, from inside and before the first use, that a sandbox is what it should be. It fails closed."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread

from swarm.errors import SandboxError
from swarm.sandboxes.files import Exec

_NAME = ".swarm-proof-"
_TIMEOUT = 60.0

IDLE_DEVICES = frozenset(
    {"lo", "tunl0", "sit0", "gre0", "gretap0", "erspan0", "ip6tnl0", "ip6gre0", "ip_vti0", "ip6_vti0"}
)
"""Network devices that the kernel puts into every new namespace; without an address they lead nowhere."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What must hold. `isolated`: not root, and no network but the loopback."""

    workspace: Path
    workdir: str
    isolated: bool


async def prove(exec: Exec, expected: Expected) -> None:
    """Look at the sandbox from inside, by one command that needs nothing but a shell.

    Raises:
        SandboxError: something does not hold; the message says what.
    """
    nonce = secrets.token_hex(8)
    ours = expected.workspace / f"{_NAME}{nonce}-host"
    theirs = expected.workspace / f"{_NAME}{nonce}-inside"
    await anyio.to_thread.run_sync(ours.write_text, f"{nonce}\n")
    try:
        result = await exec(_script(ours.name, theirs.name, nonce), timeout=_TIMEOUT)
        answered = await anyio.to_thread.run_sync(_read, theirs)
    finally:
        await anyio.to_thread.run_sync(_forget, ours, theirs)
    if result.timed_out or result.exit_code != 0:
        reason = result.stderr.decode(errors="replace").strip() or f"exit code {result.exit_code}"
        raise SandboxError(f"the sandbox could not be looked at from inside: {reason}")
    text = result.stdout.decode(errors="replace")
    sections = dict(part.partition("\n")[::2] for part in text.split(f"{nonce}:")[1:])
    _compare(sections, expected, nonce, answered)


def _script(ours: str, theirs: str, nonce: str) -> str:
    """Only what every shell has built in: an image may hold no other program."""
    show = 'show() { while IFS= read -r line; do printf "%s\\n" "$line"; done < "$1"; }; '
    return (
        show + 'mkdir -p "$HOME" 2>/dev/null; '
        f"printf '{nonce}:cwd\\n%s\\n' \"$PWD\"; "
        f"printf '{nonce}:nonce\\n'; [ ! -f {ours} ] || show {ours}; "
        f"printf '%s\\n' {nonce} 2>/dev/null > {theirs}; "
        f"printf '{nonce}:status\\n'; show /proc/self/status; "
        f"printf '{nonce}:devices\\n'; show /proc/net/dev; "
        f"printf '{nonce}:end\\n'"
    )


def _compare(sections: dict[str, str], expected: Expected, nonce: str, answered: str) -> None:
    cwd = sections.get("cwd", "").strip()
    if "end" not in sections:
        raise SandboxError("the sandbox could not be looked at from inside: its shell stopped early")
    if cwd != expected.workdir:
        raise SandboxError(f"the sandbox starts in {cwd!r}, not in {expected.workdir!r}")
    if sections.get("nonce", "").strip() != nonce:
        raise SandboxError(
            f"{expected.workdir} inside the sandbox is not the workspace {expected.workspace}",
            remedy="the engine must run on this machine and may mount that folder",
        )
    if answered != nonce:
        raise SandboxError(
            f"the workspace cannot be written from inside the sandbox as {expected.workdir}",
            remedy="with a rootless engine choose --sandbox bubblewrap",
        )
    if not expected.isolated:
        return
    ids = next((line.split()[1:] for line in sections["status"].splitlines() if line.startswith("Uid:")), [])
    if len(ids) != 4 or "0" in ids:
        raise SandboxError(f"the sandbox's user is root or unknown (user ids {' '.join(ids) or 'not shown'})")
    devices = {line.partition(":")[0].strip() for line in sections["devices"].splitlines() if ":" in line}
    if "lo" not in devices or not devices <= IDLE_DEVICES:
        raise SandboxError(f"the sandbox has a network: {', '.join(sorted(devices - IDLE_DEVICES)) or 'unknown'}")


def _read(path: Path) -> str:
    if path.is_symlink() or not path.is_file():
        return ""
    return path.read_text(errors="replace").strip()


def _forget(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
