"""Pythons of this machine that can be put into an image: pyenv's, uv's, others that stand in a folder of their own."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from swarm.sandboxes.images.asking import TIMEOUT, output

_NOT_THEIR_OWN = frozenset(map(Path, ("/", "/usr", "/usr/local")))
"""Folders that hold more than a Python: what stands there cannot be copied by itself."""

MODULES = ("bz2", "ctypes", "lzma", "readline", "sqlite3", "ssl", "venv", "zlib")
"""Modules that hang on libraries of the machine: what works here must work in the image."""

LOOK = (
    "import importlib, json, sys\n"
    "def works(name):\n"
    "    try:\n"
    "        importlib.import_module(name)\n"
    "    except ImportError:\n"
    "        return False\n"
    "    return True\n"
    f"names = [name for name in {MODULES!r} if works(name)]\n"
    'print(json.dumps(["%d.%d.%d" % sys.version_info[:3], sys.base_prefix, names]))\n'
)
"""Tells a Python's version, where it stands, and which of MODULES work."""


@dataclass(frozen=True, slots=True)
class Installation:
    """A Python in a folder of its own. `modules`: those of MODULES that work here; `installed`: its packages."""

    version: str
    prefix: Path
    modules: tuple[str, ...]
    installed: tuple[str, ...]

    @property
    def minor(self) -> str:
        """Such as `3.9`."""
        return self.version.rpartition(".")[0]


def installations(env: Mapping[str, str]) -> list[Installation]:
    """All that are found, newest first. Blocks: each is run once."""
    found: dict[Path, Installation] = {}
    for executable in _executables(env):
        answer = look([str(executable), "-I", "-c", LOOK])
        if answer is None:
            continue
        version, prefix, modules = answer
        folder = Path(os.path.realpath(prefix))
        if folder not in _NOT_THEIR_OWN and folder not in found:
            found[folder] = Installation(version, folder, modules, _packages(folder))
    return sorted(found.values(), key=lambda one: [int(part) for part in one.version.split(".")], reverse=True)


def look(command: list[str], env: Mapping[str, str] | None = None) -> tuple[str, str, tuple[str, ...]] | None:
    """Run LOOK by a command: version, prefix and modules; None where that does not work."""
    try:
        done = subprocess.run(
            command,
            env=dict(env) if env is not None else None,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=TIMEOUT,
            check=True,
        )
        version, prefix, modules = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return str(version), str(prefix), tuple(map(str, modules))


def library_packages(installation: Installation) -> tuple[str, ...]:
    """The machine's packages that hold the libraries which a Python hangs on. Blocks."""
    if not (shutil.which("ldd") and shutil.which("dpkg-query")):
        return ()
    files = [
        *(installation.prefix / "bin").glob(f"python{installation.minor}"),
        # Without a screen there is no use for Tk, which would bring all of X.
        *(path for path in installation.prefix.glob("lib/python3*/lib-dynload/*.so") if "_tkinter" not in path.name),
    ]
    told = output("ldd", *map(str, files))
    libraries = {match[1] for match in re.finditer(r"=> (/\S+) \(", told)}
    outside = [path for path in libraries if not Path(path).is_relative_to(installation.prefix)]
    # dpkg knows a library by the name under which it was packed, /lib or /usr/lib.
    names = {name for path in outside for name in (path, os.path.realpath(path))}
    names |= {name.removeprefix("/usr") for name in names} | {
        f"/usr{name}" for name in names if name.startswith("/lib")
    }
    owners = output("dpkg-query", "--search", *sorted(names)) if names else ""
    return tuple(sorted({line.partition(":")[0] for line in owners.splitlines() if ": /" in line}))


def _executables(env: Mapping[str, str]) -> Iterable[Path]:
    homes = [Path(env["HOME"])] if env.get("HOME") else []
    if env.get("SUDO_USER"):  # whose own Pythons are meant
        try:
            homes.append(Path(pwd.getpwnam(env["SUDO_USER"]).pw_dir))
        except KeyError:
            pass
    parents = [Path(env[name]) / below for name, below in _ROOTS.items() if env.get(name)]
    parents += [home / below for home in homes for below in (".pyenv/versions", ".local/share/uv/python")]
    for parent in dict.fromkeys(parents):
        for folder in sorted(parent.glob("*/bin")):
            yield from _named(folder)
    yield Path(sys.executable)
    for entry in env.get("PATH", "").split(os.pathsep):
        if entry and not entry.endswith("/shims"):  # pyenv's stand for Pythons that are seen above
            yield from _named(Path(entry))


_ROOTS = {"PYENV_ROOT": "versions", "UV_PYTHON_INSTALL_DIR": "."}


def _named(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("python3.*")) if re.fullmatch(r"python3\.\d+", path.name)]


def _packages(prefix: Path) -> tuple[str, ...]:
    return tuple(sorted(path.name for path in prefix.glob("lib/python3*/site-packages/*.dist-info")))
