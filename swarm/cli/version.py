"""`swarm --version --verbose`: what a bug report needs to say of a machine. Nothing is asked over the network, and no
value of a setting is told."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path

from swarm import __version__

_PATIENCE_S = 0.4
"""Seconds for each program and for the Docker Engine: without an answer it is told that there was none."""

_MOST_KEYS = 60
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SETTINGS = re.compile(
    r"SWARM_[A-Z_]+|OPENAI_[A-Z_]+|DOCKER_[A-Z_]+|(?:HTTPS?|ALL|NO)_PROXY|SSL_CERT_[A-Z]+|NO_COLOR|CI"
)

Section = dict[str, str]


def run(*, as_json: bool) -> int:
    """Print it, as lines or as one JSON object: by section, by name."""
    from swarm.cli.text import line
    from swarm.journal.redaction import Redactor, secrets_of

    hide = Redactor(secrets_of(os.environ)).redact
    about = {
        title: {line(name): line(hide(text)[0], 400) for name, text in section.items()}
        for title, section in _sections()
    }
    if as_json:
        print(json.dumps(about))
        return 0
    for title, section in about.items():
        print(title if title != "swarm" else f"swarm {__version__}")
        width = max(map(len, section), default=0)
        for name, text in section.items():
            print(f"  {name:<{width}}  {text}")
    return 0


def _sections() -> Iterator[tuple[str, Section]]:
    yield "swarm", _swarm()
    yield "machine", _machine()
    yield "sandboxes", _sandboxes()
    yield "terminal", _terminal(os.environ)
    yield "configuration (names only)", _configuration(os.environ)
    yield "packages", _packages()


def _swarm() -> Section:
    place = Path(__file__).resolve().parents[2]
    about = {"version": __version__, "place": _short(place), "python": f"{sys.version.split()[0]} {_short(sys.prefix)}"}
    if (place / ".git").exists():
        about["commit"] = _said("git", "-C", str(place), "rev-parse", "HEAD") or "a checkout, which git cannot read"
    return about


def _machine() -> Section:
    system = platform.uname()
    try:
        name = platform.freedesktop_os_release().get("PRETTY_NAME", "?")
    except OSError:
        name = "?"
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    inside = [each for each in ("/.dockerenv", "/run/.containerenv") if Path(each).exists()]
    return {
        "system": name,
        "kernel": f"{system.system} {system.release} {system.machine}",
        "libc": " ".join(platform.libc_ver()),
        "processors, memory": f"{len(os.sched_getaffinity(0))}, {pages:.1f} GiB",
        "user": "root" if os.geteuid() == 0 else "no root",
        "in a container": ", ".join(inside) or "not by its files",
        "git": _said("git", "--version") or "none",
    }


def _sandboxes() -> Section:
    """What there is; what works of it tells `swarm doctor`, by trying."""
    version = 2 if Path("/sys/fs/cgroup/cgroup.controllers").exists() else 1
    spaces = Path("/proc/sys/user/max_user_namespaces")
    return {
        "docker": _engine(os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"),
        "bubblewrap": _said("bwrap", "--version") or "none",
        "bash": shutil.which("bash") or "none",
        "setpriv": shutil.which("setpriv") or "none",
        "cgroups": f"version {version}" if Path("/sys/fs/cgroup").is_dir() else "none",
        "user namespaces": spaces.read_text(encoding="ascii").strip() if spaces.exists() else "?",
    }


def _engine(address: str) -> str:
    """What answers at the socket of a Docker Engine."""
    if not address.startswith("unix://"):
        return "elsewhere (DOCKER_HOST), not asked"
    try:
        with socket.socket(socket.AF_UNIX) as knock:
            knock.settimeout(_PATIENCE_S)
            knock.connect(address.removeprefix("unix://"))
            knock.sendall(b"GET /version HTTP/1.0\r\nHost: docker\r\n\r\n")
            # Bounded: whatever answers there.
            answer = b"".join(knock.recv(1 << 14) for _ in range(4))
        told = json.loads(answer.partition(b"\r\n\r\n")[2])
        return f"engine {told['Version']}, API {told['ApiVersion']}"
    except OSError as error:
        return f"none answers: {error.strerror or error}"
    except (ValueError, KeyError, TypeError, RecursionError):
        return "something else answers"


def _terminal(env: Mapping[str, str]) -> Section:
    streams = {"standard output": sys.stdout, "standard error": sys.stderr}
    kinds = {name: f"{'a terminal' if it.isatty() else 'no terminal'}, {it.encoding}" for name, it in streams.items()}
    columns, rows = shutil.get_terminal_size()
    locale = ", ".join(f"{name}={env[name]}" for name in ("LC_ALL", "LC_CTYPE", "LANG") if env.get(name))
    return {
        **kinds,
        "size": f"{columns}x{rows}",
        "TERM": env.get("TERM") or "not set",
        "locale": locale or "none set",
        "file names": sys.getfilesystemencoding(),
    }


def _configuration(env: Mapping[str, str]) -> Section:
    """Where settings come from, and which are set there."""
    from swarm.config import home
    from swarm.errors import SwarmError

    about = {"environment": ", ".join(sorted(filter(_SETTINGS.fullmatch, env))) or "none"}
    try:
        kept = _short(home(env).absolute())
        user = Path(env.get("XDG_CONFIG_HOME") or Path(env.get("HOME", "~")).expanduser() / ".config")
        here = Path.cwd()
    except (SwarmError, OSError, RuntimeError) as error:  # RuntimeError: of a user who has no home
        return about | {"runs": str(error)}
    about["runs"] = kept
    top = next((each for each in (here, *here.parents) if (each / ".git").exists()), None)
    about[_short(user / "swarm/config.toml")] = _keys(user / "swarm/config.toml")
    if top is not None:
        about[_short(top / "swarm.toml")] = _keys(top / "swarm.toml", top)
    return about


def _keys(file: Path, repo: Path | None = None) -> str:
    from swarm.toml_file import read_toml

    try:
        found = read_toml(file, repo)
    except (OSError, ValueError) as error:
        return f"cannot be used: {type(error).__name__}"  # what it says may hold a line of the file
    if not found:
        return "empty" if file.exists() else "not there"
    return ", ".join(key if _NAME.fullmatch(key) else "(an odd name)" for key in sorted(found)[:_MOST_KEYS])


def _packages() -> Section:
    """The packages that swarm needs, those that these need, and so on."""
    try:
        waiting = _needs(metadata.requires("swarm") or [], extras=True)
    except metadata.PackageNotFoundError:
        return {"swarm": "is not installed: this is a bare checkout"}
    found: Section = {}
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key in seen:
            continue
        seen.add(key)
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # an extra, or for another system
        found[key] = package.version
        waiting += _needs(package.requires or [])
    return dict(sorted(found.items()))


def _needs(wanted: list[str], *, extras: bool = False) -> list[str]:
    named = (_NAME.match(each) for each in wanted if extras or "extra ==" not in each)
    return [name[0] for name in named if name]


def _said(*command: str) -> str:
    """The first line that a program writes; nothing where it is not there, fails, or takes long."""
    try:
        done = subprocess.run(command, capture_output=True, timeout=_PATIENCE_S, stdin=subprocess.DEVNULL, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace").partition("\n")[0].strip() if done.returncode == 0 else ""


def _short(path: object) -> str:
    """A path without the user's name."""
    text, mine = str(path), os.path.expanduser("~")  # noqa: PTH111  that of nobody is "~", and no error
    return f"~{text[len(mine) :]}" if mine != "/" and f"{text}/".startswith(f"{mine}/") else text
