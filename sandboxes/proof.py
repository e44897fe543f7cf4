"""The proof, from inside and before the first use, that a sandbox is what it should be. It fails closed."""

from __future__ import annotations

import errno
import os
import re
import secrets
from pathlib import Path

from swarm.errors import SandboxError
from swarm.sandboxes.channel.agent import CONTROL
from swarm.sandboxes.files import Exec
from swarm.sandboxes.shell import ulimits
from swarm.shortage import remedy_told
from swarm.types import SandboxLimits
from swarm.values import value

_NAME = ".swarm-proof-"
_TIMEOUT = 60.0

IDLE_DEVICES = frozenset(
    {"lo", "tunl0", "sit0", "gre0", "gretap0", "erspan0", "ip6tnl0", "ip6gre0", "ip_vti0", "ip6_vti0"}
)
"""Network devices that the kernel puts into every new namespace; without an address they lead nowhere."""


_SOCKETS = ("/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock")
_ENGINES = re.compile(r"(docker|containerd|podman)\.sock")

_MAY_WRITE = ("/tmp", "/dev", "/proc")
"""Places, with what is below, that may be writable beside the workspace: the kernel guards /proc and devices itself."""

_CGROUP_ROOT = "/sys/fs/cgroup"
"""With version 1 an engine makes a folder in memory here, root's, and mounts each hierarchy in it read-only."""


@value(frozen=True, slots=True)
class Rlimits:
    """Limits that a process bears itself, as /proc/self/limits names them. None: not limited that way."""

    file_bytes: int
    processes: int | None = None
    memory_bytes: int | None = None

    @classmethod
    def beside(cls, held: frozenset[str], limits: SandboxLimits) -> Rlimits:
        """Those that are wanted where cgroups hold some of memory, pids and cpu."""
        return cls(
            limits.file_bytes // 1024 * 1024,
            None if "pids" in held else limits.pids,
            None if "memory" in held else limits.memory_bytes // 1024 * 1024,
        )

    def shell(self) -> str:
        """Shell text that sets them."""
        return ulimits(self.file_bytes, self.processes, self.memory_bytes)


@value(frozen=True, slots=True)
class Cgroups:
    """Limits that are to be read inside in /sys/fs/cgroup."""

    memory_bytes: int
    pids: int
    cpus: float


@value(frozen=True, slots=True)
class Expected:
    """What must hold. `isolated`: not root, no capability, no network but the loopback, no writable root, no way out.

    `seccomp`: system calls are filtered. `cgroups`: where they are to be seen from inside.
    """

    workspace: Path
    workdir: str
    isolated: bool
    seccomp: bool = False
    rlimits: Rlimits | None = None
    cgroups: Cgroups | None = None


async def prove(exec: Exec, expected: Expected) -> None:
    """Look at the sandbox from inside, by one command that needs nothing but a shell.

    Raises:
        SandboxError: something does not hold; the message says what.
    """
    nonce = secrets.token_hex(8)
    ours = expected.workspace / f"{_NAME}{nonce}-host"
    theirs = expected.workspace / f"{_NAME}{nonce}-inside"
    ours.write_text(f"{nonce}\n")  # so little costs less than a thread that does it
    try:
        result = await exec(_script(ours.name, theirs.name, nonce), timeout=_TIMEOUT)
    finally:
        answered, full = _collect(ours, theirs, nonce)
    if result.timed_out or result.exit_code != 0:
        reason = result.stderr.decode(errors="replace").strip() or f"exit code {result.exit_code}"
        raise SandboxError(f"the sandbox could not be looked at from inside: {reason}", remedy=remedy_told(reason))
    if full:
        text = f"{expected.workspace}: {os.strerror(errno.ENOSPC)}"
        raise SandboxError(text, remedy=remedy_told(text))
    if result.truncated:
        raise SandboxError("the sandbox could not be looked at from inside: it has too much to say")
    text = result.stdout.decode(errors="replace")
    sections = dict(part.partition("\n")[::2] for part in text.split(f"{nonce}:")[1:])
    _compare(sections, expected, nonce, answered)


_LIMITS = "the engine must be able to use cgroups (a rootless one needs version 2), or choose --sandbox bubblewrap"
_OCTAL = re.compile(r"\\([0-7]{3})")

# Reading line by line is slow, and bash has a way around.
_SHOW = (
    'show() { while IFS= read -r line; do printf "%s\\n" "$line"; done < "$1"; }; '
    """if [ -n "$BASH_VERSION" ]; then eval 'show() { mapfile -t all <"$1"; printf "%s\\n" "${all[@]}"; }'; fi; """
)

# Each prints what it should not have been able to do.
_TRIES = (
    'for p in / /usr; do if true >"${p%/}/.swarm-proof"; then printf \'%s\\n\' "$p"; fi; done 2>/dev/null; '
    f"for p in agent orders new; do if true >>{CONTROL}/$p; then printf '%s\\n' {CONTROL}/$p; fi; done 2>/dev/null; "
    "if read -r line </proc/keys; then echo /proc/keys; fi 2>/dev/null; "
    f"for p in {' '.join(_SOCKETS)}; do if [ -e $p ]; then printf '%s\\n' $p; fi; done; "
)
_FIRST = (
    'first() { name=$1; shift; for f in "$@"; do if [ -r $f ]; then '
    "read -r line <$f; printf '%s %s\\n' $name \"$line\"; return; fi; done; }; "
)
_SHOWS = (
    _FIRST + "cd /sys/fs/cgroup 2>/dev/null && { "
    "first memory memory.max memory/memory.limit_in_bytes; first swap memory/memory.memsw.limit_in_bytes; "
    "first pids pids.max pids/pids.max; first cpu cpu.max; "
    "for d in cpu cpu,cpuacct; do if [ -r $d/cpu.cfs_quota_us ]; then read -r q <$d/cpu.cfs_quota_us; "
    "read -r p <$d/cpu.cfs_period_us; printf 'cpu %s %s\\n' $q $p; break; fi; done; }; "
)


def _script(ours: str, theirs: str, nonce: str) -> str:
    """Only what every shell has built in: an image may hold no other program."""
    return (
        _SHOW + '[ -d "$HOME" ] || mkdir -p "$HOME" 2>/dev/null; '
        f"printf '{nonce}:cwd\\n%s\\n' \"$PWD\"; "
        f"printf '{nonce}:nonce\\n'; [ ! -f {ours} ] || show {ours}; "
        f"printf '%s\\n' {nonce} 2>/dev/null > {theirs}; "
        f"printf '{nonce}:status\\n'; show /proc/self/status; "
        f"printf '{nonce}:devices\\n'; show /proc/net/dev; "
        f"printf '{nonce}:mounts\\n'; show /proc/self/mountinfo; "
        f"printf '{nonce}:limits\\n'; show /proc/self/limits; "
        f"printf '{nonce}:written\\n'; {_TRIES}"
        f"printf '{nonce}:cgroups\\n'; {_SHOWS}"
        f"printf '{nonce}:end\\n'"
    )


def _compare(sections: dict[str, str], expected: Expected, nonce: str, answered: str) -> None:
    try:
        _check(sections, expected, nonce, answered)
    except (LookupError, ValueError):  # an image's shell may print anything
        raise SandboxError("the sandbox could not be looked at from inside: it tells what cannot be read") from None


def _check(sections: dict[str, str], expected: Expected, nonce: str, answered: str) -> None:
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
    if expected.isolated:
        _user(sections["status"])
    if answered != nonce:
        raise SandboxError(
            f"the workspace cannot be written from inside the sandbox as {expected.workdir}",
            remedy="with a rootless engine choose --sandbox bubblewrap",
        )
    if expected.isolated:
        _closed(sections, expected)
    if expected.rlimits is not None:
        _rlimits(sections["limits"], expected.rlimits)
    if expected.cgroups is not None:
        _cgroups(sections["cgroups"], expected.cgroups)


def _user(text: str) -> None:
    ids = _fields(text).get("Uid", "").split()
    if len(ids) != 4 or "0" in ids:
        raise SandboxError(f"the sandbox's user is root or unknown (user ids {' '.join(ids) or 'not shown'})")


def _fields(status: str) -> dict[str, str]:
    return dict(line.split(":", 1) for line in status.splitlines() if ":" in line)


def _closed(sections: dict[str, str], expected: Expected) -> None:
    status = _fields(sections["status"])
    for name in ("CapEff", "CapPrm", "CapBnd"):
        if status.get(name, "").strip("0 \t") or name not in status:
            raise SandboxError(f"the sandbox has capabilities ({name} {status.get(name, 'not shown').strip()})")
    if status.get("NoNewPrivs", "").strip() != "1":
        raise SandboxError("a command in the sandbox could gain privileges (NoNewPrivs is not 1)")
    if expected.seccomp and status.get("Seccomp", "").strip() != "2":
        raise SandboxError("the sandbox's system calls are not filtered (Seccomp is not 2)")
    devices = {line.partition(":")[0].strip() for line in sections["devices"].splitlines() if ":" in line}
    if "lo" not in devices or not devices <= IDLE_DEVICES:
        raise SandboxError(f"the sandbox has a network: {', '.join(sorted(devices - IDLE_DEVICES)) or 'unknown'}")
    written = sections["written"].split()
    if written:
        raise SandboxError(f"{', '.join(written)} can be reached or written in the sandbox")
    _mounts(sections["mounts"], expected.workdir)


def _mounts(text: str, workdir: str) -> None:
    if engine := _ENGINES.search(text):
        raise SandboxError(f"a container engine's socket is mounted in the sandbox ({engine[0]})")
    seen = False
    allowed = tuple(f"{one.rstrip('/')}/" for one in (*_MAY_WRITE, _plain(workdir)))
    for line in text.splitlines():
        _, _, _, _, shown, options, *_ = line.split()
        seen = seen or shown == "/"
        if "ro" in options.split(",") or shown == _CGROUP_ROOT:
            continue
        place = _plain(shown)
        if not f"{place}/".startswith(allowed):
            raise SandboxError(f"{place} is mounted writable in the sandbox")
    if not seen:
        raise SandboxError("the sandbox does not show what is mounted at /")


def _plain(shown: str) -> str:
    """A path that the kernel shows with some characters as numbers."""
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), shown)


def _rlimits(text: str, wanted: Rlimits) -> None:
    found = {line[:26].strip(): line[26:].split()[:2] for line in text.splitlines()}
    sizes = {"Max core file size": 0, "Max file size": wanted.file_bytes}
    sizes |= {"Max processes": wanted.processes} if wanted.processes is not None else {}
    sizes |= {"Max data size": wanted.memory_bytes} if wanted.memory_bytes is not None else {}
    for name, size in sizes.items():
        if any(not value.isdigit() or int(value) > size for value in found.get(name) or ["not shown"]):
            raise SandboxError(f"a limit of the sandbox does not hold: {name} is {found.get(name)}, not {size}")


def _cgroups(text: str, wanted: Cgroups) -> None:
    found = dict(line.split(" ", 1) for line in text.splitlines() if " " in line)
    for name, most in (("memory", wanted.memory_bytes), ("swap", wanted.memory_bytes), ("pids", wanted.pids)):
        value = found.get(name, "not shown")
        if name == "swap" and value == "not shown":
            continue  # the machine has, or counts, none
        if not value.isdigit() or int(value) > most:
            raise SandboxError(f"a limit of the sandbox does not hold: {name} is {value}, not {most}", remedy=_LIMITS)
    quota, _, period = found.get("cpu", "not shown").partition(" ")
    if not (quota.isdigit() and period.isdigit()) or int(quota) > wanted.cpus * int(period) * 1.01:
        raise SandboxError(
            f"a limit of the sandbox does not hold: cpu is {quota} {period}, not {wanted.cpus}", remedy=_LIMITS
        )


def _read(path: Path) -> str:
    if path.is_symlink() or not path.is_file():
        return ""
    return path.read_text(errors="replace").strip()


def _is_full(folder: Path) -> bool:
    """Whether nobody but root finds a block or makes a file there: what root may still write, a sandbox may not."""
    found = os.statvfs(folder)
    return (found.f_bavail == 0 and found.f_blocks > 0) or (found.f_favail == 0 and found.f_files > 0)


def _collect(ours: Path, theirs: Path, nonce: str) -> tuple[str, bool]:
    """What was answered, and whether there was no room for it; both files are gone then."""
    try:
        answered = _read(theirs)
        return answered, answered != nonce and _is_full(theirs.parent)
    finally:
        for path in (ours, theirs):
            path.unlink(missing_ok=True)
